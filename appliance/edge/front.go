// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"rochdale/appliance"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// maxBody bounds a request body, in bytes.
	maxBody = 64 << 20
	// maxHeld bounds how many requests wait at closed gates.
	maxHeld = 1000
)

// front is the handler of every HTTPS request: it knows the host, counts the
// request in at its upstream, or holds it or turns it away as the gate says.
type front struct{ seat *seat }

var _ caddyhttp.MiddlewareHandler = (*front)(nil)

// CaddyModule implements caddy.Module.
func (f *front) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.rochdale_front", New: func() caddy.Module { return &front{seat: f.seat} }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It answers every error
// itself, so that Caddy never logs a request: its log would hold the secrets
// that are in paths.
func (f *front) ServeHTTP(rw http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	e := f.seat.edge()
	w := newAnswer(rw, r, e)
	defer w.finish() //nolint:contextcheck // it has the request
	e.advertise(w, r)
	cleanHeaders(r.Header)
	host := hostOf(r.Host)
	w.line.host = host
	if r.TLS != nil && serverName(r.TLS.ServerName) != host {
		e.page(w, r, http.StatusMisdirectedRequest, "edge.page.unknown-host", pageArgs{})
		return nil
	}
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect && r.ProtoMajor == 1 {
		// They would show a script its own cookies, or make us a tunnel.
		e.page(w, r, http.StatusMethodNotAllowed, "edge.page.bad-request", pageArgs{})
		return nil
	}
	leave, ok := e.requests.enter(r.RemoteAddr)
	if !ok {
		e.counters.refused.Add(1)
		e.page(w, r, http.StatusTooManyRequests, "edge.page.crowded", pageArgs{retry: shortRetry})
		return nil
	}
	defer leave()
	t, verdict := e.admit(r.Context(), host)
	if t == nil {
		e.refuse(w, r, verdict)
		return nil
	}
	defer t.leave()
	e.forward(w, r, t, next)
	return nil
}

// verdict is why a request got no ticket.
type verdict struct {
	entry *hostEntry // nil: the host is unknown
	busy  bool       // too many requests are held
	full  bool       // too many requests are at the upstream
	gone  bool       // the client hung up while it was held
}

// admit gives a ticket once the gate lets the request through. It waits at a
// gate that holds, before anything of the body is read.
func (e *edge) admit(ctx context.Context, host string) (*ticket, verdict) {
	for {
		t := e.board.current.Load()
		entry := t.hosts[host]
		switch {
		case entry == nil:
			return nil, verdict{}
		case entry.redirect != "":
			return nil, verdict{entry: entry}
		case entry.mode(time.Now()) == appliance.GateHold:
			if v, stop := e.wait(ctx, t, entry); stop {
				return nil, v
			}
		case entry.mode(time.Now()) == appliance.GateClosed, entry.upstream == nil:
			return nil, verdict{entry: entry}
		default:
			got, ok := e.board.enter(entry)
			if ok && got == nil {
				e.counters.refused.Add(1)
			}
			if ok {
				return got, verdict{entry: entry, full: got == nil}
			}
		}
	}
}

// wait holds a request until the document changes or the hold expires; it
// reports true when the request must not be held.
func (e *edge) wait(ctx context.Context, t *table, entry *hostEntry) (verdict, bool) {
	if e.counters.held.Add(1) > maxHeld {
		e.counters.held.Add(-1)
		e.counters.refused.Add(1)
		return verdict{entry: entry, busy: true}, true
	}
	defer e.counters.held.Add(-1)
	timer := time.NewTimer(time.Until(entry.gate.Until))
	defer timer.Stop()
	select {
	case <-t.changed:
	case <-timer.C:
	case <-ctx.Done():
		return verdict{entry: entry, gone: true}, true
	case <-e.giveUp:
		return verdict{entry: entry, busy: true}, true
	}
	return verdict{}, false
}

