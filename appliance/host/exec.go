// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is one program run by argument list.
type Command struct {
	// Name is a program on the PATH, or an absolute path.
	Name string
	Args []string
	// Env is added to a minimal environment (PATH, HOME, LC_ALL=C.UTF-8); what
	// this process inherited is not passed on.
	Env   []string
	Dir   string
	Stdin io.Reader
	// Stdout, when set, receives the output as it comes instead of Result.Stdout.
	Stdout io.Writer
}

// Result is what a program printed and how it ended.
type Result struct {
	Stdout []byte // at most 4 MiB; what came later was dropped
	Stderr []byte // the last 64 KiB
	Code   int
}

// Runner runs programs.
type Runner interface {
	// Run waits for the program. A program that ends with a code other than 0
	// gives an [*ExitError] beside its Result. When ctx is done the program
	// gets SIGTERM, and SIGKILL ten seconds later.
	Run(ctx context.Context, c Command) (Result, error)
}

// ExitError is a program that ended badly.
type ExitError struct {
	Name   string
	Args   []string
	Code   int
	Stderr string // its last lines
}

// Error implements error. Arguments never hold secrets, so they may be shown.
func (e *ExitError) Error() string {
	msg := fmt.Sprintf("%s %s: exit code %d", e.Name, strings.Join(e.Args, " "), e.Code)
	if e.Stderr != "" {
		msg += ": " + e.Stderr
	}
	return msg
}

// Exec is the [Runner] that really runs programs.
type Exec struct{}

var _ Runner = Exec{}

const (
	maxStdout = 4 << 20
	maxStderr = 64 << 10
	killAfter = 10 * time.Second
	// errorLines is how much of what a program said goes into its error.
	errorLines = 5
)

// Run implements [Runner].
func (Exec) Run(ctx context.Context, c Command) (Result, error) {
	cmd := exec.CommandContext(ctx, c.Name, c.Args...)
	cmd.Env = append(baseEnv(), c.Env...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	out, errs := &headBuffer{max: maxStdout}, &tailBuffer{max: maxStderr}
	cmd.Stdout, cmd.Stderr = io.Writer(out), errs
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	err := cmd.Run()
	r := Result{Stdout: out.Bytes(), Stderr: errs.Bytes(), Code: cmd.ProcessState.ExitCode()}
	return r, c.explain(ctx, r, err)
}

func (c Command) explain(ctx context.Context, r Result, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s was stopped: %w", c.Name, context.Cause(ctx))
	case errors.As(err, &exit):
		return &ExitError{Name: c.Name, Args: c.Args, Code: r.Code, Stderr: lastLines(r.Stderr, errorLines)}
	default:
		return fmt.Errorf("run %s: %w", c.Name, err)
	}
}

func baseEnv() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + homeDir(),
		"LC_ALL=C.UTF-8",
		"LANG=C.UTF-8",
	}
}

func homeDir() string {
	if h := os.Getenv("HOME"); h != "" {
		return h
	}
	return "/root"
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// headBuffer keeps the first max bytes and drops the rest.
type headBuffer struct {
	bytes.Buffer
	max int
}

func (b *headBuffer) Write(p []byte) (int, error) {
	if room := b.max - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// tailBuffer keeps the last max bytes.
type tailBuffer struct {
	buf []byte
	max int
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.buf = append(b.buf, p...)
	if over := len(b.buf) - b.max; over > 0 {
		b.buf = append(b.buf[:0], b.buf[over:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) Bytes() []byte { return b.buf }
