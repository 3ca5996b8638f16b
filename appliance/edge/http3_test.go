// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"rochdale/appliance"

	"github.com/quic-go/quic-go/http3"
)

// TestHTTP3 speaks HTTP/3 over an inherited UDP socket, as systemd hands it over.
func TestHTTP3(t *testing.T) {
	udp, file := inheritedUDP(t)
	b := newBox(t, func(o *Options) { o.Listeners.HTTP3 = []string{"fdgram/" + strconv.Itoa(int(file.Fd()))} })
	var proto, forwarded string
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		forwarded = r.Header.Get("X-Forwarded-For") + " " + r.Header.Get("X-Forwarded-Proto")
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
		proto = res.Proto
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
