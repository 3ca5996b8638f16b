// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// The programs of the twin. What is in a file is its digest's business alone.
const (
	oldProgram = "old"
	newProgram = "new"
)

// twin is a machine with systemd, as far as an update of ours meets one: units
// that are started through links, counted by their guard, started again when
// they end, and gone after a reboot.
type twin struct {
	t     *testing.T
	self  Self
	names map[string]string // "old" and "new", by the name of their folder
	// behave is how a unit does with the new program: "exits", "hangs", or well.
	behave map[string]string
	// planFails is what the new program's plan ends with before it turns a link.
	planFails string
	// planStuck: the new program's plan turns the daemon and then does nothing any more.
	planStuck bool
	// stack is its state under the new program.
	stack string

	mu       sync.Mutex
	pids     int
	units    map[string]*twinUnit
	started  map[string]int // with the new program, by unit
	bus      chan struct{}  // closed: systemd-run lost its connection
	stopping bool
	cutCode  int    // what a plan that is killed ends with, if not as one that was told to
	busy     int    // how often systemd does not start a plan
	asked    func() // what happens as systemd is asked how the machine is; may be nil
	boot     context.Context
	shutdown context.CancelFunc
	wait     sync.WaitGroup
	stopPlan context.CancelFunc
}

type twinUnit struct {
	active  bool
	pid     int
	program string
	run     int // which start this is
}

var _ host.Runner = (*twin)(nil)
var _ Witness = (*twin)(nil)

// newTwin is a box that runs the old program, with the new one in its incoming
// folder.
func newTwin(t *testing.T) *twin {
	t.Helper()
	m := &twin{t: t, names: map[string]string{}, behave: map[string]string{}, stack: appliance.StateRunning, started: map[string]int{}}
	d := Deps{Paths: appliance.Paths{Root: t.TempDir()}, Files: host.NewFiles(), Runner: m}
	m.self = Self{Deps: d, Witness: m}
	for _, dir := range []string{d.at("run"), d.at("proc"), d.Paths.Var(), d.versions(), d.versions(incoming)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range map[string]string{oldProgram: "1.0.0", newProgram: "1.1.0"} {
		m.names[name] = m.build(name, version)
	}
	if err := (&Record{Schema: 1, Version: "1.0.0", Finished: now(), Applied: map[string]string{}}).write(d.Paths, d.Files); err != nil {
		t.Fatal(err)
	}
	if err := d.pointUnits(m.names[oldProgram]); err != nil {
		t.Fatal(err)
	}
	return m
}

// build writes a program; the new one waits without a name.
func (m *twin) build(name, version string) string {
	m.t.Helper()
	content := []byte(strings.Repeat(name+" ", 500))
	path := filepath.Join(m.t.TempDir(), "rochdale")
	if err := os.WriteFile(path, content, 0o755); err != nil {
		m.t.Fatal(err)
	}
	digest, _, err := digestOf(path)
	if err != nil {
		m.t.Fatal(err)
	}
	program := version + "-" + digest[:shortDigest]
	folder := m.self.versions(program)
	if name == newProgram {
		folder = m.self.versions(incoming)
	}
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(filepath.Join(folder, "rochdale"), content, 0o755)); err != nil {
		m.t.Fatal(err)
	}
	return program
}

func (m *twin) new() Build { return buildOf(m.names[newProgram]) }
func (m *twin) old() Build { return buildOf(m.names[oldProgram]) }

// powerOn starts the units as a boot does.
func (m *twin) powerOn() {
	m.mu.Lock()
	m.units, m.stopping = map[string]*twinUnit{daemonUnit: {}, edgeUnit: {}}, false
	m.boot, m.shutdown = context.WithCancel(m.t.Context())
	m.mu.Unlock()
	for _, l := range unitLinks() {
		m.wait.Go(func() { _ = m.restart(m.boot, l) })
	}
}

// powerOff ends everything, as a reboot or a cut does.
func (m *twin) powerOff() {
	m.mu.Lock()
	m.stopping = true
	m.mu.Unlock()
	m.shutdown()
	m.wait.Wait()
}

// guard runs the guard, again when it fails, as its unit does.
func (m *twin) guard() {
	for m.boot.Err() == nil {
		if err := m.self.Guard(m.boot, slog.New(slog.DiscardHandler)); err == nil {
			return
		}
		wait(m.boot, 20*time.Second)
	}
}

