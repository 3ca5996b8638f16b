// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// rebootCode is nspawn's exit code when the machine asked for a reboot.
const rebootCode = 133

// errOff is what a call gets that needs a running machine.
var errOff = errors.New("the machine is off")

// supervisor keeps one machine on: it starts nspawn, and starts it again when the machine asks for a reboot.
type supervisor struct {
	m        *Machine
	stop     atomic.Bool   // set when the plug is pulled: no start after it
	finished chan struct{} // closed when the machine is off for good
	err      error         // why, once finished; nil after a power off or a pulled plug

	boots int // guarded by Machine.mu
	init  int // the machine's PID 1, as the build machine numbers it; guarded by Machine.mu; 0 until known
	spawn int // nspawn; guarded by Machine.mu
}

// PowerOn boots a machine that is off and waits until systemd is up.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.mu.Lock()
	if m.closed || m.sup != nil {
		m.mu.Unlock()
		return fmt.Errorf("machine %s is on already, or closed", m.Name)
	}
	s := &supervisor{m: m, finished: make(chan struct{})}
	m.sup = s
	m.mu.Unlock()
	go s.loop()
	failed, err := m.Wait(ctx)
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("units failed: %s", strings.Join(failed, " "))
	}
	select {
	case <-s.finished: // it went off by itself, and knows why
		return errors.Join(err, s.err)
	default:
		return err
	}
}

// loop runs until the machine is off.
func (s *supervisor) loop() {
	var err error
	for again := true; again && err == nil; {
		again, err = s.once()
	}
	s.m.mu.Lock()
	s.err, s.m.sup = err, nil
	s.m.signal()
	s.m.mu.Unlock()
	close(s.finished)
}

// once runs nspawn from start to end and tells whether the machine asked for a reboot.
func (s *supervisor) once() (again bool, err error) {
	ctx := context.Background()
	m := s.m
	if err := errors.Join(killAll(ctx, m.lease.Name), removeGroups(ctx, m.lease.Name), removeLink(ctx, m.lease.Name)); err != nil {
		return false, err
	}
	groups, err := makeGroups(m.lease.Name, m.memory)
	if err != nil {
		return false, err
	}
	console, err := os.OpenFile(m.consolePath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	defer console.Close()
	cmd := inGroups(ctx, groups, m.nspawnArgs()...)
	cmd.Stdout, cmd.Stderr = console, console
	if err := s.start(cmd); err != nil {
		return false, err
	}
	err = cmd.Wait()
	s.ended()
	if s.stop.Load() || err == nil {
		return false, nil
	}
	if cmd.ProcessState.ExitCode() == rebootCode {
		return true, nil
	}
	return false, fmt.Errorf("systemd-nspawn ended: %w", err)
}

// removeLink removes the bridge's end of a cable that was the machine's in an earlier boot, or that of the machine which had
// its name before: the kernel takes the time it likes to do so after the last process has gone.
func removeLink(ctx context.Context, name string) error {
	link := "vb-" + name
	if _, err := net.InterfaceByName(link); err != nil {
		return nil //nolint:nilerr // it is gone, as it should be
	}
	_, err := run(ctx, "ip", "link", "del", link)
	if _, there := net.InterfaceByName(link); there != nil {
		return nil //nolint:nilerr // the kernel was faster
	}
	return err
}

// start starts nspawn unless the plug was pulled, and records it, so that another process can end it when this one is gone.
func (s *supervisor) start(cmd *exec.Cmd) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.stop.Load() {
		return errOff
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.spawn, s.init = cmd.Process.Pid, 0
	if p, err := identify(cmd.Process.Pid); err == nil {
		s.m.lease.Started = []process{p}
	}
	return writeJSON(s.m.lease.path(), s.m.lease)
}

// ended forgets the processes of a boot that is over.
func (s *supervisor) ended() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.spawn, s.init = 0, 0
	s.m.signal()
}

