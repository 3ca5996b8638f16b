// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rochdale/appliance"
)

func TestPagesAndRedirects(t *testing.T) {
	b := newBox(t)
	until := time.Now().Add(90 * time.Second)
	b.apply(map[string]appliance.Host{
		"rides.example":  open(app(t, says("hello"))),
		"alias.example":  {Stack: "delivery", RedirectTo: "rides.example"},
		"closed.example": {Stack: "delivery", Gate: appliance.Gate{Mode: appliance.GateClosed, Until: until}},
		"empty.example":  {Stack: "delivery", Gate: appliance.Gate{Mode: appliance.GateOpen}},
		"dead.example":   open(freeAddr(t)),
	})
	c := b.browser()
	tests := []struct {
		url, lang, accept string
		status            int
		location, says    string
	}{
		{url: "https://rides.example/", status: 200, says: "hello"},
		{url: "https://alias.example/a/b?c=d", status: 301, location: "https://rides.example/a/b?c=d"},
		{url: "http://rides.example/a?b=c", status: 301, location: "https://rides.example/a?b=c"},
		{url: "http://alias.example/x", status: 301, location: "https://rides.example/x"},
		{url: "http://RIDES.example./x", status: 301, location: "https://rides.example/x"},
		{url: "http://nobody.example/", status: 404, says: "Nothing lives at this address"},
		{url: "https://closed.example/", status: 503, lang: "es-MX,en;q=0.5", accept: "text/html", says: "Volvemos pronto"},
		{url: "https://closed.example/", status: 503, lang: "de, fr;q=0.9, en;q=0.1", accept: "text/html", says: "Bientôt de retour"},
		{url: "https://closed.example/", status: 503, says: "Back soon"},
		{url: "https://empty.example/", status: 503, says: "Starting"},
		{url: "https://dead.example/", status: 502, says: "No answer from this service"},
	}
	for _, test := range tests {
		t.Run(test.url+" "+test.lang, func(t *testing.T) {
			res, body := get(t, c, test.url, func(r *http.Request) {
				r.Header.Set("Accept-Language", test.lang)
				r.Header.Set("Accept", test.accept)
			})
			if res.StatusCode != test.status || res.Header.Get("Location") != test.location || !strings.Contains(body, test.says) {
				t.Errorf("got %d to %q: %s", res.StatusCode, res.Header.Get("Location"), body)
			}
			if html := strings.Contains(body, "<html"); html != (test.accept == "text/html") {
				t.Errorf("HTML: %v", html)
			}
			if res.StatusCode == 503 && res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	res, body := get(t, c, "https://closed.example/", func(r *http.Request) { r.Header.Set("Accept", "text/html") })
	if !strings.Contains(body, until.UTC().Format("2006-01-02 15:04 UTC")) || !strings.Contains(res.Header.Get("Retry-After"), "9") && res.Header.Get("Retry-After") < "80" {
		t.Errorf("Retry-After %q, page %s", res.Header.Get("Retry-After"), body)
	}
	post, err := c.Post("http://rides.example/pay", "text/plain", strings.NewReader("1"))
	if err != nil {
		t.Fatal(err)
	}
	defer post.Body.Close()
	if post.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("a POST over HTTP: %d, must keep its method", post.StatusCode)
	}
}

// TestRootCertificate gets the root at the plain address and believes it.
func TestRootCertificate(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"pi.local": open(app(t, says("hello")))})
	c := b.browser()
	for _, host := range []string{"pi.local", "192.168.1.7"} {
		res, body := get(t, c, "http://"+host+"/rochdale-root.crt")
		if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/x-x509-ca-cert" || !strings.Contains(body, "BEGIN CERTIFICATE") {
			t.Errorf("%s: %d %s %q", host, res.StatusCode, res.Header.Get("Content-Type"), body)
		}
	}
	if _, body := get(t, c, "https://pi.local/"); body != "hello" {
		t.Errorf("over TLS: %q", body)
	}
	list, err := b.client.Certificates(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "pi.local" || list[0].Error != "" {
		t.Fatalf("%+v, %v", list, err)
	}
	if left := time.Until(list[0].NotAfter); left < 6*24*time.Hour || left > 8*24*time.Hour {
		t.Errorf("it lasts %v", left)
	}
	if list[0].Issuer != "Rochdale authority of this box" {
		t.Errorf("issuer %q", list[0].Issuer)
	}
}

// TestForwardedHeaders: what a client says of itself does not reach the app.
func TestForwardedHeaders(t *testing.T) {
	b := newBox(t)
	seen := make(chan http.Header, 1)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(_ http.ResponseWriter, r *http.Request) {
		h := r.Header.Clone()
		h.Set("Host", r.Host)
		seen <- h
	}))})
	get(t, b.browser(), "https://rides.example/", func(r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
			"X_Forwarded_For", "Forwarded", "X-Real-Ip", "True-Client-Ip", "X-Original-Url", "X-Http-Method-Override"} {
			r.Header[name] = []string{"evil"}
		}
	})
	h := <-seen
	for name, values := range h {
		if strings.Contains(strings.Join(values, ","), "evil") {
			t.Errorf("%s: %q came through", name, values)
		}
	}
	if h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Proto") != "https" || h.Get("X-Forwarded-Host") != "rides.example" || h.Get("Host") != "rides.example" {
		t.Errorf("the app saw %v", h)
	}
}