// restart is systemctl restart: it waits for the first start alone.
func (m *twin) restart(ctx context.Context, l unitLink) error {
	m.mu.Lock()
	u := m.units[l.unit]
	u.active = false
	u.run++
	run := u.run
	m.mu.Unlock()
	err := m.start(ctx, l, run)
	if err != nil {
		m.wait.Go(func() {
			for wait(m.boot, 2*time.Second) && m.start(m.boot, l, run) != nil {
			}
		})
	}
	return err
}

// start is one start of a unit: its guard, and then what the link leads to.
func (m *twin) start(ctx context.Context, l unitLink, run int) error {
	if _, err := os.Stat(m.self.link(guardLink)); err == nil {
		if err := m.self.Count(ctx, l.name); err != nil {
			return err
		}
	}
	program := m.self.programAt(l.name)
	if !m.self.whole(program) {
		m.t.Errorf("%s starts %q, which is no whole program", l.unit, program)
	}
	how := ""
	if program == m.names[newProgram] {
		how = m.behave[l.name]
		m.mu.Lock()
		m.started[l.name]++
		m.mu.Unlock()
	}
	switch how {
	case "exits":
		return errors.New("control process exited")
	case "hangs":
		wait(m.boot, 90*time.Second)
		return errors.New("timeout")
	}
	return m.up(l, run, program)
}

func (m *twin) up(l unitLink, run int, program string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.units[l.unit]
	if u.run != run {
		return nil // somebody restarted it meanwhile
	}
	m.pids++
	u.active, u.pid, u.program = true, m.pids, program
	proc := m.self.at("proc", strconv.Itoa(u.pid))
	return errors.Join(os.Mkdir(proc, 0o755), os.Symlink(m.self.binary(program), filepath.Join(proc, "exe")))
}

// Run implements [host.Runner].
func (m *twin) Run(ctx context.Context, c host.Command) (host.Result, error) {
	line := c.Name + " " + strings.Join(c.Args, " ")
	switch {
	case strings.HasPrefix(line, "systemctl show "+applyUnit):
		return host.Result{Stdout: []byte("ActiveState=" + m.planState() + "\n")}, nil
	case strings.HasPrefix(line, "systemctl show "):
		return host.Result{Stdout: []byte(m.show(c.Args[1]))}, nil
	case strings.HasPrefix(line, "systemctl restart ") && c.Args[1] == GuardUnit:
		return host.Result{}, nil
	case strings.HasPrefix(line, "systemctl restart "):
		at := slices.IndexFunc(unitLinks(), func(l unitLink) bool { return l.unit == c.Args[1] })
		return host.Result{}, m.restart(ctx, unitLinks()[at])
	case strings.HasPrefix(line, "systemctl stop "+applyUnit):
		m.stopPlan()
		return host.Result{}, nil
	case line == "systemctl daemon-reload":
		return host.Result{}, nil
	case line == "systemctl is-system-running":
		if m.asked != nil {
			m.asked()
		}
		if ctx.Err() != nil {
			return host.Result{}, ctx.Err()
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		return host.Result{Stdout: []byte(map[bool]string{true: "stopping\n", false: "running\n"}[m.stopping])}, nil
	case c.Name == "systemd-run":
		return m.runPlan(ctx, c)
	}
	m.t.Errorf("not asked for here: %s", line)
	return host.Result{}, errors.New("unknown")
}

func (m *twin) planState() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopPlan == nil {
		return "inactive"
	}
	return "active"
}

func (m *twin) show(unit string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.units[unit]
	if u == nil || !u.active {
		return "ActiveState=activating\nMainPID=0\n"
	}
	return fmt.Sprintf("ActiveState=active\nMainPID=%d\n", u.pid)
}

// Status implements [Witness].
func (m *twin) Status(context.Context) (appliance.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.units[daemonUnit]
	if !u.active {
		return appliance.Status{}, errors.New("the daemon does not listen")
	}
	state := appliance.StateRunning
	if u.program == m.names[newProgram] {
		state = m.stack
	}
	return appliance.Status{Stacks: []appliance.StackStatus{{Name: "delivery", State: state, URL: "https://rides.example"}}}, nil
}

// Edge implements [Witness].
func (m *twin) Edge(ctx context.Context) error { return m.Web(ctx, "") }

// Web implements [Witness].
func (m *twin) Web(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.units[edgeUnit].active {
		return errors.New("nobody answers")
	}
	return nil
}
