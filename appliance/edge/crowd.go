// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The bounds are for a machine with 512 MB, whose edge has 224 MiB: a request
// in flight costs some 100 KB (two connections with their buffers, TLS, what is
// copied), an idle connection some 40 KB.
const (
	// maxInFlight bounds the requests at one upstream, open event streams and
	// websockets among them.
	maxInFlight = 1024
	// maxClientConns bounds the connections of one client at all listeners
	// together, an eighth of what one listener has: enough for a house full of
	// phones behind one address, too little to shut others out.
	maxClientConns = 512
	// maxClientRequests bounds the requests of one client, held ones and those
	// at an upstream: one connection of HTTP/2 carries many. It is half of what
	// one upstream takes and half of what gates hold.
	maxClientRequests = 500
	// maxStreams bounds the requests that one connection of HTTP/2 carries at
	// once; the protocol's authors advise against fewer.
	maxStreams = 100
)

// clientOf tells clients apart: an IPv4 address, or the /64 network that
// somebody with one IPv6 address usually has whole. What is no address gives
// false, connections in memory for example.
func clientOf(remote string) (netip.Prefix, bool) {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}, false
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	client, err := ip.Prefix(bits)
	return client, err == nil
}

// crowd counts what each client has open, up to a limit.
type crowd struct {
	limit int
	mu    sync.Mutex
	count map[netip.Prefix]int
}

func newCrowd(limit int) *crowd { return &crowd{limit: limit, count: map[netip.Prefix]int{}} }

// enter counts one more of the client in; leave has to be called once for it.
// It reports false, and counts nothing, when the client has as many as it may.
func (c *crowd) enter(remote string) (leave func(), ok bool) {
	client, ok := clientOf(remote)
	if !ok {
		return func() {}, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[client] >= c.limit {
		return nil, false
	}
	c.count[client]++
	return func() { c.leave(client) }, true
}

// of is how many the client has.
func (c *crowd) of(remote string) int {
	client, ok := clientOf(remote)
	if !ok {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[client]
}

func (c *crowd) leave(client netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count[client]--; c.count[client] <= 0 {
		delete(c.count, client)
	}
}

// boundStreams sets how many requests one connection of HTTP/2 carries. Caddy
// has no setting for it, but every connection knows its server, and each reads
// the figure when it begins.
func boundStreams(s *caddyhttp.Server) {
	var once sync.Once
	s.RegisterConnContext(func(ctx context.Context, _ net.Conn) context.Context {
		once.Do(func() {
			if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
				server.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
			}
		})
		return ctx
	})
}
