// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"

	"golang.org/x/net/http2"
)

func TestClientOf(t *testing.T) {
	for _, test := range []struct{ remote, want string }{
		{"192.0.2.7:1", "192.0.2.7/32"},
		{"[::ffff:192.0.2.7]:9", "192.0.2.7/32"},
		{"[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"},
		{"[2001:db8:1:2::1]:2", "2001:db8:1:2::/64"},
		{"[2001:db8:1:3::1]:2", "2001:db8:1:3::/64"},
		{"[fe80::1%eth0]:2", "fe80::/64"},
		{"pipe", ""},
		{"", ""},
	} {
		got, ok := clientOf(test.remote)
		if ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%q: %v %v, want %q", test.remote, got, ok, test.want)
		}
	}
}

// wave is how many requests crowd has on their way at once: few enough for a
// slow machine to dial and shake hands for within the bounds of both sides.
const wave = 32

// crowd sends n requests from as many addresses as that needs, a wave at a time:
// the next goes when all of the last are where arrived counts them. It returns
// when all are there, and gives their statuses; 0 is no answer.
func (b *box) crowd(n int64, arrived func() (int64, error)) <-chan int {
	b.t.Helper()
	statuses := make(chan int, n)
	var wg sync.WaitGroup
	var c *http.Client
	for i := range n {
		if i%maxClientRequests == 0 {
			c = b.browserAt("127.0.1." + strconv.FormatInt(1+i/maxClientRequests, 10))
		}
		mine := c
		wg.Go(func() { statuses <- status(mine) })
		if sent := i + 1; sent%wave == 0 || sent == n {
			eventually(b.t, fmt.Sprintf("%d requests have arrived", sent), func() bool {
				if len(statuses) > 0 {
					b.t.Fatalf("one of %d requests got %d before all had arrived", sent, <-statuses)
				}
				there, err := arrived()
				return err == nil && there == sent
			})
		}
	}
	go func() { wg.Wait(); close(statuses) }()
	return statuses
}

// atGates counts the requests that gates hold.
func (b *box) atGates() (int64, error) {
	h, err := b.client.Health(b.t.Context())
	return h.Held, err
}

func status(c *http.Client) int {
	res, err := c.Get("https://rides.example/")
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

// TestConnectionsOfOneClient: it gets as many as it may, at both ports
// together, and one more is closed; others are served, and what it closes it
// may open again.
func TestConnectionsOfOneClient(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	greedy := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: time.Minute}
	var conns []net.Conn
	dial := func(addr string) net.Conn {
		conn, err := greedy.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	for i := range maxClientConns {
		conns = append(conns, dial([]string{b.http, b.https}[i%2]))
	}
	eventually(t, "the edge has all of them", func() bool {
		h, err := b.client.Health(t.Context())
		return err == nil && h.Connections == maxClientConns
	})
	plain := dial(b.http)
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: rides.example\r\n\r\n")
	if n, err := plain.Read(make([]byte, 1)); err == nil {
		t.Errorf("one connection too many at the plain port: an answer of %d bytes or more", n)
	}
	if err := tls.Client(dial(b.https), b.trust("rides.example")).HandshakeContext(t.Context()); err == nil {
		t.Error("one connection too many at the port of HTTPS: it can speak")
	}
	if got := status(b.browser()); got != 200 {
		t.Errorf("another client got %d", got)
	}
	_ = conns[0].Close()
	eventually(t, "a closed connection makes room", func() bool { return status(b.browserAt("127.0.0.2")) == 200 })
}

// TestRequestsOfOneClient: the requests of one client are bounded, whatever the
// number of its connections; others are held or served as before.
func TestRequestsOfOneClient(t *testing.T) {
	b := newBox(t)
	upstream := app(t, says("hello"))
	b.apply(map[string]appliance.Host{"rides.example": hold(upstream, time.Hour)})
	statuses := b.crowd(maxClientRequests, b.atGates)
	res, body := get(t, b.browserAt("127.0.1.1"), "https://rides.example/")
	if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "Too many requests at once") {
		t.Errorf("one request too many: %d %s", res.StatusCode, body)
	}
	other := make(chan int, 1)
	c := b.browserAt("127.0.1.2")
	go func() { other <- status(c) }()
	b.held(maxClientRequests + 1)
	b.apply(map[string]appliance.Host{"rides.example": open(upstream)})
	if got := <-other; got != 200 {
		t.Errorf("another client got %d", got)
	}
	for s := range statuses {
		if s != 200 {
			t.Fatalf("a request within the bound got %d", s)
		}
	}
	if got := status(b.browserAt("127.0.1.1")); got != 200 {
		t.Errorf("afterwards the client gets %d", got)
	}
}

