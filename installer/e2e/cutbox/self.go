// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/installer"
)

// self updates Rochdale in vain: each turn a program is brought, begins its
// trial, does not start, and is put back. What systemd would do is done here.
type self struct {
	*box
	installer.Self
	n int64 // the last turn that ended
}

const starts = 4 // one more than a program on trial is given

func newSelf(b *box) *self {
	w := &self{box: b}
	deps := installer.Deps{Paths: appliance.Paths{Root: filepath.Join(home, "self")}, Files: b.files, Runner: systemd{w}}
	w.Self = installer.Self{Deps: deps, Witness: nobody{}}
	return w
}

// links are those that units start through; the guard's is beside them.
func links() []string { return []string{"daemon", "edge"} }

func (w *self) link(name string) string { return filepath.Join(w.Paths.Programs(), name) }

func (w *self) program(name string) string {
	return filepath.Join(w.Paths.Programs(), "versions", name, "rochdale")
}

// build is the program of a turn; that of turn 0 is the one that runs.
func build(n int64) installer.Build {
	version := fmt.Sprintf("1.0.%d", n)
	return installer.Build{Version: version, Program: fmt.Sprintf("%s-%.4x", version, sha256.Sum256(content("program", n)))}
}

// led tells where a link leads to: the program of a turn, which must be whole.
// ok is false when there is no link.
func (w *self) led(name string) (n int64, ok bool, err error) {
	to, err := os.Readlink(w.link(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if n, err = numbered(to, "versions/1.0."); err != nil {
		return 0, false, err
	}
	if to != filepath.Join("versions", build(n).Program, "rochdale") {
		return 0, false, fmt.Errorf("%s leads to %s", name, to)
	}
	return n, true, w.isWhole(build(n).Program, n)
}

func (w *self) isWhole(program string, n int64) error {
	got, err := turnOf(w.program(program), "program", 0o755)
	if err == nil && (got != n || got == 0 && !w.exists(w.program(program))) {
		err = fmt.Errorf("the program %s is of turn %d", program, got)
	}
	return err
}

func (w *self) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (w *self) check(context.Context) error {
	if !w.exists(w.link("daemon")) {
		return nil // not installed yet; the daemon's link is the last of it
	}
	l, err := w.Ledger()
	if err != nil {
		return err
	}
	if len(l.Past) > 0 {
		last := l.Past[len(l.Past)-1]
		if w.n, err = numbered(last.To.Version, "1.0."); err != nil {
			return err
		}
		if last.Outcome != installer.PutBack && last.Outcome != installer.GaveUp {
			return fmt.Errorf("the last trial is %+v", last)
		}
	}
	bad := int64(0)
	for program, b := range l.Bad {
		n, err := numbered(b.Version, "1.0.")
		if err != nil || program != build(n).Program {
			return fmt.Errorf("marked as bad is %s: %+v, %w", program, b, err)
		}
		bad = max(bad, n)
	}
	trial := w.n
	if l.Trial != nil {
		trial++
	}
	w.found("trial", trial)
	w.found("bad", bad)
	w.found("self", w.n)
	return w.sound(l)
}

// sound wants links that lead to whole programs: without a trial to the one that
// runs, and with one to either, with a guard to end it.
func (w *self) sound(l installer.Ledger) error {
	for _, name := range links() {
		n, ok, err := w.led(name)
		if err != nil {
			return err
		}
		if !ok || n != 0 && (l.Trial == nil || n != w.n+1) {
			return fmt.Errorf("%s leads to %d (%v) after turn %d, on trial is %+v", name, n, ok, w.n, l.Trial)
		}
	}
	if l.Trial == nil {
		return nil
	}
	if l.Trial.To != build(w.n+1) || l.Trial.From != build(0) {
		return fmt.Errorf("on trial after turn %d is %+v", w.n, l.Trial)
	}
	guard, ok, err := w.led("guard")
	if err == nil && (!ok || guard != 0) {
		err = fmt.Errorf("the guard is %d (%v)", guard, ok)
	}
	return errors.Join(err, w.isWhole(l.Trial.To.Program, w.n+1))
}

// resume is what a boot does: the units count their starts by the guard's link,
// and the guard takes a trial to its end.
func (w *self) resume(ctx context.Context) error {
	if !w.exists(w.link("daemon")) {
		return w.install()
	}
	if !w.exists(w.link("guard")) {
		return nil
	}
	for _, name := range links() {
		if err := w.Count(ctx, name); err != nil {
			return err
		}
	}
	return w.guard(ctx)
}

func (w *self) install() error {
	run := filepath.Join(home, "self/run")
	for _, dir := range []string{run, w.Paths.Var(), filepath.Dir(w.program(build(0).Program))} {
		if err := w.Files.MkdirAll(dir, mine(0o755)); err != nil {
			return err
		}
	}
	if err := w.Files.Write(w.program(build(0).Program), content("program", 0), mine(0o755)); err != nil {
		return err
	}
	return errors.Join(w.turnLink("edge", 0), w.turnLink("daemon", 0))
}

func (w *self) turnLink(name string, n int64) error {
	return w.Files.Symlink(filepath.Join("versions", build(n).Program, "rochdale"), w.link(name))
}

// guard runs the guard, and looks at what it left.
func (w *self) guard(ctx context.Context) error {
	before, err := w.Ledger()
	if err != nil {
		return err
	}
	if err := w.Guard(ctx, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	l, err := w.Ledger()
	if err != nil {
		return err
	}
	if before.Trial != nil {
		w.n++
		w.ack("self", w.n)
	}
	if l.Trial != nil || w.exists(w.link("guard")) {
		return fmt.Errorf("the guard left %+v", l.Trial)
	}
	return w.sound(l)
}

func (w *self) turn(ctx context.Context) error {
	n := w.n + 1
	if err := w.bring(n); err != nil {
		return err
	}
	if _, err := w.Begin(ctx, "update", build(n)); err != nil {
		return err
	}
	w.ack("trial", n)
	if err := w.turnLink("daemon", n); err != nil {
		return err
	}
	for range starts {
		if err := w.Count(ctx, "daemon"); err != nil {
			return err
		}
	}
	w.ack("bad", n)
	return w.guard(ctx)
}

// bring is [installer.Self.Bring] for a program that is none.
func (w *self) bring(n int64) error {
	if err := w.Discard(); err != nil {
		return err
	}
	path := w.program("incoming")
	if err := w.Files.MkdirAll(filepath.Dir(path), mine(0o755)); err != nil {
		return err
	}
	return w.Files.Write(path, content("program", n), mine(0o755))
}

// systemd does all that it is asked. Of the plans, only that of the program that
// always ran ends well.
type systemd struct{ w *self }

var _ host.Runner = systemd{}

// Run implements [host.Runner].
func (s systemd) Run(_ context.Context, c host.Command) (host.Result, error) {
	switch {
	case c.Name == "systemctl" && c.Args[0] == "show":
		return host.Result{Stdout: []byte("ActiveState=inactive\n")}, nil
	case c.Name == "systemctl" && c.Args[0] == "is-system-running":
		return host.Result{Stdout: []byte("running\n")}, nil
	case c.Name == "systemctl":
		return host.Result{}, nil
	case c.Name == "systemd-run" && slices.Contains(c.Args, s.w.program(build(0).Program)):
		return host.Result{Stderr: []byte("Finished with result: success\nMain processes terminated with: code=exited/status=0\n")}, nil
	case c.Name == "systemd-run":
		return host.Result{Code: 1, Stderr: []byte("Finished with result: exit-code\nMain processes terminated with: code=exited/status=1\n")}, &host.ExitError{Name: c.Name, Code: 1}
	}
	return host.Result{}, fmt.Errorf("not asked for here: %s %s", c.Name, strings.Join(c.Args, " "))
}

var errNobody = errors.New("nobody answers")

// nobody is a box on which nothing answers.
type nobody struct{}

var _ installer.Witness = nobody{}

// Status implements [installer.Witness].
func (nobody) Status(context.Context) (appliance.Status, error) {
	return appliance.Status{}, errNobody
}

// Edge implements [installer.Witness].
func (nobody) Edge(context.Context) error { return errNobody }

// Web implements [installer.Witness].
func (nobody) Web(context.Context, string) error { return errNobody }
