// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
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
	// Log, when set, is a file that takes all output in place of Stdout. A unit
	// with a log is not tied to this process by a pipe: it goes on undisturbed
	// when this process is killed.
	Log string
	// Out and Err, when set, are files that take the two outputs apart, and else
	// as with Log.
	Out, Err string
	Env      []string
}

// What is not an end of the program.
var (
	// ErrUnseen is for a unit of which nobody saw how it ended, or whether.
	ErrUnseen = errors.New("systemd-run did not see how the program ended")
	// ErrNotBegun is for a unit that systemd did not start: its name is taken, say.
	ErrNotBegun = errors.New("systemd did not start the program")
)

// RunTransient starts the unit and waits for its end. The unit goes on when
// ctx ends or this process dies; [Systemd.WaitFor] finds it again. Without an
// error it has ended by itself with code 0; one that was killed has [KilledCode]. See
// also [ErrUnseen] and [ErrNotBegun].
func (s Systemd) RunTransient(ctx context.Context, t Transient) (Result, error) {
	r, err := s.Runner.Run(ctx, Command{Name: "systemd-run", Args: t.arguments(), Stdin: t.Stdin, Stdout: t.Stdout})
	e := endOf(r.Stderr)
	r.Stderr = e.own
	var exit *ExitError
	failed := errors.As(err, &exit)
	switch {
	case err != nil && !failed:
		return r, err
	case failed && e.notBegun:
		return r, fmt.Errorf("%w: %s (%w)", ErrNotBegun, lastLines(e.own, errorLines), err)
	case !e.seen:
		// Without the bus systemd-run ends with code 0, at once, whatever becomes of the
		// unit, and the bus is among the first to go when the machine shuts down. Told to
		// end, it leaves the unit alone.
		return r, errors.Join(fmt.Errorf("%s: %w: %s", t.Unit, ErrUnseen, lastLines(e.own, errorLines)), context.Cause(ctx))
	case failed:
		exit.Stderr = lastLines(e.own, errorLines)
		if e.killed { // for want of memory, say
			exit.Code = KilledCode
		}
	case e.killed:
		// For systemd-run a program that SIGTERM ended, and some others, did well.
		return r, &ExitError{Name: "systemd-run", Args: t.arguments(), Code: KilledCode, Stderr: lastLines(e.own, errorLines)}
	}
	return r, err
}

// KilledCode is what systemd-run ends with when the program was killed.
const KilledCode = 255

// ending is what systemd-run says, and, where the unit has no file for it, the program.
type ending struct {
	notBegun     bool
	seen, killed bool
	own          []byte // the program's, or what systemd-run says instead
}

// endOf takes apart what systemd 252 and 257 say. Only the words on the main process
// are an end, whatever the code is: a unit of which nothing is known any more is said
// to have "finished with result: success" too [tried].
func endOf(stderr []byte) (e ending) {
	const running, finished, process = "Running as unit: ", "Finished with result: ", "\nMain processes terminated with: code="
	e.own = stderr
	if at := bytes.LastIndex(e.own, []byte(finished)); at >= 0 { // all that comes after it is systemd-run's
		var how []byte
		_, how, e.seen = bytes.Cut(e.own[at:], []byte(process))
		e.killed, e.own = !bytes.HasPrefix(how, []byte("exited")), e.own[:at]
	}
	// A program need not end its lines, and may be faster than systemd-run.
	before, after, began := bytes.Cut(e.own, []byte(running))
	_, after, _ = bytes.Cut(after, []byte("\n"))
	e.own = slices.Concat(before, after)
	e.notBegun = !began && !e.seen && noUnit(string(e.own))
	return e
}

// noUnit tells whether systemd-run says that there is no unit. "Job for ... failed" does
// not: it is what a program gets that fails before systemd has seen it begin [tried].
// Neither does a question that got no answer: it may have been heard.
func noUnit(said string) bool {
	for _, words := range []string{"Connection reset", "timed out", "disconnected", "Disconnected"} {
		if strings.Contains(said, words) {
			return false
		}
	}
	for _, words := range []string{"Failed to start transient service unit: ", "Failed to connect to", "Failed to create bus connection: "} {
		if strings.HasPrefix(said, words) {
			return true
		}
	}
	return false
}

func (t Transient) arguments() []string {
	args := []string{"--unit=" + t.Unit, "--wait", "--collect", "--service-type=exec"}
	switch {
	case t.Out != "":
		args = append(args, "--property=StandardOutput=truncate:"+t.Out, "--property=StandardError=truncate:"+t.Err)
	case t.Log != "":
		args = append(args, "--property=StandardOutput=truncate:"+t.Log, "--property=StandardError=append:"+t.Log)
	default:
		args = append(args, "--pipe")
	}
	for _, p := range t.Properties {
		args = append(args, "--property="+p)
	}
	for _, e := range t.Env {
		args = append(args, "--setenv="+e)
	}
	args = append(args, "--", t.Name)
	for _, a := range t.Args { // systemd would put in variables, in a repository's address say
		args = append(args, strings.ReplaceAll(a, "$", "$$"))
	}
	return args
}

// WaitFor waits until the unit is not running any more; a unit that does not
// exist is none that runs. It is how a resumed plan meets a child that a killed
// run left behind.
func (s Systemd) WaitFor(ctx context.Context, unit string) error {
	for {
		running, err := s.Running(ctx, unit)
		if err != nil || !running {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", unit, context.Cause(ctx))
		case <-time.After(waitStep):
		}
	}
}

// waitStep is how often WaitFor looks.
const waitStep = 500 * time.Millisecond

// Running tells whether the unit runs, or is about to start or to stop.
func (s Systemd) Running(ctx context.Context, unit string) (bool, error) {
	v, err := s.Show(ctx, unit, "ActiveState")
	if err != nil {
		return false, err
	}
	return v["ActiveState"] != "inactive" && v["ActiveState"] != "failed", nil
}

// Active tells whether every one of the units is active.
func (s Systemd) Active(ctx context.Context, units ...string) (bool, error) {
	return s.all(ctx, "is-active", units)
}

// Enabled tells whether every one of the units starts at boot.
func (s Systemd) Enabled(ctx context.Context, units ...string) (bool, error) {
	return s.all(ctx, "is-enabled", units)
}

// all asks unit by unit: for several units at once systemctl is content when
// one of them is as asked.
func (s Systemd) all(ctx context.Context, verb string, units []string) (bool, error) {
	for _, u := range units {
		_, err := s.Runner.Run(ctx, Command{Name: "systemctl", Args: []string{verb, "--quiet", u}})
		var exit *ExitError
		switch {
		case errors.As(err, &exit):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// ResetFailed forgets that units failed, so that uninstalled ones leave no trace.
func (s Systemd) ResetFailed(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"reset-failed"}, units...)...)
}

// Reload makes services read their configuration again.
func (s Systemd) Reload(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"reload"}, units...)...)
}

// Sysusers makes the users and groups that the file declares.
func (s Systemd) Sysusers(ctx context.Context, file string) error {
	_, err := s.Runner.Run(ctx, Command{Name: "systemd-sysusers", Args: []string{file}})
	return err
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

// Mask stops units and makes it impossible to start them.
func (s Systemd) Mask(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"mask", "--now"}, units...)...)
}

// Unmask undoes Mask; it starts nothing.
func (s Systemd) Unmask(ctx context.Context, units ...string) error {
	return s.ctl(ctx, append([]string{"unmask"}, units...)...)
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
