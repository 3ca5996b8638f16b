// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log" //nolint:depguard // what the authority wants
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rochdale/appliance"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// authority is a real ACME authority that validates over loopback.
type authority struct {
	server *httptest.Server
	down   atomic.Bool
	orders atomic.Int64
	roots  *x509.CertPool
	root   string // file: what its own HTTPS is trusted by
}

// newAuthority makes one whose certificates last for validity. It rejects half
// of all good nonces, as its makers advise for tests.
func newAuthority(t *testing.T, httpPort, tlsPort int, validity time.Duration) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "50")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {Description: "for tests", ValidityPeriod: uint64(validity.Seconds())}}
	signer := ca.New(quiet, store, "", "ecdsa", 0, 1, profiles)
	checker := va.New(quiet, httpPort, tlsPort, false, loopbackDNS(t), store)
	front := wfe.New(quiet, store, checker, signer, []string{"ca.example"}, false, false, 1, 1)
	a := &authority{roots: x509.NewCertPool(), root: filepath.Join(t.TempDir(), "ca.pem")}
	a.server = httptest.NewTLSServer(a.moody(front.Handler()))
	t.Cleanup(a.server.Close)
	a.roots.AppendCertsFromPEM(signer.GetRootCert(0).PEM())
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
	if err := os.WriteFile(a.root, own, 0o644); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) moody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.down.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			a.orders.Add(1)
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackDNS finds every name at 127.0.0.1, but none below nowhere.example.
func loopbackDNS(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA && !strings.HasSuffix(q.Question[0].Name, "nowhere.example.") {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return ln.Addr().String()
}

// newPublicBox is an edge that gets its certificates from the authority.
func newPublicBox(t *testing.T, validity time.Duration) (*box, *authority) {
	t.Helper()
	var a *authority
	b := newBox(t, func(o *Options) {
		o.ChallengePort, o.TLSChallengePort = portOf(t, o.Listeners.HTTP[0]), portOf(t, o.Listeners.HTTPS[0])
		a = newAuthority(t, o.ChallengePort, o.TLSChallengePort, validity)
		o.Settings = appliance.EdgeSettings{
			Schema: 1, TLS: "acme", Email: "ada@rides.example", ACMECA: a.server.URL + "/dir", ACMERoot: a.root,
		}
	})
	return b, a
}

func portOf(t *testing.T, addr string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// visit is a browser that knows the authority.
func (a *authority) visit(t *testing.T, b *box) *http.Client {
	t.Helper()
	var d net.Dialer
	tr := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: a.roots},
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "tcp", b.https) },
	}
	return &http.Client{Transport: tr}
}

