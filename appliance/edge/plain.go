// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"rochdale/appliance"
)

// plain is the handler of port 80: the root certificate, and the way to HTTPS.
// Caddy answers the authority's validations before it.
type plain struct{ seat *seat }

var _ caddyhttp.MiddlewareHandler = (*plain)(nil)

// CaddyModule implements caddy.Module.
func (p *plain) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.rochdale_plain", New: func() caddy.Module { return &plain{seat: p.seat} }}
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (p *plain) ServeHTTP(rw http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	e := p.seat.edge()
	w := newAnswer(rw, r, e)
	defer w.finish()
	host := hostOf(r.Host)
	w.line.host = host
	entry := e.board.current.Load().hosts[host]
	switch {
	case r.URL.Path == appliance.RootPath && e.opts.Settings.TLS == "internal":
		e.serveRoot(w, r)
	case entry == nil:
		e.page(w, r, http.StatusNotFound, "edge.page.unknown-host", pageArgs{})
	case entry.redirect != "":
		redirect(w, r, entry.redirect)
	default:
		redirect(w, r, entry.name)
	}
	return nil
}

func (e *edge) serveRoot(w *answer, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		e.page(w, r, http.StatusMethodNotAllowed, "edge.page.bad-request", pageArgs{})
		return
	}
	pem, err := e.rootPEM()
	if err != nil {
		e.page(w, r, http.StatusServiceUnavailable, "edge.page.starting", pageArgs{retry: shortRetry})
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	w.Header().Set("Content-Disposition", `attachment; filename="rochdale-root.crt"`)
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(pem) // the client may be gone
}
