// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"

	"go.yaml.in/yaml/v3"
)

// box is an edge on loopback with its client.
type box struct {
	t       *testing.T
	opts    Options
	client  *Client
	http    string // address of the plain port
	https   string
	log     *safeBuffer
	cancel  context.CancelFunc
	done    chan error
	version uint64
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newBox starts an edge with its own authority.
func newBox(t *testing.T, change ...func(*Options)) *box {
	t.Helper()
	b := &box{t: t, log: &safeBuffer{}, http: freeAddr(t), https: freeAddr(t)}
	dir := t.TempDir()
	b.opts = Options{
		Listeners:     Listeners{HTTP: []string{b.http}, HTTPS: []string{b.https}},
		Dir:           filepath.Join(dir, "edge"),
		Settings:      appliance.EdgeSettings{Schema: 1, TLS: "internal"},
		ControlSocket: filepath.Join(dir, "edge.sock"),
		Words:         catalogue(t),
		Log:           slog.New(slog.NewJSONHandler(b.log, nil)),
	}
	for _, f := range change {
		f(&b.opts)
	}
	b.client = NewClient(b.opts.ControlSocket)
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *box) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan struct{})
	o := b.opts
	o.Started = func() { close(started) }
	b.cancel, b.done = cancel, make(chan error, 1)
	go func(done chan error) { done <- Run(ctx, o) }(b.done)
	select {
	case <-started:
	case err := <-b.done:
		cancel()
		b.done = nil
		b.t.Fatalf("the edge did not start: %v", err)
	}
}

func (b *box) stop() {
	b.cancel()
	if b.done == nil {
		return
	}
	if err := <-b.done; err != nil {
		b.t.Errorf("the edge ended with %v", err)
	}
	b.done = nil
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// catalogue reads the real texts.
func catalogue(t *testing.T) func(string, appliance.Message) Words {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "text", "messages", "edge.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]map[string]Words
	if err := yaml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return func(lang string, m appliance.Message) Words {
		w, ok := all[m.ID][lang]
		if !ok {
			t.Errorf("no words for %s in %s", m.ID, lang)
		}
		return w
	}
}

// apply sends hosts as the next version of the document.
func (b *box) apply(hosts map[string]appliance.Host) {
	b.t.Helper()
	b.version++
	if err := b.client.Apply(b.t.Context(), appliance.Routes{Schema: 1, Version: b.version, Hosts: hosts}); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func open(upstream string) appliance.Host {
	return appliance.Host{Stack: "delivery", Upstream: upstream, Gate: appliance.Gate{Mode: appliance.GateOpen}}
}

// trust gives the TLS settings of a browser that has the box's root.
func (b *box) trust(name string) *tls.Config {
	b.t.Helper()
	pem, err := b.client.RootCA(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		b.t.Fatal("no certificate in the root")
	}
	return &tls.Config{RootCAs: pool, ServerName: name}
}

// browser is a client that finds every name at the box.
func (b *box) browser() *http.Client {
	b.t.Helper()
	return b.browserAt("127.0.0.1")
}

// browserAt is a browser with an address of its own on loopback.
func (b *box) browserAt(ip string) *http.Client {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	tr := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   b.trust(""),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":80") {
				return d.DialContext(ctx, "tcp", b.http)
			}
			return d.DialContext(ctx, "tcp", b.https)
		},
	}
	b.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// app is an upstream.
func app(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func get(t *testing.T, c *http.Client, url string, change ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(req)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("get %s: %v", url, err)
	}
	return res, string(body)
}

func problemID(err error) string {
	var e *appliance.Error
	if errors.As(err, &e) {
		return e.ID
	}
	return ""
}

// eventually waits for what must come; a machine that is busy may take its time.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 18_000 {
		if cond() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

func TestUpstreamSwap(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("one")))})
	c := b.browser()
	res, body := get(t, c, "https://rides.example/")
	if body != "one" || res.ProtoMajor != 2 {
		t.Fatalf("got %q over %s", body, res.Proto)
	}
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("two")))})
	if _, body := get(t, c, "https://rides.example/"); body != "two" {
		t.Fatalf("after the swap: %q", body)
	}
	for _, name := range []string{"Server", "Via", "X-Powered-By"} {
		if v := res.Header.Get(name); v != "" {
			t.Errorf("%s: %q tells about us", name, v)
		}
	}
	if v := res.Header.Get("Strict-Transport-Security"); v != "" {
		t.Errorf("HSTS with an own authority: %q", v)
	}
}
