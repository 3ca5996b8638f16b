// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
	"rochdale/stacks/coop/web"
)

// page is one answer of the story.
type page struct {
	name   string
	status int
	body   string
	header http.Header
}

// teller tells the story of a co-op's first day through its pages, and keeps
// every page in every state that it goes through.
type teller struct {
	t      *testing.T
	app    *coop.App
	pages  http.Handler
	tokens map[string]string
	told   []page
	shop   string // its path, as its owner opens it
	id     string // of the shop
	soup   string // an item's id
}

// story runs in a bubble, where the clock moves only when everything waits: each
// telling is the same but for its random ids.
func story(t *testing.T, lang string) (told []page) {
	t.Helper()
	path := storetest.SQLiteFile(t)
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), "sqlite:"+path, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		s := &teller{t: t, app: coop.New(db, plain{}, coop.Config{Currency: "EUR"}), tokens: map[string]string{}}
		s.pages, err = web.New(s.app, web.Config{Name: "Rides & Co", Lang: lang, Zone: time.UTC, BaseURL: "https://rides.example", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for _, chapter := range []func(){s.begins, s.people, s.shops, s.ordering, s.riding, s.pin, s.money, s.endings, s.admins, s.strangers} {
			chapter()
		}
		s.spoilt(path)
		told = s.told
	})
	return told
}

// plain is a Hasher for tests that aren't about passwords.
type plain struct{}

func (plain) Hash(_ context.Context, p string) (string, error) { return "plain:" + p, nil }
func (plain) Matches(_ context.Context, p, encoded string) (bool, error) {
	return encoded == "plain:"+p, nil
}

func (s *teller) ask(role, path string, form url.Values) (int, http.Header, string) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequestWithContext(s.t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if token := s.tokens[role]; token != "" {
		r.Header.Set("Cookie", "__Host-session="+token)
	}
	w := httptest.NewRecorder()
	s.pages.ServeHTTP(w, r)
	time.Sleep(time.Second) // so that things have an order in time
	resp := w.Result()
	defer func() { _ = resp.Body.Close() }()
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-session" {
			s.tokens[role] = c.Value
		}
	}
	return resp.StatusCode, resp.Header, w.Body.String()
}

// shot keeps a page as somebody sees it.
func (s *teller) shot(name, role, path string) { s.t.Helper(); s.keep(name, role, path, nil) }

// sent keeps the answer to a form that is refused or that shows something once.
func (s *teller) sent(name, role, path string, fields ...string) {
	s.t.Helper()
	s.keep(name, role, path, pairs(fields))
}

func (s *teller) keep(name, role, path string, form url.Values) {
	s.t.Helper()
	code, header, body := s.ask(role, path, form)
	if code == http.StatusSeeOther || body == "" {
		s.t.Fatalf("%s: %d to %q", name, code, header.Get("Location"))
	}
	s.told = append(s.told, page{name, code, body, header})
}

// do sends a form that is taken, and returns where it leads.
func (s *teller) do(role, path string, fields ...string) string {
	s.t.Helper()
	code, header, body := s.ask(role, path, pairs(fields))
	if code != http.StatusSeeOther {
		s.t.Fatalf("%s sends %v to %s: %d\n%s", role, fields, path, code, body)
	}
	return header.Get("Location")
}

func pairs(fields []string) url.Values {
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

func (s *teller) who(role string) coop.Member {
	s.t.Helper()
	m, err := s.app.Who(s.t.Context(), s.tokens[role])
	s.check(err)
	return m
}

func (s *teller) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestStory checks that the story is one: no page is told twice under one name.
func TestStory(t *testing.T) {
	names := map[string]bool{}
	for _, p := range story(t, "en") {
		if names[p.name] {
			t.Errorf("%s is told twice", p.name)
		}
		names[p.name] = true
		if strings.HasSuffix(p.name, "refused") && p.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", p.name, p.status)
		}
	}
}
