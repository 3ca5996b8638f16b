// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store/storetest"
	"rochdale/stacks/coop/web"
)

func TestSessionCookie(t *testing.T) {
	s := newSite(t)
	resp, _ := s.ask(t, "POST", "/sign-up", newcomer("ann"), nil)
	c := resp.Cookies()[0]
	if c.Name != "__Host-session" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || len(c.Value) < 43 {
		t.Errorf("%+v", c)
	}
	if mark := resp.Cookies()[1]; mark.Name != "__Host-device" || !mark.Secure || !mark.HttpOnly || mark.MaxAge < 364*24*3600 {
		t.Errorf("%+v", mark)
	}
	cookie := map[string]string{"Cookie": c.Name + "=" + c.Value}
	if resp, _ := s.ask(t, "GET", "/orders", nil, cookie); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if resp, _ := s.ask(t, "POST", "/sign-out", nil, cookie); resp.Cookies()[0].MaxAge >= 0 {
		t.Error("the cookie stays")
	}
	if resp, _ := s.ask(t, "GET", "/orders", nil, cookie); resp.StatusCode != 303 {
		t.Error("the session outlives signing out")
	}
}

func TestLimits(t *testing.T) {
	s := newSite(t)
	for i := range 11 {
		resp, _ := s.ask(t, "POST", "/sign-in", newcomer("ann"), nil)
		if want := map[bool]int{true: 422, false: 429}[i < 10]; resp.StatusCode != want {
			t.Errorf("try %d: %s", i+1, resp.Status)
		}
		if i == 10 && resp.Header.Get("Retry-After") == "" {
			t.Error("it isn't said when to try again")
		}
	}
}

// TestOwnBrowser: the browser that signed in before isn't kept out by others.
func TestOwnBrowser(t *testing.T) {
	s := newSite(t)
	resp, _ := s.ask(t, "POST", "/sign-up", newcomer("ben"), nil)
	mark := map[string]string{"Cookie": "__Host-device=" + resp.Cookies()[1].Value}
	wrong := url.Values{"email": {"ben@example.org"}, "password": {"not this"}}
	for range 10 {
		s.ask(t, "POST", "/sign-in", wrong, nil)
	}
	if resp, _ := s.ask(t, "POST", "/sign-in", newcomer("ben"), nil); resp.StatusCode != 429 {
		t.Errorf("a browser nobody knows: %s", resp.Status)
	}
	if resp, _ := s.ask(t, "POST", "/sign-in", newcomer("ben"), mark); resp.StatusCode != 303 {
		t.Errorf("the member's own browser: %s", resp.Status)
	}
}

// TestResetPages: an admin is shown a link once, and a member comes in by it.
func TestResetPages(t *testing.T) {
	s, ctx := newSite(t), t.Context()
	link, err := s.app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	resp, _ := s.ask(t, "POST", "/join/"+link, newcomer("ada"), nil)
	admin := map[string]string{"Cookie": "__Host-session=" + resp.Cookies()[0].Value}
	resp, _ = s.ask(t, "POST", "/sign-up", newcomer("ben"), nil)
	old := map[string]string{"Cookie": "__Host-session=" + resp.Cookies()[0].Value}
	ben, err := s.app.Who(ctx, resp.Cookies()[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	form := "/members/" + ben.ID + "/reset"
	if resp, _ := s.ask(t, "POST", form, nil, old); resp.StatusCode != 403 {
		t.Errorf("a member makes a link: %s", resp.Status)
	}
	resp, body := s.ask(t, "POST", form, nil, admin)
	found := regexp.MustCompile(`<code data-link>https://rides\.example(/reset/[\w-]{43})</code>`).FindStringSubmatch(body)
	if resp.StatusCode != 200 || found == nil || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	for _, c := range []struct {
		method   string
		password string
		status   int
		says     string
	}{
		{"GET", "", 200, "New password for ben"},
		{"POST", "short", 422, "at least 10"},
		{"POST", "another long one", 303, ""},
		{"POST", "another long one", 404, "doesn’t work any more"},
		{"GET", "", 404, "doesn’t work any more"},
	} {
		resp, body := s.ask(t, c.method, found[1], url.Values{"password": {c.password}}, nil)
		if resp.StatusCode != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%+v: %s\n%s", c, resp.Status, body)
		}
		for _, fault := range faults(body, "en") {
			if c.status != 303 {
				t.Errorf("%+v: %s", c, fault)
			}
		}
	}
	if resp, _ := s.ask(t, "GET", "/orders", nil, old); resp.StatusCode != 303 {
		t.Errorf("the old session: %s", resp.Status)
	}
	if resp, _ := s.ask(t, "POST", "/sign-in", url.Values{"email": {"ben@example.org"}, "password": {"another long one"}}, nil); resp.StatusCode != 303 {
		t.Errorf("the new password: %s", resp.Status)
	}
}

// TestStrangersWriteNothing: no form that somebody without an account sends makes
// a transaction that writes, whatever cookies they make up.
func TestStrangersWriteNothing(t *testing.T) {
	source, err := os.ReadFile("routes.go")
	if err != nil {
		t.Fatal(err)
	}
	db := &counting{Store: storetest.SQLite(t)}
	h, err := web.New(coop.New(db, plain{}, coop.Config{Currency: "EUR"}), web.Config{Name: "x", Lang: "en", Zone: time.UTC, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"name": {"x"}, "email": {"x@example.org"}, "password": {"short"}, "reason": {"because"}, "pin": {"1234"}, "address": {"7 Long Lane"}, "role": {"admin"}, "opening": {"open"}, "amount": {"1"}, "key": {"0123456789"}, "courier": {"x"}, "price": {"1"}}
	routes := regexp.MustCompile(`s\.(?:post|reveal)\("([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	for _, m := range routes {
		path := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(m[1], "x")
		for _, cookie := range []string{"", "__Host-session=made-up; __Host-device=a.b"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Cookie", cookie)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if db.writes != 0 || w.Code == http.StatusMethodNotAllowed || w.Code >= 500 {
				t.Errorf("%s: %d, and %d transactions that write", path, w.Code, db.writes)
			}
			db.writes = 0
		}
	}
	if len(routes) < 25 {
		t.Errorf("only %d forms were found", len(routes))
	}
}

// counting counts the transactions that write.
type counting struct {
	coop.Store
	writes int
}

func (s *counting) Write(ctx context.Context, fn func(coop.Tx) error) error {
	s.writes++
	return s.Store.Write(ctx, fn)
}