func (e *edge) refuse(w *answer, r *http.Request, v verdict) {
	switch {
	case v.entry == nil:
		e.page(w, r, http.StatusMisdirectedRequest, "edge.page.unknown-host", pageArgs{})
	case v.gone:
		w.status = statusClientGone
	case v.busy:
		e.page(w, r, http.StatusServiceUnavailable, "edge.page.busy", pageArgs{retry: shortRetry})
	case v.full:
		e.page(w, r, http.StatusServiceUnavailable, "edge.page.crowded", pageArgs{retry: shortRetry})
	case v.entry.redirect != "":
		e.securityHeaders(w.Header())
		redirect(w, r, v.entry.redirect)
	case v.entry.mode(time.Now()) != appliance.GateOpen:
		e.maintenance(w, r, v.entry.gate)
	default:
		e.page(w, r, http.StatusServiceUnavailable, "edge.page.starting", pageArgs{retry: shortRetry})
	}
}

// forward sends the request to its upstream and answers what goes wrong there.
func (e *edge) forward(w *answer, r *http.Request, t *ticket, next caddyhttp.Handler) {
	if r.ContentLength > maxBody {
		e.page(w, r, http.StatusRequestEntityTooLarge, "edge.page.too-large", pageArgs{})
		return
	}
	if r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	}
	e.securityHeaders(w.Header())
	ctx := context.WithValue(r.Context(), ticketKey{}, t)
	if isUpgrade(r) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(t.upstream.streams.Load(), cancel)() //nolint:contextcheck // it ends the request's context
	}
	err := next.ServeHTTP(w, r.WithContext(ctx))
	if err == nil || w.wrote {
		return
	}
	e.explain(w, r, err)
}

func (e *edge) explain(w *answer, r *http.Request, err error) {
	var large *http.MaxBytesError
	var known caddyhttp.HandlerError
	status := http.StatusBadGateway
	if errors.As(err, &known) {
		status = known.StatusCode
	}
	w.line.err = err.Error()
	switch {
	case errors.As(err, &large):
		e.page(w, r, http.StatusRequestEntityTooLarge, "edge.page.too-large", pageArgs{})
	case r.Context().Err() != nil:
		w.status = statusClientGone
	case status == http.StatusGatewayTimeout:
		e.page(w, r, status, "edge.page.slow", pageArgs{})
	case status >= 400 && status < 500:
		e.page(w, r, status, "edge.page.bad-request", pageArgs{})
	default:
		e.page(w, r, http.StatusBadGateway, "edge.page.unreachable", pageArgs{retry: shortRetry})
	}
}

// securityHeaders tells browsers to come back over HTTPS only. A box with its
// own authority does not say so: a browser that does not know the authority
// yet would lock its owner out.
func (e *edge) securityHeaders(h http.Header) {
	if e.opts.Settings.TLS == "acme" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// redirect sends the client to the same path at another host, over HTTPS.
// Only 308 keeps the method and the body, but old clients know only 301.
func redirect(w http.ResponseWriter, r *http.Request, host string) {
	status := http.StatusPermanentRedirect
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	w.Header().Set("Location", "https://"+host+r.URL.RequestURI())
	w.WriteHeader(status)
}

// hostOf normalises a Host header: a server name, without the port.
func hostOf(s string) string {
	if h, _, err := net.SplitHostPort(s); err == nil {
		s = h
	}
	return serverName(s)
}

// serverName normalises a name of TLS: lower case, without the dot of a fully
// qualified name. It never has a port: what follows a colon is part of another
// name, for which a certificate of its own would be made.
func serverName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

func isUpgrade(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Method == http.MethodConnect
}

// cleanHeaders drops what a client may not say: who it is and which way it
// came is told to upstreams by the edge alone.
func cleanHeaders(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(h, name)
		}
	}
	for _, name := range []string{
		"Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
		"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "Proxy", "Early-Data", "Via",
	} {
		delete(h, name)
	}
}
