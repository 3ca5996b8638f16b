// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"

	"golang.org/x/net/http2"
)

// torture scales the load tests: the numbers of the promise with 1, a quarter
// of them without.
func torture(n int) int {
	if f, err := strconv.ParseFloat(os.Getenv("ROCHDALE_TORTURE"), 64); err == nil {
		return max(1, int(float64(n)*f))
	}
	return max(1, n/4)
}

// load is a crowd of strict clients: none of them ever tries again, and an
// answer counts only when it is the whole one that was asked for.
type load struct {
	addr string
	// names gives the host to ask next, and what to call after the answer.
	names func() (host string, done func())
	trust *tls.Config
	stop  chan struct{}
	wg    sync.WaitGroup

	requests, goaways, dials atomic.Int64
	slowest                  atomic.Int64 // ns

	mu       sync.Mutex
	failures map[string]int
	answered map[string]bool // ids
}

const workers = 12

func startLoad(addr string, trust *tls.Config, names func() (string, func())) *load {
	l := &load{addr: addr, names: names, trust: trust, stop: make(chan struct{}), failures: map[string]int{}, answered: map[string]bool{}}
	for i := range workers {
		w := worker{load: l, h2: i%2 == 0, keep: i/2%2 == 0, post: i/4%2 == 0, name: i}
		l.wg.Go(w.run)
	}
	return l
}

// finish stops the crowd and reports what failed.
func (l *load) finish(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	t.Logf("%d requests over %d connections, slowest %v, %d refused by GOAWAY before they were processed, failures: %v",
		l.requests.Load(), l.dials.Load(), time.Duration(l.slowest.Load()).Round(time.Millisecond), l.goaways.Load(), l.failures)
	if len(l.failures) > 0 {
		t.Errorf("requests failed: %v", l.failures)
	}
	if l.requests.Load() < workers*10 {
		t.Errorf("only %d requests: this was no load", l.requests.Load())
	}
}

func (l *load) fail(kind string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[fmt.Sprintf("%s: %v", kind, err)]++
}

type worker struct {
	load           *load
	h2, keep, post bool
	name           int
	conn           net.Conn
	reader         *bufio.Reader
	cc             *http2.ClientConn
	host           string
}

func (w *worker) run() {
	defer w.hangUp()
	for {
		select {
		case <-w.load.stop:
			return
		default:
		}
		w.request()
	}
}

func (w *worker) kind() string {
	return fmt.Sprintf("h2=%v keep=%v post=%v", w.h2, w.keep, w.post)
}

// request sends one request once.
func (w *worker) request() {
	host, done := w.load.names()
	defer done()
	if w.host != host {
		w.hangUp()
		w.host = host
	}
	id := rand.Text()
	start := time.Now()
	body, err := w.once(id)
	if errors.Is(err, errRefused) {
		// The server said that it did not and will not process this stream.
		w.load.goaways.Add(1)
		w.hangUp()
		body, err = w.once(id)
	}
	w.load.requests.Add(1)
	if took := time.Since(start).Nanoseconds(); took > w.load.slowest.Load() {
		w.load.slowest.Store(took)
	}
	if err == nil && body != id {
		err = fmt.Errorf("got the answer %q", body[:min(len(body), 60)])
	}
	if err != nil {
		w.load.fail(w.kind(), err)
		w.hangUp()
		return
	}
	w.load.mu.Lock()
	w.load.answered[id] = true
	w.load.mu.Unlock()
	if !w.keep {
		w.hangUp()
	}
}

var errRefused = errors.New("refused by GOAWAY")

func (w *worker) once(id string) (string, error) {
	if err := w.dial(); err != nil {
		return "", fmt.Errorf("dial: %w", err)
	}
	req := w.make(id)
	if w.h2 {
		return w.onceH2(req)
	}
	return w.onceH1(req)
}

// payload is large enough to come in several pieces.
const payload = 20_000

func (w *worker) make(id string) *http.Request {
	var body io.Reader
	method := http.MethodGet
	if w.post {
		method, body = http.MethodPost, io.NopCloser(bytes.NewReader(make([]byte, payload)))
	}
	req, err := http.NewRequest(method, "https://"+w.host+"/echo", body) //nolint:noctx // bounded by the connection's deadline
	if err != nil {
		panic(err)
	}
	if w.post {
		req.ContentLength = payload
	}
	req.Header.Set("X-Id", id)
	if !w.keep && !w.h2 {
		req.Close = true
	}
	return req
}

func (w *worker) dial() error {
	if w.conn != nil && (!w.h2 || w.cc.CanTakeNewRequest()) {
		return w.conn.SetDeadline(time.Now().Add(time.Minute))
	}
	w.hangUp()
	w.load.dials.Add(1)
	cfg := w.load.trust.Clone()
	cfg.ServerName = w.host
	cfg.NextProtos = []string{"http/1.1"}
	if w.h2 {
		cfg.NextProtos = []string{"h2"}
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", w.load.addr, cfg)
	if err != nil {
		return err
	}
	w.conn, w.reader = conn, bufio.NewReader(conn)
	if w.h2 {
		w.cc, err = (&http2.Transport{}).NewClientConn(conn)
	}
	return errors.Join(err, conn.SetDeadline(time.Now().Add(time.Minute)))
}

func (w *worker) hangUp() {
	if w.conn != nil {
		_ = w.conn.Close()
	}
	w.conn, w.cc, w.reader = nil, nil, nil
}

func (w *worker) onceH1(req *http.Request) (string, error) {
	if err := req.Write(w.conn); err != nil {
		return "", fmt.Errorf("write: %w", err)
	}
	res, err := http.ReadResponse(w.reader, req)
	if err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	body, err := readAnswer(res)
	if err == nil && res.Close {
		w.hangUp()
	}
	return body, err
}

func (w *worker) onceH2(req *http.Request) (string, error) {
	res, err := w.cc.RoundTrip(req)
	if err != nil {
		if err.Error() == "http2: Transport received Server's graceful shutdown GOAWAY" {
			return "", errRefused
		}
		return "", fmt.Errorf("round trip: %w", err)
	}
	return readAnswer(res)
}

func readAnswer(res *http.Response) (string, error) {
	defer res.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", fmt.Errorf("read the body: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", res.StatusCode, bytes.TrimSpace(body))
	}
	return string(body), nil
}

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
	s := &http.Server{Handler: e} //nolint:gosec // a test's own upstream
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
		time.Sleep(300 * time.Millisecond)
		s.stop()
		s.start()
		s.wait()
	}
	l.finish(t)
	e.check(t, l)
}
