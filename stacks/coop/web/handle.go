// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"rochdale/stacks/coop"
)

const (
	sessionCookie = "__Host-session"
	langCookie    = "__Host-lang"
	markCookie    = "__Host-device"

	// markFor is how long a browser is known again.
	markFor = 365 * 24 * time.Hour
)

// view is a page to show: which one, its heading, what is on it.
type view struct {
	page    string
	heading string            // as people read it
	data    any               // the page's own
	marks   map[string]string // data- attributes of main
	reload  int               // seconds after which it reloads itself; 0 is never
	live    bool
}

// reader answers a GET.
type reader func(r *http.Request, who coop.Member) (view, error)

// writer answers a POST with where to go next.
type writer func(w http.ResponseWriter, r *http.Request, who coop.Member) (string, error)

// get registers a page. who may be nobody: the use case decides.
func (s *Server) get(pattern string, read reader) {
	s.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.who(r)
		if err != nil {
			s.fail(w, r, who, err)
			return
		}
		v, err := read(r, who)
		if err != nil {
			s.fail(w, r, who, err)
			return
		}
		s.show(w, r, who, v, nil)
	})
}

// post registers a form. When it's refused, the page of back is shown again with
// what was written and what is wrong with it.
func (s *Server) post(pattern string, write writer, back reader) {
	s.form(pattern, func(w http.ResponseWriter, r *http.Request, who coop.Member) error {
		to, err := write(w, r, who)
		if err == nil {
			http.Redirect(w, r, to, http.StatusSeeOther)
		}
		return err
	}, back)
}

// reveal registers a form that is answered with what can be shown only once.
func (s *Server) reveal(pattern string, read, back reader) {
	s.form(pattern, func(w http.ResponseWriter, r *http.Request, who coop.Member) error {
		v, err := read(r, who)
		if err == nil {
			s.show(w, r, who, v, nil)
		}
		return err
	}, back)
}

func (s *Server) form(pattern string, answer func(http.ResponseWriter, *http.Request, coop.Member) error, back reader) {
	s.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		who, err := s.who(r)
		if err == nil {
			err = parseForm(r)
		}
		if err != nil {
			s.fail(w, r, who, err)
			return
		}
		if err = answer(w, r, who); err == nil {
			return
		}
		p, known := coop.ProblemOf(err)
		if known && back != nil && (p.Kind == coop.Invalid || p.Kind == coop.Conflict || p.Kind == coop.TooMany || p.Kind == coop.Busy) {
			if v, e := back(r, who); e == nil {
				s.show(w, r, who, v, p)
				return
			}
		}
		s.fail(w, r, who, err)
	})
}

func parseForm(r *http.Request) error {
	err := r.ParseForm()
	var big *http.MaxBytesError
	if errors.As(err, &big) {
		return &coop.Problem{Kind: coop.Invalid, Key: "form_big"}
	}
	if err != nil {
		return &coop.Problem{Kind: coop.Invalid, Key: "form"}
	}
	return nil
}

// who is the signed-in member, or nobody.
func (s *Server) who(r *http.Request) (coop.Member, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" {
		return coop.Member{}, nil //nolint:nilerr // no cookie, nobody
	}
	m, err := s.app.Who(r.Context(), c.Value)
	if p, ok := coop.ProblemOf(err); ok && p.Kind == coop.SignIn {
		return coop.Member{}, nil
	}
	return m, err
}

// signedIn lets the browser keep its session, and a mark that outlives it.
func (s *Server) signedIn(w http.ResponseWriter, r *http.Request, token string) error {
	mark, err := s.app.Mark(r.Context(), token)
	if err != nil {
		return err
	}
	keep(w, sessionCookie, token, coop.SessionFor)
	keep(w, markCookie, mark, markFor)
	return nil
}

// keep sets a cookie; one without a time to live is dropped.
func keep(w http.ResponseWriter, name, value string, ttl time.Duration) {
	age := int(ttl.Seconds())
	if age == 0 {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (s *Server) signedOut(w http.ResponseWriter) { keep(w, sessionCookie, "", 0) }

// fail answers with the page for an error. Whoever has to sign in is sent there
// and comes back afterwards.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, who coop.Member, err error) {
	p, ok := coop.ProblemOf(err)
	if !ok {
		s.cfg.Log.Error("a request failed", "method", r.Method, "route", r.Pattern, "error", err)
		p = &coop.Problem{Key: "ours"}
	}
	if p.Kind == coop.SignIn {
		to := "/sign-in"
		if r.Method == http.MethodGet {
			to += "?next=" + url.QueryEscape(r.URL.Path)
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
		return
	}
	s.show(w, r, who, view{page: "problem", heading: s.words.T(s.lang(r, who), "problem.title")}, p)
}

func status(p *coop.Problem) int {
	if p == nil {
		return http.StatusOK
	}
	switch p.Kind {
	case coop.Invalid:
		return http.StatusUnprocessableEntity
	case coop.Forbidden:
		return http.StatusForbidden
	case coop.NotFound:
		return http.StatusNotFound
	case coop.Conflict:
		return http.StatusConflict
	case coop.TooMany:
		return http.StatusTooManyRequests
	case coop.Busy:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// show renders into memory first, so that a failing template sends no half page.
func (s *Server) show(w http.ResponseWriter, r *http.Request, who coop.Member, v view, p *coop.Problem) {
	var body bytes.Buffer
	if err := s.pages[v.page].ExecuteTemplate(&body, "layout.html", s.paper(r, who, v, p)); err != nil {
		s.cfg.Log.Error("a page failed", "page", v.page, "route", r.Pattern, "error", err)
		http.Error(w, "Something went wrong on our side. Please try again.", http.StatusInternalServerError)
		return
	}
	if p != nil && (p.Kind == coop.TooMany || p.Kind == coop.Busy) {
		w.Header().Set("Retry-After", "60")
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status(p))
	_, _ = w.Write(body.Bytes())
}

// lang is the language of an answer: asked for in the address, chosen before,
// the member's, the browser's, the co-op's.
func (s *Server) lang(r *http.Request, who coop.Member) string {
	if l := r.URL.Query().Get("lang"); s.words.Has(l) {
		return l
	}
	if c, err := r.Cookie(langCookie); err == nil && s.words.Has(c.Value) {
		return c.Value
	}
	if s.words.Has(who.Lang) {
		return who.Lang
	}
	return s.words.Pick(r.Header.Get("Accept-Language"), s.cfg.Lang)
}

func (s *Server) language(w http.ResponseWriter, r *http.Request, _ coop.Member) (string, error) {
	if l := r.PostForm.Get("lang"); s.words.Has(l) {
		keep(w, langCookie, l, 365*24*time.Hour)
	}
	return local(r.PostForm.Get("back")), nil
}

// local keeps redirects on this site.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, `\`) {
		return "/"
	}
	return path
}
