// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"rochdale/appliance"
)

// pages is a service with pages to probe.
func pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<h1>Shops</h1>") })
	mux.Handle("/old", http.RedirectHandler("/", http.StatusSeeOther))
	mux.HandleFunc("/sick", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Shops are closed", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat(" ", 1<<20)+"late")
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "begun")
	})
	return mux
}

func TestProbeJudges(t *testing.T) {
	_, e := newFake(t)
	server := httptest.NewServer(pages())
	defer server.Close()
	host, text, err := net.SplitHostPort(server.Listener.Addr().String())
	must(t, err)
	port, err := strconv.Atoi(text)
	must(t, err)
	for _, c := range []struct {
		probe appliance.Probe
		fails string // part of the error; "" when it passes
	}{
		{appliance.Probe{Path: "/"}, ""},
		{appliance.Probe{Path: "/", Status: 200, Contains: "<h1>Shops"}, ""},
		{appliance.Probe{Path: "/", Contains: "<h1>Orders"}, `without "<h1>Orders"`},
		{appliance.Probe{Path: "/old"}, "answered 303"},
		{appliance.Probe{Path: "/old", Status: 303}, ""},
		{appliance.Probe{Path: "/", Status: 303}, "200 OK and not 303"},
		{appliance.Probe{Path: "/sick", Contains: "Shops"}, "answered 503"},
		{appliance.Probe{Path: "/sick", Status: 503, Contains: "closed"}, ""},
		{appliance.Probe{Path: "/long"}, ""},
		{appliance.Probe{Path: "/long", Contains: "late"}, "without"},
		{appliance.Probe{Path: "/cut"}, ""},
		{appliance.Probe{Path: "/cut", Contains: "begun"}, "broke off"},
	} {
		c.probe.Port = port
		err := e.Probe(t.Context(), host, c.probe)
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%+v: %v, want %q", c.probe, err, c.fails)
		}
	}
}
