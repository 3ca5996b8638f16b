// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rochdale/stacks/coop/store/storetest"
	"rochdale/stacks/coop/walk"
)

// server is a process of its own.
type server struct {
	cmd  *exec.Cmd
	addr string
	log  chan string // what it said after it was ready
}

func start(t *testing.T, database string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Env = append(os.Environ(), "COOP_TEST_AS_SERVER=1", "COOP_LISTEN=127.0.0.1:0", "COOP_DATABASE="+database, "COOP_TRUSTED_PROXY=127.0.0.1")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: cmd, log: make(chan string, 1)}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, rest, ok := strings.Cut(lines.Text(), "listen="); ok {
			s.addr = strings.Trim(rest, `"`)
			break
		}
		t.Log(lines.Text())
	}
	if s.addr == "" {
		t.Fatal("the server didn't start")
	}
	go func() {
		var all strings.Builder
		for lines.Scan() {
			all.WriteString(lines.Text() + "\n")
		}
		s.log <- all.String()
	}()
	return s
}

// stop asks the server to end and checks that it ended well.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said := <-s.log
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v:\n%s", err, said)
	}
	if strings.Contains(said, "level=ERROR") {
		t.Errorf("the server reported errors:\n%s", said)
	}
}

// front is an edge with TLS that takes turns between servers.
func front(t *testing.T, servers *atomic.Pointer[[]*server]) *httptest.Server {
	t.Helper()
	var turn atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		list := *servers.Load()
		to := list[int(turn.Add(1))%len(list)]
		r.SetURL(&url.URL{Scheme: "http", Host: to.addr})
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}}
	srv := httptest.NewTLSServer(proxy)
	t.Cleanup(srv.Close)
	return srv
}

func adminPath(t *testing.T, database string) string {
	t.Helper()
	code, out, said := call(t, map[string]string{"COOP_DATABASE": database}, "admin-link")
	if code != 0 {
		t.Fatal(said)
	}
	return strings.TrimSpace(out)
}

// TestTwoServers is a container swap: one database file, an old and a new server
// beside each other, orders walked through both by turns, then the old one ends,
// then the new one is killed.
func TestTwoServers(t *testing.T) {
	db := "sqlite:" + storetest.SQLiteFile(t)
	var servers atomic.Pointer[[]*server]
	use := func(list ...*server) { servers.Store(&list) }
	older := start(t, db)
	use(older)
	edge := front(t, &servers)
	o := walk.Options{BaseURL: edge.URL, Transport: edge.Client().Transport.(*http.Transport), JoinPath: adminPath(t, db), Unique: "old"}
	receipts := []walk.Receipt{}
	order := func(unique string) {
		t.Helper()
		o.Unique = unique
		r, err := walk.Order(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		o.JoinPath, o.Admin = "", r.Admin
		receipts = append(receipts, r)
	}
	order("old")
	newer := start(t, db)
	use(older, newer)
	order("both1")
	order("both2")
	use(newer)
	older.stop(t)
	order("new")
	if err := newer.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = newer.cmd.Wait()
	last := start(t, db)
	use(last)
	for _, r := range receipts {
		if err := walk.Verify(t.Context(), o, r); err != nil {
			t.Errorf("after the kill: %v", err)
		}
	}
	last.stop(t)
}

// TestRunningRequestIsFinished: a request that is on its way when SIGTERM comes is
// answered; new connections are not taken.
func TestRunningRequestIsFinished(t *testing.T) {
	db := "sqlite:" + storetest.SQLiteFile(t)
	s := start(t, db)
	if code, _, said := call(t, map[string]string{"COOP_LISTEN": s.addr}, "healthcheck"); code != 0 {
		t.Error(said)
	}
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	form := url.Values{"lang": {"es"}, "back": {"/shops"}}.Encode()
	fmt.Fprintf(conn, "POST /language HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n", len(form))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100") { // the handler reads the body now
		t.Fatal(line, err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	closed := func() bool {
		c, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	}
	for deadline := time.Now().Add(10 * time.Second); !closed(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server still takes connections after SIGTERM")
		}
	}
	_, _ = io.WriteString(conn, form)
	answer, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(answer), "303 See Other") {
		t.Errorf("the running request got %q, %v", answer, err)
	}
	said := <-s.log
	if err := s.cmd.Wait(); err != nil || !strings.Contains(said, "stopped") {
		t.Errorf("%v\n%s", err, said)
	}
}
