// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"rochdale/stacks"
	"rochdale/stacks/coop/store/storetest"
)

// TestProbes asks a server that has just been made what the stack promises that
// it answers. An update to it is put back when it doesn't.
func TestProbes(t *testing.T) {
	stack, err := stacks.Parse(os.DirFS("../../stacks/catalog/delivery"))
	if err != nil {
		t.Fatal(err)
	}
	probes := stack.Manifest.Probes
	if len(probes) == 0 {
		t.Fatal("the stack has no probes")
	}
	s := start(t, "sqlite:"+storetest.SQLiteFile(t))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, p := range probes {
		resp, err := client.Get("http://" + s.addr + p.Path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || resp.StatusCode != p.Status || !strings.Contains(string(body), p.Contains) {
			t.Errorf("%s: %s (%v), without %q:\n%s", p.Path, resp.Status, err, p.Contains, body)
		}
	}
	s.stop(t)
}