// TestNeverTwice: an upstream that hangs up after it got the request gets it
// once, whatever its method.
func TestNeverTwice(t *testing.T) {
	b := newBox(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var requests atomic.Int64
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go rude(conn, &requests)
		}
	}()
	b.apply(map[string]appliance.Host{"rides.example": open(ln.Addr().String())})
	c := b.browser()
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead, http.MethodPut, http.MethodDelete} {
		requests.Store(0)
		get(t, c, "https://rides.example/first") // leaves an idle connection behind
		req, err := http.NewRequestWithContext(t.Context(), method, "https://rides.example/rude", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "1")
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadGateway || requests.Load() != 2 {
			t.Errorf("%s: %d, the upstream got %d requests instead of 2", method, res.StatusCode, requests.Load())
		}
	}
}

// rude answers /first and hangs up on everything else.
func rude(conn net.Conn, requests *atomic.Int64) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		requests.Add(1)
		if req.URL.Path != "/first" {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// TestSwapDuringDial: a request whose upstream is gone follows the document.
func TestSwapDuringDial(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(freeAddr(t))})
	next := app(t, says("new"))
	answer := make(chan string, 1)
	c := b.browser()
	go func() {
		res, err := c.Post("https://rides.example/", "text/plain", strings.NewReader("body"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	eventually(t, "the request is on its way", func() bool {
		h, err := b.client.Health(t.Context())
		return err == nil && h.InFlight == 1
	})
	b.apply(map[string]appliance.Host{"rides.example": open(next)})
	if got := <-answer; got != "new" {
		t.Errorf("got %q", got)
	}
}

// TestLogHasNoSecrets: one line a request, without what lets somebody in.
func TestLogHasNoSecrets(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s3cret"})
		if r.URL.Path == "/boom" {
			panic(http.ErrAbortHandler)
		}
	}))})
	c := b.browser()
	for _, path := range []string{"/join/s3cret", "/es/reset/s3cret/x", "/?token=s3cret", "/boom?x=s3cret"} {
		get(t, c, "https://rides.example"+path, func(r *http.Request) {
			r.Header.Set("Cookie", "session=s3cret")
			r.Header.Set("Authorization", "Bearer s3cret")
			r.Header.Set("Referer", "https://rides.example/join/s3cret")
		})
	}
	log := b.log.String()
	if strings.Contains(log, "s3cret") {
		t.Errorf("a secret is in the log:\n%s", log)
	}
	for _, want := range []string{`"path":"/join/*"`, `"path":"/es/reset/*"`, `"status":502`, `"client":"127.0.0.1"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
}

// TestCompression: text is compressed, event streams and small answers are not.
func TestCompression(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		_, _ = io.WriteString(w, strings.Repeat("word ", 1000))
	}))})
	c := b.browser()
	for _, test := range []struct{ kind, accept, want string }{
		{"text/html", "gzip, zstd", "zstd"},
		{"application/json", "gzip", "gzip"},
		{"text/html", "", ""},
		{"image/png", "gzip, zstd", ""},
		{"text/event-stream", "gzip, zstd", ""},
	} {
		res, _ := get(t, c, "https://rides.example/?type="+test.kind, func(r *http.Request) { r.Header.Set("Accept-Encoding", test.accept) })
		if got := res.Header.Get("Content-Encoding"); got != test.want {
			t.Errorf("%s for %q: %q, want %q", test.kind, test.accept, got, test.want)
		}
	}
}

// TestBodyLimit: what is too large is refused, also when its size is not said.
func TestBodyLimit(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	}))})
	c := b.browser()
	for _, test := range []struct {
		size  int64
		known bool
		want  int
	}{{maxBody, true, 200}, {maxBody + 1, true, 413}, {maxBody + 1, false, 413}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://rides.example/", io.LimitReader(zeros{}, test.size))
		if err != nil {
			t.Fatal(err)
		}
		if test.known {
			req.ContentLength = test.size
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatalf("%d bytes: %v", test.size, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != test.want {
			t.Errorf("%d bytes, size said: %v: %d, want %d", test.size, test.known, res.StatusCode, test.want)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestMaskPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/join": "/join", "/join/": "/join/", "/join/abc": "/join/*", "/fr/JOIN/abc/d": "/fr/JOIN/*",
		"/joined/abc": "/joined/abc", "/a/reset/b": "/a/reset/*",
	} {
		if got := maskPath(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestLanguageOf(t *testing.T) {
	for header, want := range map[string]string{
		"": "en", "fr": "fr", "fr-CA": "fr", "de": "en", "de,es;q=0.3": "es", "en;q=0.2, fr;q=0.3": "fr", "es;q=bad, fr;q=0.1": "fr",
		"ES-mx": "es", "*": "en", "fr;q=0": "en",
	} {
		if got := languageOf(header); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}
