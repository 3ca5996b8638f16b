// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"rochdale/appliance/host"
)

// These tests need a systemd of their own: they run inside a test machine.

// realUnit is a transient unit's name that nothing else has.
const realUnit = "rochdale-real.service"

// TestRealTransient: what systemd-run says and ends with, taken apart.
func TestRealTransient(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		code   int
		own    string
	}{
		"well":                            {"printf said; printf 'an unended line' >&2", 0, "an unended line"},
		"well, and fast":                  {"printf said", 0, ""},
		"badly":                           {"printf said; printf 'no such ship\n' >&2; exit 7", 7, "no such ship\n"},
		"with systemd's words on its own": {"printf said; printf 'Finished with result: success\n' >&2; exit 7", 7, "Finished with result: success\n"},
		"with dollar signs":               {"word=said; printf %s ${word}", 0, ""},
		"killed":                          {"printf said; kill -KILL $$", 255, ""},
		"told to end":                     {"printf said; kill -TERM $$", 255, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := transient(t.Context(), host.Exec{}, test.script)
			var exit *host.ExitError
			switch {
			case test.code == 0 && err != nil:
				t.Error(err)
			case test.code != 0 && (!errors.As(err, &exit) || exit.Code != test.code):
				t.Errorf("%v, not code %d", err, test.code)
			}
			if string(r.Stdout) != "said" || string(r.Stderr) != test.own {
				t.Errorf("it said %q and %q", r.Stdout, r.Stderr)
			}
		})
	}
}

// TestRealTransientAtOnce: a program that fails at once did begin, and did not do well,
// whether systemd has seen it or not. One that does well is always seen.
func TestRealTransientAtOnce(t *testing.T) {
	unseen := 0
	for range 60 {
		if err := atOnce(t.Context(), "/bin/true"); err != nil {
			t.Errorf("it did well: %v", err)
		}
		err := atOnce(t.Context(), "/bin/false")
		var exit *host.ExitError
		switch {
		case errors.Is(err, host.ErrUnseen):
			unseen++
		case !errors.As(err, &exit) || exit.Code != 1 || errors.Is(err, host.ErrNotBegun):
			t.Errorf("it ended with %v", err)
		}
	}
	t.Logf("the end of %d of 60 was not seen", unseen)
}

func atOnce(ctx context.Context, program string) error {
	_, err := host.Systemd{Runner: host.Exec{}}.RunTransient(ctx, host.Transient{Unit: realUnit, Name: program})
	return err
}

func transient(ctx context.Context, run host.Runner, script string) (host.Result, error) {
	return host.Systemd{Runner: run}.RunTransient(ctx, host.Transient{Unit: realUnit, Name: "/bin/sh", Args: []string{"-c", script}})
}

// TestRealTransientTwice: a name that is taken is no program that ended badly.
func TestRealTransientTwice(t *testing.T) {
	end := longRunning(t, host.Exec{})
	if _, err := transient(t.Context(), host.Exec{}, "true"); !errors.Is(err, host.ErrNotBegun) {
		t.Errorf("a taken name: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// TestRealTransientUnseen: the unit goes on when systemd-run is told to end, or loses
// the bus.
func TestRealTransientUnseen(t *testing.T) {
	t.Run("systemd-run is told to end", func(t *testing.T) {
		if err := longRunning(t, toldToEnd{})(); !errors.Is(err, host.ErrUnseen) {
			t.Errorf("it ended with %v", err)
		}
	})
	t.Run("the bus ends", func(t *testing.T) {
		end := longRunning(t, host.Exec{})
		if _, err := (host.Exec{}).Run(t.Context(), host.Command{Name: "systemctl", Args: []string{"kill", "--signal=KILL", "dbus.service"}}); err != nil {
			t.Fatal(err)
		}
		if err := end(); !errors.Is(err, host.ErrUnseen) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// toldToEnd gives what it runs SIGTERM, as a unit that is stopped does with all in it.
type toldToEnd struct{}

// Run implements [host.Runner].
func (toldToEnd) Run(ctx context.Context, c host.Command) (host.Result, error) {
	c.Name, c.Args = "timeout", append([]string{"--preserve-status", "--signal=TERM", "3", c.Name}, c.Args...)
	return host.Exec{}.Run(ctx, c)
}

// longRunning starts a unit that ends when it is told to. What it gives tells that, if
// systemd-run still waits, and what came of it.
func longRunning(t *testing.T, run host.Runner) (end func() error) {
	t.Helper()
	dir := t.TempDir()
	began, stop := filepath.Join(dir, "began"), filepath.Join(dir, "stop")
	s := host.Systemd{Runner: host.Exec{}}
	ended := make(chan error, 1)
	go func() {
		_, err := transient(t.Context(), run, "touch "+began+"; until test -e "+stop+"; do sleep 0.1; done")
		ended <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(began); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the unit does not begin")
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute) // the test's own is over
		defer cancel()
		if err := s.WaitFor(ctx, realUnit); err != nil {
			t.Error(err)
		}
	})
	return func() error {
		var err error
		select {
		case err = <-ended: // before its unit
			if up, upErr := s.Running(t.Context(), realUnit); upErr != nil || !up {
				t.Errorf("the unit does not go on: %v", upErr)
			}
			return errors.Join(err, os.WriteFile(stop, nil, 0o600))
		case <-time.After(5 * time.Second):
		}
		if err := os.WriteFile(stop, nil, 0o600); err != nil {
			return err
		}
		return <-ended
	}
}
