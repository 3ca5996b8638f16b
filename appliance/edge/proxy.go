// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

type ticketKey struct{}

// upstreams tells Caddy's proxy where a request goes: to its ticket's place.
type upstreams struct{ seat *seat }

var _ reverseproxy.UpstreamSource = (*upstreams)(nil)

// CaddyModule implements caddy.Module.
func (u *upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.rochdale", New: func() caddy.Module { return &upstreams{seat: u.seat} }}
}

// GetUpstreams implements reverseproxy.UpstreamSource. The second time it is
// asked the first dial failed, and the document may know a newer place.
func (u *upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	t, ok := r.Context().Value(ticketKey{}).(*ticket)
	if !ok {
		return nil, errors.New("a request without a ticket")
	}
	if t.tries++; t.tries > 1 {
		t.move()
	}
	return []*reverseproxy.Upstream{{Dial: t.upstream.addr}}, nil
}

// transport is Caddy's HTTP transport without the silent second attempt of
// net/http: a request is never sent twice, whatever its method.
type transport struct {
	reverseproxy.HTTPTransport
	seat *seat
}

// CaddyModule implements caddy.Module.
func (t *transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.rochdale", New: func() caddy.Module { return &transport{seat: t.seat} }}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if (r.Body == nil || r.Body == http.NoBody) && repeatable(r) {
		// net/http repeats such a request only when it has no body at all; a
		// body that turns out to be empty goes over the wire as none.
		once := *r
		once.Body = emptyBody{}
		r = &once
	}
	res, err := t.HTTPTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if tick, ok := r.Context().Value(ticketKey{}).(*ticket); ok && isEventStream(res) {
		res.Body = newStream(res.Body, tick.upstream.streams.Load(), t.seat.edge().leave) //nolint:contextcheck // a stream outlives its round trip
	}
	return res, nil
}

// repeatable tells what net/http would send again by itself.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != ""
}

type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error) { return 0, io.EOF }
func (emptyBody) Close() error             { return nil }

func isEventStream(res *http.Response) bool {
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

// stream is an event stream that ends cleanly when its upstream is retired or
// the edge leaves: the browser comes back by itself.
type stream struct {
	io.ReadCloser
	ended context.Context
	stop  []func() bool
}

func newStream(body io.ReadCloser, until ...context.Context) *stream {
	ended, end := context.WithCancel(context.Background())
	s := &stream{ReadCloser: body, ended: ended}
	for _, ctx := range until {
		s.stop = append(s.stop, context.AfterFunc(ctx, func() { end(); _ = body.Close() }))
	}
	s.stop = append(s.stop, func() bool { end(); return true })
	return s
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && s.ended.Err() != nil {
		return n, io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	for _, stop := range s.stop {
		stop()
	}
	return s.ReadCloser.Close()
}
