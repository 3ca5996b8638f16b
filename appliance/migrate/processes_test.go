// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance/host"
)

// processes is a systemd that runs each unit as a plain process: the child is
// real and has the stack's uid, only its cage is not there. So it sees the
// machine's paths, into which this twin turns what the cage would show.
type processes struct {
	mu    sync.Mutex
	units map[string]*unit
	runs  int
	// env is added to the next child's environment.
	env []string
}

type unit struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error
}

func newProcesses(t *testing.T) *processes {
	t.Helper()
	p := &processes{units: map[string]*unit{}}
	t.Cleanup(func() {
		for name, u := range p.units {
			_ = u.cmd.Process.Kill()
			<-u.ended
			delete(p.units, name)
		}
	})
	return p
}

func (p *processes) active(name string) *unit {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.units[name]
	if u == nil {
		return nil
	}
	select {
	case <-u.ended:
		return nil
	default:
		return u
	}
}

func (p *processes) Show(_ context.Context, name string, _ ...string) (map[string]string, error) {
	if p.active(name) == nil {
		return map[string]string{"LoadState": "not-found", "ActiveState": "inactive"}, nil
	}
	return map[string]string{"LoadState": "loaded", "ActiveState": "active"}, nil
}

func (p *processes) Stop(_ context.Context, names ...string) error {
	for _, name := range names {
		if u := p.active(name); u != nil {
			_ = u.cmd.Process.Signal(syscall.SIGTERM)
			<-u.ended
		}
	}
	return nil
}

// RunTransient goes on when ctx ends, as systemd does.
func (p *processes) RunTransient(ctx context.Context, t host.Transient) (host.Result, error) {
	u, out, err := p.start(t)
	if err != nil {
		return host.Result{}, err
	}
	select {
	case <-ctx.Done():
		return host.Result{}, context.Cause(ctx)
	case <-u.ended:
	}
	if exit := (*exec.ExitError)(nil); errors.As(u.err, &exit) {
		return host.Result{}, &host.ExitError{Name: "systemd-run", Code: exit.ExitCode(), Stderr: out.errs.String()}
	}
	return host.Result{Stdout: out.Bytes()}, u.err
}

type printed struct {
	bytes.Buffer
	errs bytes.Buffer
}

func (p *processes) start(t host.Transient) (*unit, *printed, error) {
	if p.active(t.Unit) != nil {
		return nil, nil, errors.Join(host.ErrNotBegun, &host.ExitError{Code: 1, Stderr: "Unit " + t.Unit + " was already loaded"})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.runs++
	turn := outward(t.Properties)
	out := &printed{}
	cmd := exec.Command(t.Name, t.Args...)
	cmd.Stdout, cmd.Stderr = io.Writer(out), &out.errs
	if t.Stdout != nil {
		cmd.Stdout = t.Stdout
	}
	cmd.Env = append([]string{"PATH=/usr/bin:/bin"}, p.env...)
	for _, property := range t.Properties {
		if value, ok := strings.CutPrefix(property, "Environment=SQLITE_TMPDIR="); ok {
			cmd.Env = append(cmd.Env, "SQLITE_TMPDIR="+strings.Trim(turn(`"`+value), `"`))
		}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	go feed(in, t.Stdin, turn)
	u := &unit{cmd: cmd, ended: make(chan struct{})}
	p.units[t.Unit] = u
	go func() {
		u.err = cmd.Wait()
		close(u.ended)
	}()
	return u, out, nil
}

// feed passes the request on with the machine's paths in it, and then the rest.
func feed(to io.WriteCloser, from io.Reader, turn func(string) string) {
	defer func() { _ = to.Close() }()
	var asked json.RawMessage
	d := json.NewDecoder(from)
	if err := d.Decode(&asked); err != nil {
		return
	}
	if _, err := io.WriteString(to, turn(string(asked))); err == nil {
		_, _ = io.Copy(to, from)
	}
}

// outward turns paths of the cage into those of the machine. All volumes of a
// place lie in one folder, under their names.
func outward(properties []string) func(string) string {
	var pairs []string
	for _, property := range properties {
		_, value, _ := strings.Cut(property, "Paths=")
		path, inside, ok := strings.Cut(value, ":")
		if !ok {
			continue
		}
		if dir := filepath.Dir(inside); dir != "/" {
			inside, path = dir, filepath.Dir(path)
		}
		pairs = append(pairs, `"`+inside, `"`+path)
	}
	return strings.NewReplacer(pairs...).Replace
}

// wait waits for something that another process does.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s never came", what)
		}
	}
}

// childUser is who children become: the stack's user, where this test may.
func childUser() int {
	if os.Geteuid() == 0 {
		return stackUID
	}
	return os.Geteuid()
}

// folder is a temporary folder that the stack's user can pass through.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o711))
	return dir
}

// owned makes a folder that is the stack's.
func owned(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.Chown(dir, childUser(), childUser()))
	return dir
}