// TestFullUpstream: an upstream gets as many requests as it may; one more gets a
// page at once, and another upstream is not concerned.
func TestFullUpstream(t *testing.T) {
	b := newBox(t)
	wait := make(chan struct{})
	release := sync.OnceFunc(func() { close(wait) })
	slow := app(t, func(http.ResponseWriter, *http.Request) { <-wait })
	t.Cleanup(release) // a server ends only when its requests have
	b.apply(map[string]appliance.Host{"rides.example": open(slow), "tasks.example": open(app(t, says("hello")))})
	statuses := b.crowd(maxInFlight, func() (int64, error) {
		n, err := b.client.InFlight(t.Context(), slow)
		return int64(n), err
	})
	res, body := get(t, b.browser(), "https://rides.example/", func(r *http.Request) { r.Header.Set("Accept", "text/html") })
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "<h1>Too many requests at once</h1>") {
		t.Errorf("one request too many: %d %s", res.StatusCode, body)
	}
	if _, body := get(t, b.browser(), "https://tasks.example/"); body != "hello" {
		t.Errorf("at the other upstream: %q", body)
	}
	release()
	for s := range statuses {
		if s != 200 {
			t.Fatalf("a request within the bound got %d", s)
		}
	}
	if h, err := b.client.Health(t.Context()); err != nil || h.InFlight != 0 || h.Refused != 1 {
		t.Errorf("afterwards: %+v, %v", h, err)
	}
}

// TestStreams: what the edge says of itself to a client of HTTP/2.
func TestStreams(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	cfg := b.trust("rides.example")
	cfg.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", b.https, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	_ = f.WriteSettings()
	frame, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("its first word is %v", frame)
	}
	if n, ok := settings.Value(http2.SettingMaxConcurrentStreams); !ok || n != maxStreams {
		t.Errorf("%d requests at once on a connection (%v), want %d", n, ok, maxStreams)
	}
}

// TestSilentClients: whoever connects and says nothing, or begins with TLS and
// stops, is hung up on within the header timeout.
func TestSilentClients(t *testing.T) {
	b := newBox(t)
	for name, test := range map[string]struct{ addr, text string }{
		"plain":         {b.http, ""},
		"TLS":           {b.https, ""},
		"half a hello":  {b.https, "\x16\x03\x01\x02\x00\x01\x00"},
		"half a header": {b.http, "GET / HTTP/1.1\r\nHost: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", test.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, test.text)
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it could stay a minute")
			}
		})
	}
}

// TestCertificateAllowed: only the very name of a host gets a certificate.
func TestCertificateAllowed(t *testing.T) {
	e := &edge{board: newSwitchboard()}
	e.board.install(appliance.Routes{Hosts: map[string]appliance.Host{"rides.example": open("127.0.0.1:1")}})
	p := &permission{seat: &seat{}}
	p.seat.current.Store(e)
	for name, want := range map[string]bool{
		"rides.example": true, "rides.example:443": false, "rides.example:x": false, "[rides.example]:1": false,
		"rides.example.": false, "RIDES.example": false, "x.rides.example": false, "": false,
	} {
		if err := p.CertificateAllowed(t.Context(), name); (err == nil) != want {
			t.Errorf("%q: %v, want allowed: %v", name, err, want)
		}
	}
}
