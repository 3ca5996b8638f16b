// SPDX-License-Identifier: AGPL-3.0-or-later

package restictest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// Machine runs restic as a child of the test. It sets no limit of memory.
type Machine struct{}

var _ backups.Machine = Machine{}

// Restic implements [backups.Machine].
func (Machine) Restic(ctx context.Context, c backups.Call) (backups.Ended, error) {
	env := slices.Concat(c.Env, []string{"RESTIC_PASSWORD_FILE=" + c.PasswordFile})
	if c.EnvFile != "" {
		data, err := os.ReadFile(c.EnvFile)
		if err != nil {
			return backups.Ended{}, err
		}
		env = append(env, strings.Fields(string(data))...)
	}
	out := &bounded{}
	r, err := host.Exec{}.Run(ctx, host.Command{Name: c.Program, Args: c.Args, Env: env, Dir: c.Dir, Stdout: out})
	ended := backups.Ended{Code: r.Code, Stdout: out.Bytes(), Stderr: r.Stderr}
	var exit *host.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	if ended.Code < 0 {
		ended.Code = 128 + 9 // the one signal that restic does not end by itself on
	}
	return ended, err
}

// bounded keeps the first bytes.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := max(backups.MaxStdout-b.Len(), 0)
	b.Buffer.Write(p[:min(room, len(p))])
	return len(p), nil
}

// Door gives a door to the product's restic that does not wait long for anybody.
func Door(t testing.TB) *backups.Door {
	t.Helper()
	return &backups.Door{
		Program: Program(t), Machine: Machine{}, Cache: filepath.Join(t.TempDir(), "cache"), Temp: t.TempDir(),
		Wait: time.Second, Answer: 5 * time.Second,
	}
}

// Repository gives the words for a local repository in a temporary folder, with
// a password in a file. Nothing is made in the folder yet.
func Repository(t testing.TB, name string) backups.Repository {
	t.Helper()
	dir := t.TempDir()
	r := backups.Repository{Name: name, URL: filepath.Join(dir, "repository"), PasswordFile: filepath.Join(dir, "password")}
	if err := os.WriteFile(r.PasswordFile, []byte("for tests alone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}
