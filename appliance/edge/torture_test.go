// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"rochdale/appliance"
)

// echoes are the upstreams of a load: they count how often each request came.
type echoes struct {
	mu   sync.Mutex
	seen map[string]int
}

func (e *echoes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil || r.Method == http.MethodPost && n != payload {
		http.Error(w, fmt.Sprintf("got %d bytes: %v", n, err), http.StatusBadRequest)
		return
	}
	id := r.Header.Get("X-Id")
	e.mu.Lock()
	e.seen[id]++
	e.mu.Unlock()
	_, _ = io.WriteString(w, id)
}

// check wants every answered request exactly once at an upstream, and none twice.
func (e *echoes) check(t *testing.T, l *load) {
	t.Helper()
	for id := range l.answered {
		if e.seen[id] != 1 {
			t.Errorf("request %s was answered and came %d times to an upstream", id, e.seen[id])
		}
	}
	for id, n := range e.seen {
		if n > 1 {
			t.Errorf("request %s came %d times to an upstream", id, n)
		}
	}
}

// serve starts one upstream that can be stopped hard.
func (e *echoes) serve(t *testing.T) (addr string, kill func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: e}
	go func() { _ = s.Serve(ln) }()
	return ln.Addr().String(), func() { _ = s.Close() }
}

// swapUpstream is what the daemon does: new one, switch, drain, stop the old.
func swapUpstream(t *testing.T, c *Client, version uint64, names []string, addr, old string) {
	t.Helper()
	hosts := map[string]appliance.Host{}
	for _, n := range names {
		hosts[n] = open(addr)
	}
	if err := c.Apply(t.Context(), appliance.Routes{Schema: 1, Version: version, Hosts: hosts}); err != nil {
		t.Fatalf("apply: %v", err)
	}
	if old == "" {
		return
	}
	eventually(t, "the old upstream is drained", func() bool {
		n, err := c.InFlight(t.Context(), old)
		return err == nil && n == 0
	})
}

func always(name string) func() (string, func()) {
	return func() (string, func()) { return name, func() {} }
}

// fashion is the host that everybody asks now.
type fashion struct {
	mu    sync.Mutex
	name  string
	users map[string]int
}

func (f *fashion) next() (string, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := f.name
	f.users[name]++
	return name, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.users[name]--
	}
}

// change moves the crowd and waits until nobody asks the old name any more.
func (f *fashion) change(t *testing.T, name string) {
	t.Helper()
	f.mu.Lock()
	old := f.name
	f.name = name
	f.mu.Unlock()
	eventually(t, "the crowd moves on", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.users[old] == 0
	})
}

func TestSwapsUnderLoad(t *testing.T) {
	b := newBox(t)
	e := &echoes{seen: map[string]int{}}
	names := []string{"rides.example"}
	addr, kill := e.serve(t)
	swapUpstream(t, b.client, 1, names, addr, "")
	l := startLoad(b.https, b.trust(""), always("rides.example"))
	for i := range torture(200) {
		next, killNext := e.serve(t)
		swapUpstream(t, b.client, uint64(i+2), names, next, addr)
		kill()
		addr, kill = next, killNext
	}
	l.finish(t)
	kill()
	e.check(t, l)
}

func TestHostChangesUnderLoad(t *testing.T) {
	b := newBox(t)
	e := &echoes{seen: map[string]int{}}
	addr, kill := e.serve(t)
	defer kill()
	crowd := &fashion{name: "rides0.example", users: map[string]int{}}
	swapUpstream(t, b.client, 1, []string{crowd.name}, addr, "")
	if err := b.client.Warm(t.Context(), crowd.name); err != nil {
		t.Fatal(err)
	}
	l := startLoad(b.https, b.trust(""), crowd.next)
	for i := range torture(50) {
		next := fmt.Sprintf("rides%d.example", i+1)
		swapUpstream(t, b.client, uint64(2*i+2), []string{crowd.name, next}, addr, "")
		if err := b.client.Warm(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		crowd.change(t, next)
		swapUpstream(t, b.client, uint64(2*i+3), []string{next}, addr, "")
	}
	l.finish(t)
	e.check(t, l)
}

// childEnv makes the test binary an edge.
const childEnv = "ROCHDALE_EDGE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(childEdge(dir))
	}
	os.Exit(m.Run())
}

// supervisor holds the sockets as systemd does.
type supervisor struct {
	t     *testing.T
	dir   string
	files []*os.File
	names string
	http  string
	https string
	cmd   *exec.Cmd
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	s := &supervisor{t: t, dir: t.TempDir(), names: "http:https"}
	for _, addr := range []*string{&s.http, &s.https} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		file, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		*addr = ln.Addr().String()
		s.files = append(s.files, file)
		t.Cleanup(func() { _, _ = ln.Close(), file.Close() })
	}
	t.Cleanup(s.stop)
	return s
}

func (s *supervisor) client() *Client { return NewClient(filepath.Join(s.dir, "edge.sock")) }

func (s *supervisor) start() {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.CommandContext(context.WithoutCancel(s.t.Context()), self)
	s.cmd.Env = append(os.Environ(), childEnv+"="+s.dir, "LISTEN_FDS="+strconv.Itoa(len(s.files)), "LISTEN_FDNAMES="+s.names)
	s.cmd.ExtraFiles = s.files
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supervisor) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the edge ended with %v", err)
	}
	s.cmd = nil
}

func (s *supervisor) wait() {
	s.t.Helper()
	eventually(s.t, "the edge is up", func() bool {
		_, err := s.client().Health(s.t.Context())
		return err == nil
	})
}

func TestRestartsUnderLoad(t *testing.T) {
	s := newSupervisor(t)
	s.start()
	s.wait()
	e := &echoes{seen: map[string]int{}}
	addr, kill := e.serve(t)
	defer kill()
	swapUpstream(t, s.client(), 1, []string{"rides.example"}, addr, "")
	if err := s.client().Warm(t.Context(), "rides.example"); err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, client: s.client()}
	l := startLoad(s.https, b.trust(""), always("rides.example"))
	for range torture(20) {
		l.more(t)
		s.stop()
		s.start()
		s.wait()
	}
	l.finish(t)
	e.check(t, l)
}