// signal wakes those who wait for a change. It is called with mu held.
func (m *Machine) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// nspawnArgs is the command line that boots the machine.
func (m *Machine) nspawnArgs() []string {
	args := []string{"systemd-nspawn", "-q", "-D", m.Dir, "--machine=" + m.lease.Name, "-b",
		"--settings=no", "--register=no", "--keep-unit", "--network-bridge=" + bridge,
		"--capability=all", "--drop-capability=CAP_SYS_MODULE,CAP_SYS_TIME",
		"--system-call-filter=add_key keyctl bpf",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"}
	if m.memory > 0 {
		args = append(args, "--bind-ro="+m.meminfoPath()+":"+meminfoInside)
	}
	return args
}

// inGroups prepares a program that joins cgroups before it runs. Go can do that for v2 alone; the script does it for both.
func inGroups(ctx context.Context, groups []string, args ...string) *exec.Cmd {
	const script = `for g in $1; do test -d "$g" || mkdir -p "$g" || exit 125; echo $$ >"$g/cgroup.procs" || exit 125; done; shift; exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, "sh", strings.Join(groups, " ")}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Running tells whether the machine is on, booting or not.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sup != nil
}

// Wait returns when systemd in the machine has started everything, with the names of the units that failed.
func (m *Machine) Wait(ctx context.Context) ([]string, error) { return waitUp(ctx, m) }

// waitUp asks systemd until it is done. Early in a boot it can not answer yet, which is no error while the machine is on.
func waitUp(ctx context.Context, h Host) ([]string, error) {
	for {
		result, err := h.Exec(ctx, Command{Args: []string{"systemctl", "is-system-running"}})
		if err != nil && (ctx.Err() != nil || !h.Running()) {
			return nil, err
		}
		switch strings.TrimSpace(result.Stdout) {
		case "running":
			return nil, nil
		case "degraded":
			return failedUnits(ctx, h)
		}
		if perr := pause(ctx, 50*time.Millisecond); perr != nil {
			return nil, fmt.Errorf("the machine is not up (%q, %w): %w", strings.TrimSpace(result.Stdout), err, perr)
		}
	}
}

func failedUnits(ctx context.Context, h Host) ([]string, error) {
	out, err := output(ctx, h, []string{"systemctl", "--failed", "--plain", "--no-legend", "--no-pager"})
	if err != nil {
		return nil, err
	}
	var units []string
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 0 {
			units = append(units, fields[0])
		}
	}
	return units, nil
}

// Reboot asks systemd for a reboot and waits until the machine is up again. Failed units are for Wait to tell.
func (m *Machine) Reboot(ctx context.Context) error {
	before := m.Boots()
	if err := shut(ctx, m, "reboot"); err != nil {
		return err
	}
	for m.Boots() == before {
		if err := m.next(ctx); err != nil {
			return fmt.Errorf("reboot machine %s: %w", m.Name, err)
		}
	}
	_, err := m.Wait(ctx)
	return err
}

// PowerOff asks systemd to shut down and waits until the machine is off.
func (m *Machine) PowerOff(ctx context.Context) error {
	m.mu.Lock()
	s := m.sup
	m.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := shut(ctx, m, "poweroff"); err != nil {
		return err
	}
	select {
	case <-s.finished:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("power off machine %s: %w", m.Name, context.Cause(ctx))
	}
}

// shut runs systemctl with a verb that ends the system, and with it systemctl itself: its exit code says nothing.
// A connection that broke meanwhile is no error either.
func shut(ctx context.Context, h Host, verb string) error {
	result, err := h.Exec(ctx, Command{Args: []string{"systemctl", "--no-block", verb}})
	if err == nil && result.Code != 0 && result.Code < 128 {
		return fmt.Errorf("%s: %s", verb, tail(result.Stderr, 500))
	}
	return context.Cause(ctx)
}

// PullPlug ends the machine's PID 1 and nspawn with SIGKILL, as a power cut does. What the machine wrote stays (this is no
// test of the page cache). PowerOn boots the same root again.
func (m *Machine) PullPlug() error {
	m.mu.Lock()
	s := m.sup
	if s != nil {
		s.stop.Store(true)
		for _, pid := range []int{s.init, s.spawn} {
			if pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
			}
		}
	}
	m.mu.Unlock()
	if s != nil {
		<-s.finished
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return killAll(ctx, m.lease.Name)
}

// Boots counts how often PID 1 was seen to start since the machine was powered on.
func (m *Machine) Boots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sup == nil {
		return 0
	}
	return m.sup.boots
}

// next waits for a change of PID 1, looking for it meanwhile.
func (m *Machine) next(ctx context.Context) error {
	m.mu.Lock()
	changed, on := m.changed, m.sup != nil
	m.mu.Unlock()
	if !on {
		return errOff
	}
	if err := m.look(ctx); err != nil {
		return err
	}
	select {
	case <-changed:
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (m *Machine) consolePath() string { return filepath.Join(m.lease.Dir, "console.log") }

// Console returns the end of what the machine wrote on its console, over all boots.
func (m *Machine) Console() string {
	data, err := os.ReadFile(m.consolePath())
	if err != nil {
		return ""
	}
	return tail(string(data), 64<<10)
}
