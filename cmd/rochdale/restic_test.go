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
	err     error
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
	return host.Result{}, m.err
}

// TestResticEndsWithItsCaller: what it has printed is given all the same, since it may
// tell of a snapshot that does not count, or how it ended where nobody saw that; and
// nothing is left.
func TestResticEndsWithItsCaller(t *testing.T) {
	for _, test := range []struct {
		name, printed string
		stopped       bool
		want          error
	}{
		{"it ended by itself", "a summary", true, context.Canceled},
		{"it was not begun", "", true, context.Canceled},
		{"nobody saw its end", "a summary", false, host.ErrUnseen},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m := endedAlready{func() {}, nil, test.printed}
			if test.stopped {
				m.end, m.err = cancel, context.Canceled
			}
			r := resticUnits{host.Systemd{Runner: m}, t.TempDir()}
			ended, err := r.Restic(ctx, backups.Call{Repository: "box", Program: "/restic"})
			if !errors.Is(err, test.want) || errors.Is(err, os.ErrNotExist) || string(ended.Stdout) != test.printed {
				t.Errorf("%+v, %v", ended, err)
			}
			if left, err := os.ReadDir(r.dir); err != nil || len(left) > 0 {
				t.Error(left, err)
			}
		})
	}
}
