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
	"strings"
	"syscall"
	"time"
)

// outputLimit bounds what is kept of a program's output, in bytes.
const outputLimit = 8 << 20

// CacheDir is the folder for what is kept between runs: base roots, saved roots, downloaded packages, disk images.
// ROCHDALE_TEST_CACHE overrides /var/cache/rochdale-test.
func CacheDir() string {
	if dir := os.Getenv("ROCHDALE_TEST_CACHE"); dir != "" {
		return filepath.Clean(dir)
	}
	return "/var/cache/rochdale-test"
}

// runDir holds leases and locks. It is fixed, since addresses and the bridge are shared by every process on the build machine.
func runDir() string { return "/run/rochdale-test" }

// run executes a program on the build machine and returns its standard output. The error carries the end of what it said.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return runTo(ctx, nil, name, args...)
}

// runTo is run with the program's whole output copied to log as it appears.
func runTo(ctx context.Context, log io.Writer, name string, args ...string) (string, error) {
	stdout, both := &capped{limit: outputLimit}, &capped{limit: outputLimit}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = io.MultiWriter(stdout, both), both
	if log != nil {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(stdout, both, log), io.MultiWriter(both, log)
	}
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, tail(both.String(), 1200))
	}
	return stdout.String(), nil
}

// killGroup ends a process group that this package started.
func killGroup(pgid int) error {
	err := syscall.Kill(-pgid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// tail returns at most the last n bytes of s, trimmed.
func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

// capped keeps the first limit bytes written to it and counts the rest.
type capped struct {
	bytes.Buffer
	limit, lost int
}

func (c *capped) Write(p []byte) (int, error) {
	keep := min(len(p), c.limit-c.Len())
	c.lost += len(p) - keep
	c.Buffer.Write(p[:keep])
	return len(p), nil
}

// withLock runs f while holding an exclusive lock on path, which is made if it is missing. Other processes wait.
func withLock(ctx context.Context, path string, f func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := flock(ctx, file); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	return f()
}

// flock waits for the lock by asking again, so that the context ends the wait.
func flock(ctx context.Context, file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits for d or for the end of the context, whose cause it then returns.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
