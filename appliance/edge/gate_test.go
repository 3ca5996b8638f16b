// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance"

	"golang.org/x/net/websocket"
)

func hold(upstream string, d time.Duration) appliance.Host {
	h := open(upstream)
	h.Gate = appliance.Gate{Mode: appliance.GateHold, Until: time.Now().Add(d)}
	return h
}

// held waits until n requests wait at the gate.
func (b *box) held(n int64) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d requests are held", n), func() bool {
		there, err := b.atGates()
		return err == nil && there == n
	})
}

// TestHold: what came while the gate held is answered by the new release, with
// its body, and not before the gate opens.
func TestHold(t *testing.T) {
	b := newBox(t)
	old := app(t, says("old"))
	b.apply(map[string]appliance.Host{"rides.example": hold(old, time.Minute)})
	c := b.browser()
	const n = 20
	answers := make(chan string, n)
	for i := range n {
		go func() {
			res, err := c.Post("https://rides.example/", "text/plain", strings.NewReader(strings.Repeat("x", 1000*i)))
			if err != nil {
				answers <- err.Error()
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			answers <- string(body)
		}()
	}
	b.held(n)
	if count, err := b.client.InFlight(t.Context(), old); err != nil || count != 0 {
		t.Fatalf("in flight at the old one: %d, %v", count, err)
	}
	var mu sync.Mutex
	var sizes int64
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := io.Copy(io.Discard, r.Body)
		mu.Lock()
		sizes += size
		mu.Unlock()
		_, _ = io.WriteString(w, "new")
	}))})
	for range n {
		if got := <-answers; got != "new" {
			t.Errorf("got %q", got)
		}
	}
	if want := int64(1000 * n * (n - 1) / 2); sizes != want {
		t.Errorf("%d bytes of bodies came, want %d", sizes, want)
	}
}

// TestHoldExpires: then the maintenance page shows, also after a restart.
func TestHoldExpires(t *testing.T) {
	b := newBox(t)
	upstream := app(t, says("hello"))
	b.apply(map[string]appliance.Host{"rides.example": hold(upstream, 300*time.Millisecond)})
	c := b.browser()
	res, body := get(t, c, "https://rides.example/")
	if res.StatusCode != 503 || !strings.Contains(body, "Back in a moment") {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	b.apply(map[string]appliance.Host{"rides.example": hold(upstream, 100*time.Millisecond)})
	b.stop()
	time.Sleep(150 * time.Millisecond)
	b.start()
	if res, body := get(t, c, "https://rides.example/"); res.StatusCode != 503 || !strings.Contains(body, "Back in a moment") {
		t.Errorf("after a restart: %d %s", res.StatusCode, body)
	}
}

// TestTooManyHeld: beyond the bound requests get a page at once, and the held
// ones are not disturbed.
func TestTooManyHeld(t *testing.T) {
	b := newBox(t)
	upstream := app(t, says("hello"))
	b.apply(map[string]appliance.Host{"rides.example": hold(upstream, time.Hour)})
	statuses := b.crowd(maxHeld, b.atGates)
	res, body := get(t, b.browser(), "https://rides.example/")
	if res.StatusCode != 503 || !strings.Contains(body, "Many people are waiting") || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", res.StatusCode, body)
	}
	b.apply(map[string]appliance.Host{"rides.example": open(upstream)})
	for s := range statuses {
		if s != 200 {
			t.Fatalf("a held request got %d", s)
		}
	}
}

// TestEventStreamEndsAtSwap: the stream is flushed as it comes, and ends
// cleanly when its upstream is no longer the one.
func TestEventStreamEndsAtSwap(t *testing.T) {
	b := newBox(t)
	old := app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	b.apply(map[string]appliance.Host{"rides.example": open(old)})
	res, err := b.browser().Get("https://rides.example/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	if line, err := r.ReadString('\n'); err != nil || line != "data: one\n" {
		t.Fatalf("%q, %v", line, err)
	}
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("new")))})
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "\n" {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
	eventually(t, "nothing is at the old one", func() bool {
		n, err := b.client.InFlight(t.Context(), old)
		return err == nil && n == 0
	})
}

func (b *box) dialWebsocket(host string) *websocket.Conn {
	b.t.Helper()
	cfg, err := websocket.NewConfig("wss://"+b.https+"/ws", "https://"+host)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.TlsConfig = b.trust(host)
	cfg.TlsConfig.NextProtos = []string{"http/1.1"}
	cfg.Location.Host = host
	conn, err := tls.Dial("tcp", b.https, cfg.TlsConfig)
	if err != nil {
		b.t.Fatal(err)
	}
	ws, err := websocket.NewClient(cfg, conn)
	if err != nil {
		b.t.Fatal(err)
	}
	return ws
}

// TestWebsocket: it works, counts as in flight, and ends at a swap.
func TestWebsocket(t *testing.T) {
	b := newBox(t)
	s := &websocket.Server{Handler: func(ws *websocket.Conn) { _, _ = io.Copy(ws, ws) }}
	old := app(t, s.ServeHTTP)
	b.apply(map[string]appliance.Host{"rides.example": open(old)})
	ws := b.dialWebsocket("rides.example")
	defer ws.Close()
	if err := websocket.Message.Send(ws, "ping"); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := websocket.Message.Receive(ws, &got); err != nil || got != "ping" {
		t.Fatalf("%q, %v", got, err)
	}
	if n, err := b.client.InFlight(t.Context(), old); err != nil || n != 1 {
		t.Errorf("in flight: %d, %v", n, err)
	}
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("new")))})
	if err := websocket.Message.Receive(ws, &got); err == nil {
		t.Errorf("after the swap: %q", got)
	}
	eventually(t, "nothing is at the old one", func() bool {
		n, err := b.client.InFlight(t.Context(), old)
		return err == nil && n == 0
	})
}

// TestLeaveWithStreams: open streams do not keep the edge from leaving, and
// what is in flight is answered.
func TestLeaveWithStreams(t *testing.T) {
	b := newBox(t)
	inside := make(chan bool)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			_ = http.NewResponseController(w).Flush()
			inside <- true
			<-r.Context().Done()
			return
		}
		inside <- true
		time.Sleep(700 * time.Millisecond)
		_, _ = io.WriteString(w, "done")
	}))})
	c := b.browser()
	stream := make(chan error, 1)
	go func() {
		res, err := c.Get("https://rides.example/events")
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		stream <- err
	}()
	<-inside
	slow := make(chan string, 1)
	go func() {
		res, err := b.browser().Get("https://rides.example/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		body, _ := io.ReadAll(res.Body)
		slow <- string(body)
	}()
	<-inside
	b.stop()
	if err := <-stream; err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	if got := <-slow; got != "done" {
		t.Errorf("the slow request got %q", got)
	}
	if strings.Contains(b.log.String(), "left while requests were in flight") {
		t.Errorf("something was cut:\n%s", b.log)
	}
}
