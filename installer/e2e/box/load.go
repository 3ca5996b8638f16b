// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// Load is a bounded stream of requests against one box: half of the workers
// open a connection for each request, half of the requests are POSTs, and a
// third of the workers speak HTTP/2. The HTTP/1.1 client is our own and never
// tries anything twice; the HTTP/2 one only repeats what the server said it
// had not begun (GOAWAY), as the protocol wants.
type Load struct {
	Hosts   []string // asked in turn; changed with Aim
	Address string   // "IP:443"
	TLS     *tls.Config
	Workers int

	mu        sync.Mutex
	lap       string
	listening bool
	counts    Counts
	running   context.Context // ends with Stop
	cancel    context.CancelFunc
	wait      sync.WaitGroup
}

// Counts is what a load saw.
type Counts struct {
	Requests int
	Failed   int
	Slowest  time.Duration
	// Failures are the kinds of failure and how often each was seen.
	Failures map[string]int
	ByKind   map[string]int // requests by "h1", "h1-close" and "h2", and "events" for streams that ended
	// Laps are how long each request took, by the lap that it ended in.
	Laps map[string][]time.Duration
}

// P99 is the time within which 99 of 100 requests of a lap were answered, or 0 if
// there were none.
func (c Counts) P99(lap string) time.Duration {
	all := slices.Sorted(slices.Values(c.Laps[lap]))
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)*99+99)/100-1]
}

func (c Counts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests, %d failed, slowest %d ms", c.Requests, c.Failed, c.Slowest.Milliseconds())
	for _, kind := range slices.Sorted(maps.Keys(c.ByKind)) {
		fmt.Fprintf(&b, ", %s %d", kind, c.ByKind[kind])
	}
	for _, f := range slices.Sorted(maps.Keys(c.Failures)) {
		fmt.Fprintf(&b, "\n  %d x %s", c.Failures[f], f)
	}
	return b.String()
}

// Start starts the workers. They stop with ctx or with Stop.
func (l *Load) Start(ctx context.Context) {
	ctx, l.cancel = context.WithCancel(ctx)
	l.running, l.listening = ctx, false
	l.counts = Counts{Failures: map[string]int{}, ByKind: map[string]int{}, Laps: map[string][]time.Duration{}}
	for i := range l.Workers {
		l.wait.Go(func() { l.work(ctx, i) })
	}
}

// Stop ends the workers after their running requests and gives the count.
func (l *Load) Stop() Counts {
	l.cancel()
	l.wait.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts
}

// Aim changes the host names that are asked.
func (l *Load) Aim(hosts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Hosts = hosts
}

// Lap begins a lap, or goes on with one; "" is for what is not to be measured.
func (l *Load) Lap(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lap = name
}

// Seen is how many requests have been answered until now.
func (l *Load) Seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.Requests
}

// pause bounds the rate of a worker: the machine is small and shared.
const pause = 8 * time.Millisecond

func (l *Load) work(ctx context.Context, n int) {
	client, kind := l.client(n)
	defer client.close()
	for i := 0; ctx.Err() == nil; i++ {
		method := http.MethodGet
		if i%2 == 1 {
			method = http.MethodPost
		}
		host := l.host(i)
		start := time.Now()
		// A running request is finished when the load stops.
		err := l.one(context.WithoutCancel(ctx), client, method, host)
		l.note(kind, method, time.Since(start), err)
		time.Sleep(pause)
	}
}

func (l *Load) host(i int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Hosts[i%len(l.Hosts)]
}

func (l *Load) note(kind, method string, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Requests++
	l.counts.ByKind[kind]++
	l.counts.Slowest = max(l.counts.Slowest, took)
	if l.lap != "" && took > 0 {
		l.counts.Laps[l.lap] = append(l.counts.Laps[l.lap], took)
	}
	if err != nil {
		l.counts.Failed++
		l.counts.Failures[kind+" "+method+" "+err.Error()]++
	}
}

func (l *Load) one(ctx context.Context, c client, method, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	path, body, want := "/sign-in", "", http.StatusOK
	if method == http.MethodPost {
		path, body, want = "/language", "lang=fr&back=%2Fsign-in", http.StatusSeeOther
	}
	code, err := c.do(ctx, method, host, path, body)
	if err == nil && code != want {
		err = fmt.Errorf("answered %d", code)
	}
	return err
}

type client interface {
	do(ctx context.Context, method, host, path, body string) (int, error)
	close()
}

func (l *Load) client(n int) (client, string) {
	switch {
	case n%3 == 2:
		return newH2(l), "h2"
	case n%2 == 0:
		return &h1{load: l, keep: true}, "h1"
	default:
		return &h1{load: l}, "h1-close"
	}
}

// h1 is an HTTP/1.1 client that sends each request exactly once.
type h1 struct {
	load *Load
	keep bool
	host string
	conn net.Conn
	in   *bufio.Reader
}

func (c *h1) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nobody waits for it
		c.conn = nil
	}
}

func (c *h1) do(ctx context.Context, method, host, path, body string) (int, error) {
	if c.host != host {
		c.close()
	}
	if c.conn == nil {
		if err := c.dial(ctx, host); err != nil {
			return 0, fmt.Errorf("dial: %w", cause(err))
		}
	}
	code, keep, err := c.exchange(ctx, method, host, path, body)
	if err != nil || !keep || !c.keep {
		c.close()
	}
	return code, err
}

func (c *h1) dial(ctx context.Context, host string) error {
	cfg := c.load.TLS.Clone()
	cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", c.load.Address)
	if err != nil {
		return err
	}
	c.conn, c.in, c.host = conn, bufio.NewReader(conn), host
	return nil
}

func (c *h1) exchange(ctx context.Context, method, host, path, body string) (code int, keep bool, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.conn.SetDeadline(deadline); err != nil {
			return 0, false, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, strings.NewReader(body))
	if err != nil {
		return 0, false, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Close = !c.keep
	if err := req.Write(c.conn); err != nil {
		return 0, false, fmt.Errorf("write: %w", cause(err))
	}
	res, err := http.ReadResponse(c.in, req)
	if err != nil {
		return 0, false, fmt.Errorf("read: %w", cause(err))
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, !res.Close, errors.Join(err, res.Body.Close())
}

type h2 struct {
	t *http2.Transport
}

func newH2(l *Load) *h2 {
	return &h2{t: &http2.Transport{
		DialTLSContext: func(ctx context.Context, network, addr string, cfg *tls.Config) (net.Conn, error) {
			c := l.TLS.Clone()
			c.NextProtos = []string{"h2"}
			c.ServerName, _, _ = net.SplitHostPort(addr)
			return (&tls.Dialer{Config: c}).DialContext(ctx, network, l.Address)
		},
	}}
}

func (c *h2) close() { c.t.CloseIdleConnections() }

func (c *h2) do(ctx context.Context, method, host, path, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := c.t.RoundTrip(req)
	if err != nil {
		return 0, cause(err)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, errors.Join(err, res.Body.Close())
}

// cause drops the ports of an error, so that equal failures count together.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}