func (b *box) certificate(name string) appliance.Certificate {
	b.t.Helper()
	list, err := b.client.Certificates(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	b.t.Fatalf("no certificate entry for %s in %+v", name, list)
	return appliance.Certificate{}
}

// TestACME: a new host has its certificate as soon as it is in the document,
// keeps it over a restart, and an unknown one never gets one.
func TestACME(t *testing.T) {
	b, a := newPublicBox(t, 90*24*time.Hour)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	if err := b.client.Warm(t.Context(), "rides.example"); err != nil {
		t.Fatal(err)
	}
	c := a.visit(t, b)
	res, body := get(t, c, "https://rides.example/")
	if body != "hello" || res.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
		t.Errorf("%q, HSTS %q", body, res.Header.Get("Strict-Transport-Security"))
	}
	cert := b.certificate("rides.example")
	if cert.Error != "" || !strings.Contains(cert.Issuer, "Pebble") || time.Until(cert.NotAfter) < 89*24*time.Hour {
		t.Errorf("%+v", cert)
	}
	orders := a.orders.Load()
	for _, name := range []string{"stranger.example", "xn--80ak6aa92e.example", "127.0.0.1", ""} {
		conn, err := tls.Dial("tcp", b.https, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err == nil {
			_ = conn.Close()
			t.Errorf("%q got a certificate", name)
		}
	}
	b.stop()
	b.start()
	if _, body := get(t, c, "https://rides.example/"); body != "hello" {
		t.Errorf("after a restart: %q", body)
	}
	if again := b.certificate("rides.example"); !again.NotAfter.Equal(cert.NotAfter) {
		t.Errorf("after a restart: %+v", again)
	}
	if n := a.orders.Load(); n != orders {
		t.Errorf("%d orders more than needed", n-orders)
	}
	// A host that joins later is warmed without anybody asking for it.
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello"))), "later.example": {Stack: "delivery", RedirectTo: "rides.example"}})
	eventually(t, "the later host has a certificate", func() bool { return !b.certificate("later.example").NotAfter.IsZero() })
}

// TestAuthorityFails: the old certificate stays and the reason is told; when
// the authority is back, so is everything else.
func TestAuthorityFails(t *testing.T) {
	// The authority's renewal advice for so short a life is: now.
	b, a := newPublicBox(t, 4*time.Minute)
	b.apply(map[string]appliance.Host{"care.example": open(app(t, says("hello")))})
	if err := b.client.Warm(t.Context(), "care.example"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is being renewed", func() bool { return b.certificate("care.example").Error == "" })
	a.down.Store(true)
	c := a.visit(t, b)
	eventually(t, "the failure is reported", func() bool {
		if _, body := get(t, c, "https://care.example/"); body != "hello" {
			t.Fatalf("got %q", body)
		}
		return b.certificate("care.example").Error != ""
	})
	old := b.certificate("care.example")
	if !strings.Contains(old.Error, "500") || old.NotAfter.IsZero() {
		t.Errorf("%+v", old)
	}
	orders := a.orders.Load()
	for range 20 {
		if _, body := get(t, c, "https://care.example/"); body != "hello" {
			t.Fatalf("got %q", body)
		}
	}
	b.stop()
	b.start()
	if again := b.certificate("care.example"); again.Error != old.Error {
		t.Errorf("after a restart the reason is %q", again.Error)
	}
	a.down.Store(false)
	get(t, c, "https://care.example/")
	if n := a.orders.Load(); n != orders {
		t.Errorf("the authority was asked again too soon, %d times", n-orders)
	}
	eventually(t, "it is renewed", func() bool {
		if err := b.client.Warm(t.Context(), "care.example"); err != nil {
			t.Fatal(err)
		}
		now := b.certificate("care.example")
		return now.Error == "" && now.NotAfter.After(old.NotAfter)
	})
}

// TestNameThatPointsNowhere: the reason is the authority's own words, other
// hosts are not disturbed, and strangers' handshakes start no new attempts.
func TestNameThatPointsNowhere(t *testing.T) {
	b, a := newPublicBox(t, 90*24*time.Hour)
	upstream := app(t, says("hello"))
	b.apply(map[string]appliance.Host{"tasks.example": open(upstream), "shop.nowhere.example": open(upstream)})
	err := b.client.Warm(t.Context(), "shop.nowhere.example")
	if problemID(err) != "edge.certificate-failed" || !strings.Contains(err.Error(), "shop.nowhere.example") {
		t.Fatalf("got %v", err)
	}
	if cert := b.certificate("shop.nowhere.example"); cert.Error == "" || !cert.NotAfter.IsZero() {
		t.Errorf("%+v", cert)
	}
	// The edge gets the other host's certificate by itself at the same time: that
	// order is none of the strangers'.
	if err := b.client.Warm(t.Context(), "tasks.example"); err != nil {
		t.Fatal(err)
	}
	orders := a.orders.Load()
	for range 10 {
		conn, err := tls.Dial("tcp", b.https, &tls.Config{ServerName: "shop.nowhere.example", RootCAs: a.roots})
		if err == nil {
			_ = conn.Close()
			t.Fatal("it has a certificate")
		}
	}
	if n := a.orders.Load(); n != orders {
		t.Errorf("strangers started %d orders", n-orders)
	}
	if _, body := get(t, a.visit(t, b), "https://tasks.example/"); body != "hello" {
		t.Errorf("the other host: %q", body)
	}
}
