// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"net/netip"
	"os"
	"testing"
)

func TestPlace(t *testing.T) {
	s := &Server{cfg: Config{Proxies: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")}}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"203.0.113.9:5", "", "203.0.113.9/32"},
		{"203.0.113.9:5", "198.51.100.1", "203.0.113.9/32"}, // not from the edge: not believed
		{"172.30.0.1:5", "198.51.100.1", "198.51.100.1/32"},
		{"172.30.0.1:5", "10.0.0.1, 198.51.100.1", "198.51.100.1/32"}, // what the client wrote itself is not believed
		{"172.30.0.1:5", "198.51.100.1, 172.30.0.7", "198.51.100.1/32"},
		{"172.30.0.1:5", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"172.30.0.1:5", "nonsense", "172.30.0.1/32"},
		{"[::ffff:203.0.113.9]:5", "", "203.0.113.9/32"},
		{"[2001:db8::1]:5", "", "2001:db8::/64"},
		{"pipe", "", "unknown"},
	} {
		r := &http.Request{RemoteAddr: c.remote, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := s.place(r); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestLocal(t *testing.T) {
	for path, want := range map[string]string{
		"/shops/1": "/shops/1", "": "/", "//evil.example": "/", "https://evil.example/": "/", `/\evil.example`: "/", "shops": "/", "/%zz": "/", "javascript:alert(1)": "/",
	} {
		if got := local(path); got != want {
			t.Errorf("%q leads to %q", path, got)
		}
	}
}

func TestStyleIsSmall(t *testing.T) {
	info, err := os.Stat("style.css")
	if err != nil || info.Size() > 8<<10 {
		t.Errorf("the style sheet: %v, %v", info.Size(), err)
	}
}
