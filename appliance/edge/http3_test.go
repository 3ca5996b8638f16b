// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// TestHTTP3 speaks HTTP/3 over an inherited UDP socket, as systemd hands it over.
func TestHTTP3(t *testing.T) {
	udp, file := inheritedUDP(t)
	b := newBox(t, func(o *Options) { o.Listeners.HTTP3 = []string{"fdgram/" + strconv.Itoa(int(file.Fd()))} })
	var proto, forwarded string // of the last answer
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Seen", r.Header.Get("X-Forwarded-For")+" "+r.Header.Get("X-Forwarded-Proto"))
		_, _ = w.Write(body)
	}))})
	_, port, _ := net.SplitHostPort(udp)
	res, _ := get(t, b.browser(), "https://rides.example/")
	if alt := res.Header.Get("Alt-Svc"); !strings.Contains(alt, `h3=":`+port+`"`) {
		t.Errorf("over HTTP/2 it says of HTTP/3: %q", alt)
	}
	tr := &http3.Transport{TLSClientConfig: b.trust("rides.example")}
	defer tr.Close()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+udp+"/", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rides.example"
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "hello" || res.StatusCode != 200 {
			t.Errorf("%s: %d %q %v", method, res.StatusCode, body, err)
		}
		proto, forwarded = res.Proto, res.Header.Get("Seen")
	}
	if proto != "HTTP/3.0" || forwarded != "127.0.0.1 https" {
		t.Errorf("%s, forwarded %s", proto, forwarded)
	}
	for _, host := range []string{"other.example"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+udp+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := tr.RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: %v, %v", host, res, err)
		}
	}
}

func inheritedUDP(t *testing.T) (addr string, file *os.File) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	file, err = conn.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close(), file.Close() })
	return conn.LocalAddr().String(), file
}

// quicAt connects over QUIC from an address of its own on loopback.
func (b *box) quicAt(ip, to string) (*quic.Conn, error) {
	b.t.Helper()
	local, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		b.t.Fatal(err)
	}
	remote, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		b.t.Fatal(err)
	}
	tr := &quic.Transport{Conn: local}
	b.t.Cleanup(func() { _, _ = tr.Close(), local.Close() })
	cfg := b.trust("rides.example")
	cfg.NextProtos = []string{http3.NextProtoH3}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	return tr.Dial(ctx, remote, cfg, &quic.Config{KeepAlivePeriod: 5 * time.Second})
}

// TestHTTP3Connections: one client has as many connections as it may, one more
// is turned away, others are served, and what is closed makes room.
func TestHTTP3Connections(t *testing.T) {
	udp, file := inheritedUDP(t)
	b := newBox(t, func(o *Options) { o.Listeners.HTTP3 = []string{"fdgram/" + strconv.Itoa(int(file.Fd()))} })
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	conns := make([]*quic.Conn, maxClientQUIC)
	for i := range conns {
		c, err := b.quicAt("127.0.0.2", udp)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		conns[i] = c
	}
	var refused *quic.TransportError
	if _, err := b.quicAt("127.0.0.2", udp); !errors.As(err, &refused) || refused.ErrorCode != quic.ConnectionRefused {
		t.Errorf("one connection too many: %v", err)
	}
	other, err := b.quicAt("127.0.0.3", udp)
	if err != nil {
		t.Fatalf("another client: %v", err)
	}
	streams := 0
	for ; streams < 1000; streams++ {
		s, err := other.OpenStream()
		if err != nil {
			break
		}
		_, _ = s.Write([]byte{1}) // half a frame
	}
	if streams != maxQUICStreams {
		t.Errorf("%d requests at once on a connection, want %d", streams, maxQUICStreams)
	}
	_ = conns[0].CloseWithError(0, "")
	eventually(t, "a closed connection makes room", func() bool {
		_, err := b.quicAt("127.0.0.2", udp)
		return err == nil
	})
}

// TestHTTP3Restart: the socket that was handed over outlives the edge, and the
// next one serves on it.
func TestHTTP3Restart(t *testing.T) {
	udp, file := inheritedUDP(t)
	b := newBox(t, func(o *Options) { o.Listeners.HTTP3 = []string{"fdgram/" + strconv.Itoa(int(file.Fd()))} })
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	for range 3 {
		c, err := b.quicAt("127.0.0.2", udp)
		if err != nil {
			t.Fatal(err)
		}
		b.stop()
		select {
		case <-c.Context().Done():
		case <-time.After(time.Minute):
			t.Fatal("a client does not hear that the edge has left")
		}
		b.start()
	}
	if strings.Contains(b.log.String(), "close HTTP/3") {
		t.Errorf("it did not close cleanly:\n%s", b.log.String())
	}
}

// TestHTTP3DoorStaysShut: a socket for HTTP/3 that is no good leaves the web
// open over TCP, and nobody is told of HTTP/3.
func TestHTTP3DoorStaysShut(t *testing.T) {
	b := newBox(t, func(o *Options) { o.Listeners.HTTP3 = []string{"fdgram/9999"} })
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello"))
	}))})
	res, body := get(t, b.browser(), "https://rides.example/")
	if res.StatusCode != 200 || body != "hello" || res.Header.Get("Alt-Svc") != "" {
		t.Errorf("%d %q, Alt-Svc %q", res.StatusCode, body, res.Header.Get("Alt-Svc"))
	}
}
