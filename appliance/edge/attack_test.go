// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rochdale/appliance"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw opens a TLS connection for HTTP/1.1 by hand.
func (b *box) raw(name string) *tls.Conn {
	b.t.Helper()
	cfg := b.trust(name)
	cfg.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", b.https, cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		b.t.Fatal(err)
	}
	return conn
}

// say sends bytes and gives the statuses of all answers until the end.
func (b *box) say(name, text string) (statuses []int) {
	b.t.Helper()
	conn := b.raw(name)
	if _, err := io.WriteString(conn, text); err != nil {
		return nil
	}
	r := bufio.NewReader(conn)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		statuses = append(statuses, res.StatusCode)
		if res.Close {
			return statuses
		}
	}
}

// TestMangledRequests: what two servers could read in two ways is refused, and
// a second request is never smuggled in.
func TestMangledRequests(t *testing.T) {
	b := newBox(t)
	var seen atomic.Int64
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(_ http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "smuggled") {
			t.Errorf("a request was smuggled in: %s", r.URL)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		seen.Add(1)
	}))})
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: rides.example\r\n\r\n"
	head := "POST / HTTP/1.1\r\nHost: rides.example\r\nConnection: close\r\n"
	tests := map[string]struct {
		text string
		want int
	}{
		"plain":                      {head + "Content-Length: 2\r\n\r\nok", 200},
		"two lengths":                {head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", 400},
		"bad length":                 {head + "Content-Length: +2\r\n\r\nok", 400},
		"unknown encoding":           {head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
		"hidden encoding":            {head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		"bad chunk":                  {head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 0},
		"space before colon":         {head + "Content-Length : 2\r\n\r\nok", 400},
		"folded header":              {head + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 200},
		"null in header":             {head + "X: a\x00b\r\nContent-Length: 0\r\n\r\n", 400},
		"newline in path":            {"GET /a\nb HTTP/1.1\r\nHost: rides.example\r\n\r\n", 400},
		"two hosts":                  {"GET / HTTP/1.1\r\nHost: rides.example\r\nHost: x\r\nConnection: close\r\n\r\n", 400},
		"no host":                    {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		"other host":                 {"GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n", 421},
		"host in the request line":   {"GET https://other.example/ HTTP/1.1\r\nHost: rides.example\r\nConnection: close\r\n\r\n", 421},
		"length and chunks":          {head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 200},
		"HTTP/1.0 with chunks":       {"POST / HTTP/1.0\r\nHost: rides.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, 200},
		"HTTP/3.0 in words":          {"GET / HTTP/3.0\r\nHost: rides.example\r\n\r\n", 505},
		"garbage":                    {"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400},
		"upgrade to h2c":             {"GET / HTTP/1.1\r\nHost: rides.example\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 200},
		"connect":                    {"CONNECT other.example:25 HTTP/1.1\r\nHost: other.example:25\r\nConnection: close\r\n\r\n", 421},
		"tunnel":                     {"CONNECT rides.example:25 HTTP/1.1\r\nHost: rides.example:25\r\nConnection: close\r\n\r\n", 405},
		"trace":                      {"TRACE / HTTP/1.1\r\nHost: rides.example\r\nConnection: close\r\nCookie: secret\r\n\r\n", 405},
		"method of our own":          {"(none) / HTTP/1.1\r\nHost: rides.example\r\nConnection: close\r\n\r\n", 400},
		"header that is far too big": {"GET / HTTP/1.1\r\nHost: rides.example\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"headers that are too many":  {"GET / HTTP/1.1\r\nHost: rides.example\r\n" + strings.Repeat("X-A: b\r\n", 10_000) + "\r\n", 431},
		"path that is far too long":  {"GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: rides.example\r\n\r\n", 431},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := b.say("rides.example", test.text)
			if test.want == 0 && len(got) <= 1 && (len(got) == 0 || got[0] >= 400) {
				return
			}
			if len(got) == 0 || got[0] != test.want {
				t.Errorf("answers %v, want %d", got, test.want)
			}
			if len(got) > 1 && got[1] == 200 {
				t.Errorf("a second answer: %v", got)
			}
		})
	}
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "" || seen.Load() == 0 {
		t.Errorf("afterwards: %q", body)
	}
}

// TestBadServerNames: no certificate, and the edge lives on.
func TestBadServerNames(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	for _, name := range []string{"", "x", "*.example", "..", strings.Repeat("a.", 120) + "example", "rides.example.evil.example", "rides.example:443", "rides.example:x", "../../etc/passwd", "192.0.2.1"} {
		conn, err := tls.Dial("tcp", b.https, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close()
			t.Errorf("%q got a certificate", name)
		}
	}
	plain, err := net.Dial("tcp", b.https)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	_, _ = io.WriteString(plain, "GET / HTTP/1.1\r\nHost: rides.example\r\n\r\n")
	answer, _ := io.ReadAll(plain)
	if strings.Contains(string(answer), "hello") {
		t.Errorf("without TLS: %q", answer)
	}
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
}

// TestSlowClients: header trickles are cut within the header timeout, and
// others are served meanwhile.
func TestSlowClients(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	const n = 200
	ended := make(chan error, n+1)
	for range n {
		conn, err := net.Dial("tcp", b.http)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: rides.example\r\nX-Slow: ")
		go trickle(conn, ended)
	}
	tlsConn := b.raw("rides.example")
	_, _ = io.WriteString(tlsConn, "GET / HTTP/1.1\r\nHost: rides.example\r\nX-Slow: ")
	go trickle(tlsConn, ended)
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("meanwhile: %q", body)
	}
	for range n + 1 {
		if err := <-ended; err == nil {
			t.Fatal("a trickle went on for a minute")
		}
	}
}

// trickle sends a byte now and then until the connection ends.
func trickle(conn net.Conn, ended chan<- error) {
	gone := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		if err == nil {
			err = io.EOF
		}
		gone <- err
	}()
	for range 120 {
		select {
		case err := <-gone:
			ended <- err
			return
		case <-time.After(500 * time.Millisecond):
			_, _ = conn.Write([]byte("a"))
		}
	}
	ended <- nil
}

// TestRapidReset: a client that opens and cancels streams as fast as it can
// does not keep others from being served.
func TestRapidReset(t *testing.T) {
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
	var block strings.Builder
	enc := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "rides.example"}, {":path", "/"}} {
		_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	for i := range uint32(20_000) {
		id := 2*i + 1
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true}); err != nil {
			break // it hung up on us
		}
		if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			break
		}
	}
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	eventually(t, "nothing is left in flight", func() bool {
		h, err := b.client.Health(t.Context())
		return err == nil && h.InFlight == 0
	})
}

// TestHeldClientsLeave: whoever hangs up at the gate gives its place back.
func TestHeldClientsLeave(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": hold(app(t, says("hello")), time.Minute)})
	conn := b.raw("rides.example")
	_, _ = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: rides.example\r\n\r\n")
	b.held(1)
	_ = conn.Close()
	b.held(0)
}
