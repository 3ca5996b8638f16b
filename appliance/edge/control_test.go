// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
)

// put sends raw bytes as the document.
func (b *box) put(data string) error {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, "http://edge/v1/routes", strings.NewReader(data))
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.client.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		b.t.Fatal(err)
	}
	if res.StatusCode < 400 {
		return nil
	}
	return decodeError(res.StatusCode, body.Bytes())
}

// TestBadDocuments: each is refused with its own id, and the old one stays, in
// memory and on the disk.
func TestBadDocuments(t *testing.T) {
	b := newBox(t)
	addr := app(t, says("hello"))
	b.version = 4
	b.apply(map[string]appliance.Host{"rides.example": open(addr)})
	before, err := os.ReadFile(filepath.Join(b.opts.Dir, "routes.json"))
	if err != nil {
		t.Fatal(err)
	}
	valid := `{"schema":1,"version":9,"hosts":{"a.example":{"stack":"x","upstream":"127.0.0.1:1","gate":{"mode":"open"}}}}`
	tests := map[string]string{
		"":                         "edge.routes-invalid",
		"garbage":                  "edge.routes-invalid",
		`null`:                     "edge.routes-schema",
		`{}`:                       "edge.routes-schema",
		`{"schema":2,"news":true}`: "edge.routes-schema",
		valid + `{}`:               "edge.routes-invalid",
		strings.Replace(valid, `"version":9`, `"version":9,"extra":1`, 1):                 "edge.routes-invalid",
		strings.Replace(valid, `"version":9`, `"version":0`, 1):                           "edge.routes-invalid",
		strings.Replace(valid, `"version":9`, `"version":-1`, 1):                          "edge.routes-invalid",
		strings.Replace(valid, `"version":9`, `"version":4`, 1):                           "edge.routes-older",
		strings.Replace(valid, `"version":9`, `"version":5`, 1):                           "edge.routes-older", // same version, other content
		strings.Replace(valid, `a.example`, `A.example`, 1):                               "edge.routes-invalid",
		strings.Replace(valid, `a.example`, `../../x`, 1):                                 "edge.routes-invalid",
		strings.Replace(valid, `127.0.0.1:1`, `container:1`, 1):                           "edge.routes-invalid",
		strings.Replace(valid, `"open"`, `"ajar"`, 1):                                     "edge.routes-invalid",
		strings.Replace(valid, `"open"`, `"hold"`, 1):                                     "edge.routes-invalid",
		strings.Replace(valid, `"stack":"x"`, `"stack":"x","redirect_to":"b.example"`, 1): "edge.routes-invalid",
		valid + strings.Repeat(" ", MaxRoutes):                                            "edge.routes-too-large",
	}
	for doc, want := range tests {
		if got := problemID(b.put(doc)); got != want {
			t.Errorf("%.120q: %q, want %q", doc, got, want)
		}
	}
	after, err := os.ReadFile(filepath.Join(b.opts.Dir, "routes.json"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed: %v\n%s", err, after)
	}
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	if err := b.put(string(before)); err != nil {
		t.Errorf("the same document again: %v", err)
	}
	if err := b.put(valid); err != nil {
		t.Errorf("the valid one: %v", err)
	}
}

// TestRestartKeeps: routes, the gate and certificates are there again.
func TestRestartKeeps(t *testing.T) {
	b := newBox(t)
	hosts := map[string]appliance.Host{
		"rides.example":  open(app(t, says("hello"))),
		"closed.example": {Stack: "delivery", Gate: appliance.Gate{Mode: appliance.GateClosed}},
	}
	b.apply(hosts)
	b.warmAll()
	before, err := b.client.Certificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := b.trust("")
	b.stop()
	b.start()
	routes, err := b.client.Routes(t.Context())
	if err != nil || routes.Version != 1 || !reflect.DeepEqual(routes.Hosts, hosts) {
		t.Errorf("routes %+v, %v", routes, err)
	}
	c := b.browser()
	c.Transport.(*http.Transport).TLSClientConfig = root // as of before the restart
	if _, body := get(t, c, "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
	if res, _ := get(t, c, "https://closed.example/"); res.StatusCode != 503 {
		t.Errorf("the gate is %d", res.StatusCode)
	}
	after, err := b.client.Certificates(t.Context())
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("certificates %+v, before %+v, %v", after, before, err)
	}
}

func (b *box) warmAll() {
	b.t.Helper()
	routes, err := b.client.Routes(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for name := range routes.Hosts {
		if err := b.client.Warm(b.t.Context(), name); err != nil {
			b.t.Fatal(err)
		}
	}
}

// TestBrokenFileAtStart: the edge comes up, takes the document anew, and says so.
func TestBrokenFileAtStart(t *testing.T) {
	b := newBox(t)
	addr := app(t, says("hello"))
	b.apply(map[string]appliance.Host{"rides.example": open(addr)})
	b.stop()
	if err := os.WriteFile(filepath.Join(b.opts.Dir, "routes.json"), []byte(`{"schema":1,"ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	if h, err := b.client.Health(t.Context()); err != nil || h.Routes != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	if !strings.Contains(b.log.String(), "the kept routes can not be used") {
		t.Error("nothing in the log")
	}
	b.apply(map[string]appliance.Host{"rides.example": open(addr)})
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
}

func TestFilesAreOurs(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	b.warmAll()
	for path, want := range map[string]os.FileMode{
		b.opts.Dir: os.ModeDir | 0o700, filepath.Join(b.opts.Dir, "caddy"): os.ModeDir | 0o700,
		filepath.Join(b.opts.Dir, "routes.json"): 0o600, b.opts.ControlSocket: os.ModeSocket | 0o600,
		filepath.Join(b.opts.Dir, "caddy/pki/authorities/local/root.key"): 0o600,
	} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}

func TestClientErrors(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "nobody.sock"))
	if _, err := c.Health(t.Context()); problemID(err) != "edge.unreachable" {
		t.Errorf("no edge: %v", err)
	}
	b := newBox(t)
	if err := b.client.Warm(t.Context(), "nobody.example"); problemID(err) != "edge.host-unknown" {
		t.Errorf("unknown host: %v", err)
	}
	if err := Run(t.Context(), b.opts); err == nil || !strings.Contains(err.Error(), "another edge") {
		t.Errorf("a second edge: %v", err)
	}
}

// TestStrangersAtTheSocket: the peer's user is asked of the kernel.
func TestStrangersAtTheSocket(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var d net.Dialer
	near, err := d.DialContext(t.Context(), "unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if uid, err := peer(far); err != nil || int(uid) != os.Geteuid() {
		t.Errorf("uid %d, %v", uid, err)
	}
	a, _ := net.Pipe()
	if _, err := peer(a); err == nil {
		t.Error("a pipe has no peer")
	}
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, 4242: false} {
		if welcome(uid) != want {
			t.Errorf("uid %d is welcome: %v", uid, !want)
		}
	}
}

func TestSystemdListeners(t *testing.T) {
	env := func(fds, names string) func(string) string {
		return func(key string) string {
			return map[string]string{"LISTEN_PID": strconv.Itoa(os.Getpid()), "LISTEN_FDS": fds, "LISTEN_FDNAMES": names}[key]
		}
	}
	for _, test := range []struct {
		fds, names string
		want       Listeners
		ok         bool
	}{
		{"3", "https:http3:http", Listeners{HTTPS: []string{"fd/3"}, HTTP3: []string{"fdgram/4"}, HTTP: []string{"fd/5"}}, true},
		{"2", "http:https", Listeners{HTTP: []string{"fd/3"}, HTTPS: []string{"fd/4"}}, true},
		{"1", "http", Listeners{}, false},
		{"2", "", Listeners{}, false},
		{"", "", Listeners{}, false},
		{"-1", "http", Listeners{}, false},
		{"9999", "http", Listeners{}, false},
	} {
		got, err := SystemdListeners(env(test.fds, test.names))
		if (err == nil) != test.ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: %+v, %v", test.fds, test.names, got, err)
		}
		if !test.ok && problemID(err) != "edge.no-sockets" {
			t.Errorf("%s %s: %v", test.fds, test.names, err)
		}
	}
	if _, err := SystemdListeners(func(key string) string {
		return map[string]string{"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "http:https"}[key]
	}); err == nil {
		t.Error("sockets for another process")
	}
}

func TestLoadSettings(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"schema":1,"tls":"internal"}`:                           true,
		`{"schema":1,"tls":"acme","email":"a@b.c","acme_ca":"x"}`: true,
		`{"schema":2,"tls":"acme"}`:                               false,
		`{"schema":1,"tls":"none"}`:                               false,
		`{"schema":1,"tls":"acme","unknown":1}`:                   false,
		`nonsense`:                                                false,
	} {
		path := filepath.Join(t.TempDir(), "settings.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSettings(path); (err == nil) != ok || err != nil && problemID(err) != "edge.settings" {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := LoadSettings(filepath.Join(t.TempDir(), "none")); problemID(err) != "edge.settings" {
		t.Errorf("no file: %v", err)
	}
}

// TestApplyToFullDisk: what can not be kept is not served either.
func TestApplyToFullDisk(t *testing.T) {
	b := newBox(t)
	b.apply(map[string]appliance.Host{"rides.example": open(app(t, says("hello")))})
	// A folder in the place of the temporary file fails the write even for root.
	if err := os.Mkdir(filepath.Join(b.opts.Dir, ".routes.json.rochdale-tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.opts.Dir, ".routes.json.rochdale-tmp", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.client.Apply(t.Context(), appliance.Routes{Schema: 1, Version: 2, Hosts: map[string]appliance.Host{}})
	if problemID(err) != "edge.routes-disk" {
		t.Errorf("got %v", err)
	}
	if _, body := get(t, b.browser(), "https://rides.example/"); body != "hello" {
		t.Errorf("got %q", body)
	}
}

func TestExpiredContext(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := b.client.Warm(ctx, "rides.example"); problemID(err) != "edge.unreachable" {
		t.Errorf("got %v", err)
	}
}
