// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"

	"github.com/caddyserver/caddy/v2"
)

// BenchmarkProxy compares the edge with Caddy's bare reverse proxy, in the
// same run, over TLS on loopback with connections kept alive. The edge writes
// its log line for each request, to nowhere.
func BenchmarkProxy(b *testing.B) {
	upstream := httptest.NewServer(says("hello, this is an answer of a usual small size, as from an API"))
	defer upstream.Close()
	for name, start := range map[string]func(*testing.B, string) (string, func()){"edge": benchEdge, "bare": benchBare} {
		b.Run(name, func(b *testing.B) {
			addr, stop := start(b, upstream.Listener.Addr().String())
			defer stop()
			for proto, h2 := range map[string]bool{"http1": false, "http2": true} {
				b.Run(proto, func(b *testing.B) { benchRequests(b, addr, h2) })
			}
		})
	}
}

func benchRequests(b *testing.B, addr string, h2 bool) {
	tr := &http.Transport{
		ForceAttemptHTTP2:   h2,
		MaxIdleConnsPerHost: 64,
		TLSClientConfig:     &tls.Config{ServerName: "rides.example", InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", addr)
		},
	}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr}
	b.ReportAllocs()
	before := cpuTime(b)
	defer func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			res, err := c.Get("https://rides.example/")
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				b.Errorf("status %d", res.StatusCode)
				return
			}
		}
	})
}

func benchEdge(b *testing.B, upstream string) (string, func()) {
	b.Helper()
	dir := b.TempDir()
	https := freeBench(b)
	o := Options{
		Listeners:     Listeners{HTTP: []string{freeBench(b)}, HTTPS: []string{https}},
		Dir:           filepath.Join(dir, "edge"),
		Settings:      appliance.EdgeSettings{Schema: 1, TLS: "internal"},
		ControlSocket: filepath.Join(dir, "edge.sock"),
		Words:         func(string, appliance.Message) Words { return Words{} },
		Log:           slog.New(slog.NewJSONHandler(io.Discard, nil)),
	}
	ctx, cancel := context.WithCancel(b.Context())
	started, done := make(chan struct{}), make(chan error, 1)
	o.Started = func() { close(started) }
	go func() { done <- Run(ctx, o) }()
	<-started
	c := NewClient(o.ControlSocket)
	doc := appliance.Routes{Schema: 1, Version: 1, Hosts: map[string]appliance.Host{"rides.example": open(upstream)}}
	if err := c.Apply(ctx, doc); err != nil {
		b.Fatal(err)
	}
	return https, func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

func benchBare(b *testing.B, upstream string) (string, func()) {
	b.Helper()
	b.Setenv("XDG_DATA_HOME", b.TempDir())
	https := freeBench(b)
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": b.TempDir()},
		"apps": object{
			"http": object{"servers": object{"s": object{
				"listen":                  []string{https},
				"automatic_https":         object{"disable": true},
				"protocols":               []string{"h1", "h2"},
				"tls_connection_policies": []object{{}},
				"routes": []object{{"handle": []object{
					{"handler": "reverse_proxy", "upstreams": []object{{"dial": upstream}}},
				}}},
			}}},
			"tls": object{
				"certificates": object{"automate": []string{"rides.example"}},
				"automation":   object{"policies": []object{{"issuers": []object{{"module": "internal"}}}}},
			},
			"pki": pkiApp(),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		b.Fatal(err)
	}
	for range 1000 { // it gets its certificate in the background
		conn, err := tls.Dial("tcp", https, &tls.Config{ServerName: "rides.example", InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return https, func() { _ = caddy.Stop() }
}

func freeBench(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// cpuTime is what this process has computed, in nanoseconds: client, edge and
// upstream together. It says more than time on a busy machine.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
