// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// more waits until the crowd has asked some more, so that what comes next is under
// load however slow the machine is.
func (l *load) more(t *testing.T) {
	t.Helper()
	want := l.requests.Load() + 3*workers
	eventually(t, "there is load", func() bool { return l.requests.Load() >= want })
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
	cc             *http2.ClientConn //nolint:staticcheck // its successor tries again by itself
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
	req, err := http.NewRequest(method, "https://"+w.host+"/echo", body)
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
		w.cc, err = (&http2.Transport{}).NewClientConn(conn) //nolint:staticcheck // as above
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
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", fmt.Errorf("read the body: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", res.StatusCode, bytes.TrimSpace(body))
	}
	return string(body), nil
}
