// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command is a program to run as root in a machine, with an argument list and without a shell.
type Command struct {
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer // also receives the standard output while the program runs; for Start the only place
	Stderr io.Writer
	Env    []string // KEY=VALUE, beside PATH, HOME, USER, LOGNAME and LC_ALL=C.UTF-8; nothing of the test's own environment is handed down
	Dir    string   // working folder; /root if empty
}

// Result is what a program left behind. Standard output and error are bounded at 8 MB each; the rest is dropped.
type Result struct {
	Stdout, Stderr string
	Code           int // the exit code, or 128 and the number of the signal that ended it
}

// Exec runs a program and waits for its end. The error tells that it could not be run or that the context ended; it was
// then killed with everything in its process group. A non-zero exit code is in the result.
func (m *Machine) Exec(ctx context.Context, c Command) (Result, error) { return execute(ctx, m, c) }

// execute runs a program to its end on any kind of machine.
func execute(ctx context.Context, h Host, c Command) (Result, error) {
	stdout, stderr := &capped{limit: outputLimit}, &capped{limit: outputLimit}
	c.Stdout, c.Stderr = tee(stdout, c.Stdout), tee(stderr, c.Stderr)
	p, err := h.Start(ctx, c)
	if err != nil {
		return Result{}, err
	}
	code, err := p.Wait()
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, err
}

func tee(keep io.Writer, also io.Writer) io.Writer {
	if also == nil {
		return keep
	}
	return io.MultiWriter(keep, also)
}

// Output runs a program and returns its standard output. A non-zero exit code is an error that carries both outputs' ends.
func (m *Machine) Output(ctx context.Context, args ...string) (string, error) {
	return output(ctx, m, args)
}

func output(ctx context.Context, h Host, args []string) (string, error) {
	r, err := h.Exec(ctx, Command{Args: args})
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s\n%s", r.Code, tail(r.Stderr, 2000), tail(r.Stdout, 2000))
	}
	if err != nil {
		return r.Stdout, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return r.Stdout, nil
}

// Process is a program that runs in a machine.
type Process struct {
	wait func() (int, error)
	kill func() error
}

// Wait waits for the end and returns the exit code, or 128 and the signal's number. The error tells that the context ended
// or that the machine went away. Call it once.
func (p *Process) Wait() (int, error) { return p.wait() }

// Kill ends the program and its process group with SIGKILL, as `kill -9` in the machine would.
func (p *Process) Kill() error { return p.kill() }

// Start starts a program; its output goes to c.Stdout and c.Stderr while it runs. The end of the context kills it.
func (m *Machine) Start(ctx context.Context, c Command) (*Process, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("no program named")
	}
	init, err := m.pid1(ctx)
	if err != nil {
		return nil, err
	}
	groups, err := groupsOf(init)
	if err != nil {
		return nil, fmt.Errorf("machine %s: %w", m.Name, err)
	}
	cmd := inGroups(ctx, groups, enterArgs(init, c)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go keepAwake(ctx, cmd.Process)
	return &Process{
		wait: func() (int, error) { return ended(ctx, cmd) },
		kill: func() error { return killGroup(cmd.Process.Pid) },
	}, nil
}

// keepAwake lets nsenter go on until it has ended. It stops itself when it sees that the program in the machine is stopped, and
// whoever continues the program can not see nsenter. At a shutdown systemd stops everything for a moment before it sends SIGTERM;
// with nobody to reap it, the program would stay a zombie, and the machine would wait for it through both of its time limits.
func keepAwake(ctx context.Context, p *os.Process) {
	for p.Signal(syscall.SIGCONT) == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// ended waits for a program that was started in a machine.
func ended(ctx context.Context, cmd *exec.Cmd) (int, error) {
	err := cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return -1, fmt.Errorf("killed, since the time for it was over: %w", cause)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return -1, err
	}
	return exitCode(cmd.ProcessState), nil
}

// enterArgs is the command line that runs a program in the namespaces of a machine's PID 1 with a clean environment.
func enterArgs(init int, c Command) []string {
	dir := c.Dir
	if dir == "" {
		dir = "/root"
	}
	args := []string{"nsenter", "-t", strconv.Itoa(init), "-a", "--", "env", "-i", "-C", dir,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LOGNAME=root",
		"LC_ALL=C.UTF-8"}
	args = append(args, c.Env...)
	return append(args, c.Args...)
}

// CopyIn copies a file of the build machine into the running machine. It appears there whole or not at all.
func (m *Machine) CopyIn(ctx context.Context, src, dst string, mode os.FileMode) error {
	file, err := os.Open(src)
	if err != nil {
		return err
	}
	defer file.Close()
	return putFile(ctx, m, file, dst, mode)
}

// WriteFile writes a file in the running machine, atomically, making folders as needed.
func (m *Machine) WriteFile(ctx context.Context, path string, data []byte, mode os.FileMode) error {
	return putFile(ctx, m, bytes.NewReader(data), path, mode)
}

// ReadFile reads a file of the running machine.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	out, err := m.Output(ctx, "cat", "--", path)
	return []byte(out), err
}

// AddHost makes a name resolve to an address in the running machine.
func (m *Machine) AddHost(ctx context.Context, name, ip string) error {
	return addHost(ctx, m, name, ip)
}

func addHost(ctx context.Context, h Host, name, ip string) error {
	_, err := output(ctx, h, []string{"sh", "-c", `printf '%s %s\n' "$1" "$2" >>/etc/hosts`, "sh", ip, name})
	return err
}

// putFile sends a file through a program's standard input.
func putFile(ctx context.Context, h Host, data io.Reader, dst string, mode os.FileMode) error {
	const script = `set -e; mkdir -p "$(dirname "$1")"; cat >"$1.part"; chmod "$2" "$1.part"; mv -f "$1.part" "$1"`
	r, err := h.Exec(ctx, Command{Args: []string{"sh", "-c", script, "sh", filepath.Clean(dst), fmt.Sprintf("%o", mode.Perm())}, Stdin: data})
	if err == nil && r.Code != 0 {
		err = errors.New(tail(r.Stderr, 500))
	}
	if err != nil {
		return fmt.Errorf("write %s in the machine: %w", dst, err)
	}
	return nil
}
