// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/text"
)

//go:embed pages/*.html style.css
var files embed.FS

// Config is how the pages present themselves.
type Config struct {
	Name     string         // the co-op's name, in every heading
	Lang     string         // language when the browser asks for none that we have
	Zone     *time.Location // in which times are shown
	Proxies  []netip.Prefix // whose X-Forwarded-For is believed
	Log      *slog.Logger
	BaseURL  string // "" or the address that people use, whose origin may post
	BodySize int64  // most bytes of a form; 0 is 64 KiB
}

// Server is the pages over the platform.
type Server struct {
	app   *coop.App
	cfg   Config
	words text.Catalogues
	pages map[string]*template.Template
	style []byte
	tag   string // of the style sheet's content
	mux   *http.ServeMux
}

// New returns the handler of all routes.
func New(app *coop.App, cfg Config) (http.Handler, error) {
	words, err := text.Load()
	if err != nil {
		return nil, err
	}
	if cfg.BodySize == 0 {
		cfg.BodySize = 64 << 10
	}
	s := &Server{app: app, cfg: cfg, words: words, mux: http.NewServeMux()}
	if s.pages, err = parse(); err != nil {
		return nil, err
	}
	if s.style, err = files.ReadFile("style.css"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(s.style)
	s.tag = hex.EncodeToString(sum[:6])
	s.routes()
	guard := http.NewCrossOriginProtection()
	if cfg.BaseURL != "" {
		if err := guard.AddTrustedOrigin(strings.TrimSuffix(cfg.BaseURL, "/")); err != nil {
			return nil, fmt.Errorf("web: the base address %q isn't an origin like https://rides.example: %w", cfg.BaseURL, err)
		}
	}
	guard.SetDenyHandler(http.HandlerFunc(s.foreign))
	return s.around(guard.Handler(s.mux)), nil
}

// parse makes one template set a page: the layout, the shared parts, the page.
func parse() (map[string]*template.Template, error) {
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	out := map[string]*template.Template{}
	for _, name := range names {
		page := strings.TrimSuffix(strings.TrimPrefix(name, "pages/"), ".html")
		if page == "layout" || page == "breakdown" {
			continue
		}
		t, err := template.ParseFS(files, "pages/layout.html", "pages/breakdown.html", name)
		if err != nil {
			return nil, err
		}
		out[page] = t
	}
	return out, nil
}

// around sets what every answer carries, bounds what is read, and logs failures.
func (s *Server) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, s.cfg.BodySize)
		defer func() {
			if v := recover(); v != nil {
				s.cfg.Log.Error("a page failed", "method", r.Method, "route", r.Pattern, "panic", v)
				http.Error(w, "Something went wrong on our side. Please try again.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) foreign(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, coop.Member{}, &coop.Problem{Kind: coop.Forbidden, Key: "foreign"})
}

func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := s.app.Healthy(ctx); err != nil {
		s.cfg.Log.Error("not healthy", "error", err)
		http.Error(w, "not healthy", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (s *Server) stylesheet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(s.style)
}
