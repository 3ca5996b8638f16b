// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"

	"rochdale/stacks/coop"
)

func (s *Server) newcomer(r *http.Request, who coop.Member) coop.SignUp {
	f := r.PostForm
	return coop.SignUp{Name: f.Get("name"), Email: f.Get("email"), Password: f.Get("password"), Lang: s.lang(r, who), From: s.place(r)}
}

// entry is what the pages to come in by know beside their fields.
type entry struct {
	Next string // where one goes afterwards
	Join bool   // by a link that makes an admin
}

// next is where somebody wanted to go when they were asked to come in first.
func next(r *http.Request) string {
	if r.PostForm != nil {
		return local(r.PostForm.Get("next"))
	}
	return local(r.URL.Query().Get("next"))
}

func (s *Server) signUpPage(r *http.Request, who coop.Member) (view, error) {
	return view{page: "sign_up", heading: s.say(r, who, "sign_up.title"), data: entry{Next: next(r)}}, nil
}

func (s *Server) signUp(w http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	token, err := s.app.SignUp(r.Context(), s.newcomer(r, who))
	if err != nil {
		return "", err
	}
	return next(r), s.signedIn(w, r, token)
}

// joinPage checks the link before anybody writes anything.
func (s *Server) joinPage(r *http.Request, who coop.Member) (view, error) {
	if err := s.app.LinkWorks(r.Context(), r.PathValue("token"), s.place(r)); err != nil {
		return view{}, err
	}
	return s.joinForm(r, who)
}

func (s *Server) joinForm(r *http.Request, who coop.Member) (view, error) {
	return view{page: "sign_up", heading: s.say(r, who, "join.title"), data: entry{Join: true}}, nil
}

func (s *Server) join(w http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	token, err := s.app.Join(r.Context(), r.PathValue("token"), s.newcomer(r, who))
	if err != nil {
		return "", err
	}
	return "/members", s.signedIn(w, r, token)
}

func (s *Server) resetPage(r *http.Request, who coop.Member) (view, error) {
	m, err := s.app.ResetWorks(r.Context(), r.PathValue("token"), s.place(r))
	return view{page: "reset", heading: s.say(r, who, "reset.title", "name", m.Name), data: m}, err
}

func (s *Server) reset(w http.ResponseWriter, r *http.Request, _ coop.Member) (string, error) {
	token, err := s.app.Reset(r.Context(), r.PathValue("token"), r.PostForm.Get("password"), s.place(r))
	if err != nil {
		return "", err
	}
	return "/", s.signedIn(w, r, token)
}

func (s *Server) signInPage(r *http.Request, who coop.Member) (view, error) {
	return view{page: "sign_in", heading: s.say(r, who, "nav.sign_in"), data: entry{Next: next(r)}}, nil
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request, _ coop.Member) (string, error) {
	f := r.PostForm
	token, err := s.app.SignIn(r.Context(), f.Get("email"), f.Get("password"), s.client(r))
	if err != nil {
		return "", err
	}
	return next(r), s.signedIn(w, r, token)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request, who coop.Member) (string, error) {
	if c, err := r.Cookie(sessionCookie); err == nil && who.ID != "" {
		if err := s.app.SignOut(r.Context(), c.Value); err != nil {
			return "", err
		}
	}
	s.signedOut(w)
	return "/", nil
}
