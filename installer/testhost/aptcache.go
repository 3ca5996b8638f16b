// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// aptProxyFile points apt at a caching proxy; it is empty where a machine goes to the mirrors itself.
const aptProxyFile = "etc/apt/apt.conf.d/90testhost-proxy"

func aptProxy(url string) []byte {
	if url == "" {
		return nil
	}
	return fmt.Appendf(nil, "Acquire::http::Proxy %q;\n", url)
}

// AptCache is a web proxy on the bridge that keeps packages in CacheDir, so that the tenth machine does not download the
// same hundred megabytes again. It is a proxy and not a shared folder, because apt locks its folder and runs as another user
// in each release. Package lists are never kept. Apt checks every package by its signed hash, so the cache is not trusted.
type AptCache struct {
	URL    string // for Options.AptCache
	server *http.Server
	dir    string
	client *http.Client
}

// StartAptCache starts the proxy on a free port of the bridge. Setup must have run.
func StartAptCache(ctx context.Context) (*AptCache, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", HostIP().String()+":0")
	if err != nil {
		return nil, err
	}
	c := &AptCache{URL: "http://" + listener.Addr().String(), dir: filepath.Join(CacheDir(), "packages"),
		client: &http.Client{Timeout: 10 * time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(listener) }() // ends with Close
	return c, nil
}

// Close stops the proxy; what it keeps stays.
func (c *AptCache) Close() error { return c.server.Close() }

// ServeHTTP answers apt: a kept package, or what the mirror says.
func (c *AptCache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Scheme != "http" {
		http.Error(w, "only packages over http", http.StatusMethodNotAllowed)
		return
	}
	kept := filepath.Join(c.dir, fmt.Sprintf("%x.deb", sha256.Sum256([]byte(r.URL.String()))))
	whole := strings.HasSuffix(r.URL.Path, ".deb") && r.Header.Get("Range") == ""
	if whole && exists(kept) {
		http.ServeFile(w, r, kept)
		return
	}
	response, err := c.fetch(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	for key, values := range response.Header {
		w.Header()[key] = values
	}
	w.WriteHeader(response.StatusCode)
	if whole && response.StatusCode == http.StatusOK {
		c.keep(w, response, kept)
		return
	}
	_, _ = io.Copy(w, response.Body) // a broken transfer is apt's to retry
}

func (c *AptCache) fetch(r *http.Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, key := range []string{"If-Modified-Since", "Range", "If-Range", "User-Agent", "Accept"} {
		if value := r.Header.Get(key); value != "" {
			request.Header.Set(key, value)
		}
	}
	return c.client.Do(request)
}

// keep sends a package on and keeps it when it came whole.
func (c *AptCache) keep(w io.Writer, response *http.Response, path string) {
	part, err := os.CreateTemp(c.dir, "*.part")
	if err != nil {
		_, _ = io.Copy(w, response.Body)
		return
	}
	defer os.Remove(part.Name())
	n, err := io.Copy(io.MultiWriter(w, part), response.Body)
	if err = errors.Join(err, part.Close()); err == nil && n == response.ContentLength {
		_ = os.Rename(part.Name(), path) // it is then fetched again next time
	}
}
