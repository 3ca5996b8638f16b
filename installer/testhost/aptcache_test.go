// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAptCacheKeepsPackagesAndNothingElse(t *testing.T) {
	var asked atomic.Int32
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case strings.HasSuffix(r.URL.Path, "missing.deb"):
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, "cut.deb"):
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "short") // the server closes the connection, since that is not all
		default:
			io.WriteString(w, "content of "+r.URL.Path)
		}
	}))
	defer mirror.Close()
	cache := &AptCache{dir: t.TempDir(), client: mirror.Client()}
	front := httptest.NewServer(cache)
	defer front.Close()
	proxy, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	get := func(path string) (int, string) {
		response, err := client.Get(mirror.URL + path)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, err.Error()
		}
		return response.StatusCode, string(text)
	}
	for _, c := range []struct {
		path  string
		code  int
		asked int32 // by the cache, for two requests
	}{
		{"/pool/a_1.deb", 200, 1},
		{"/pool/b_1.deb", 200, 1},
		{"/dists/bookworm/InRelease", 200, 2},
		{"/pool/missing.deb", 404, 2},
		{"/pool/cut.deb", 0, 2},
	} {
		asked.Store(0)
		for range 2 {
			code, text := get(c.path)
			if code != c.code || code == 200 && text != "content of "+c.path {
				t.Errorf("%s: %d %q", c.path, code, text)
			}
		}
		if asked.Load() != c.asked {
			t.Errorf("%s: the mirror was asked %d times", c.path, asked.Load())
		}
	}
	// A request that is not for a proxy is refused.
	if response, err := http.Get(front.URL + "/pool/a_1.deb"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", response, err)
	}
}
