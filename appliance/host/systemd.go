// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"fmt"
	"io"
	"strings"
)

// Systemd starts and watches units.
type Systemd struct{ Runner Runner }

// Transient is a program that runs in a unit of its own, so that it does not
// die with the process that asked for it, and so that it can be locked in.
type Transient struct {
	// Unit is its name, "rochdale-apt.service" say: a resumed plan finds it again.
	Unit string
	// Properties are systemd's own, "User=65532" or "ProtectSystem=strict" say.
	Properties []string
	Name       string
	Args       []string
	Stdin      io.Reader
	Stdout     io.Writer
}

// RunTransient starts the unit and waits for its end. The unit goes on when
// ctx ends or this process dies; [Systemd.WaitFor] finds it again.
func (s Systemd) RunTransient(ctx context.Context, t Transient) (Result, error) {
	args := []string{"--unit=" + t.Unit, "--wait", "--pipe", "--collect", "--quiet", "--service-type=exec"}
	for _, p := range t.Properties {
		args = append(args, "--property="+p)
	}
	args = append(append(args, "--", t.Name), t.Args...)
	return s.Runner.Run(ctx, Command{Name: "systemd-run", Args: args, Stdin: t.Stdin, Stdout: t.Stdout})
}

// DaemonReload makes systemd read its unit files again.
func (s Systemd) DaemonReload(ctx context.Context) error { return s.ctl(ctx, "daemon-reload") }

// Start starts units and waits until they have started.
func (s Systemd) Start(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"start"}, units...)...)
}

// Stop stops units and waits until they have stopped.
func (s Systemd) Stop(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"stop"}, units...)...)
}

// Restart restarts units.
func (s Systemd) Restart(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"restart"}, units...)...)
}

// Enable makes units start at boot.
func (s Systemd) Enable(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"enable"}, units...)...)
}

// Disable undoes Enable.
func (s Systemd) Disable(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"disable"}, units...)...)
}

// Show reads properties of a unit, "ActiveState" or "MemoryCurrent" say. A
// unit that does not exist has LoadState=not-found.
func (s Systemd) Show(ctx context.Context, unit string, properties ...string) (map[string]string, error) {
	r, err := s.Runner.Run(ctx, Command{Name: "systemctl", Args: []string{"show", unit, "--property=" + strings.Join(properties, ",")}})
	if err != nil {
		return nil, fmt.Errorf("ask systemd about %s: %w", unit, err)
	}
	values := make(map[string]string, len(properties))
	for line := range strings.Lines(string(r.Stdout)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[k] = v
		}
	}
	return values, nil
}

func (s Systemd) ctl(ctx context.Context, args ...string) error {
	_, err := s.Runner.Run(ctx, Command{Name: "systemctl", Args: args})
	return err
}
