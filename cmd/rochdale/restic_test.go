// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// endedAlready is a machine on which restic has ended by itself when its caller is ended.
type endedAlready struct {
	end     context.CancelFunc
	printed string
}

// Run implements [host.Runner].
func (m endedAlready) Run(_ context.Context, c host.Command) (host.Result, error) {
	for _, arg := range c.Args {
		for _, property := range []string{"--property=StandardOutput=truncate:", "--property=StandardError=truncate:"} {
			if path, ok := strings.CutPrefix(arg, property); ok && m.printed != "" {
				if err := os.WriteFile(path, []byte(m.printed), 0o600); err != nil {
					return host.Result{}, err
				}
			}
		}
	}
	m.end()
	return host.Result{}, context.Canceled
}

// TestResticEndsWithItsCaller: what it has printed is given all the same, since it may
// tell of a snapshot that does not count; and nothing is left.
func TestResticEndsWithItsCaller(t *testing.T) {
	for name, printed := range map[string]string{"it ended by itself": "a summary", "it was not begun": ""} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r := resticUnits{host.Systemd{Runner: endedAlready{cancel, printed}}, t.TempDir()}
			ended, err := r.Restic(ctx, backups.Call{Repository: "box", Program: "/restic"})
			if !errors.Is(err, context.Canceled) || errors.Is(err, os.ErrNotExist) || string(ended.Stdout) != printed {
				t.Errorf("%+v, %v", ended, err)
			}
			if left, err := os.ReadDir(r.dir); err != nil || len(left) > 0 {
				t.Error(left, err)
			}
		})
	}
}
