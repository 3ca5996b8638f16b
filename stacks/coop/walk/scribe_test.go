// SPDX-License-Identifier: AGPL-3.0-or-later

package walk_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"rochdale/stacks/coop/walk"
)

// scribe gives one that writes to a platform of its own.
func scribe(t *testing.T) (*walk.Scribe, *httptest.Server) {
	t.Helper()
	app, srv := platform(t)
	link, err := app.NewAdminLink(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	o := walk.Options{BaseURL: srv.URL, Transport: srv.Client().Transport.(*http.Transport), JoinPath: "/join/" + link, Unique: "s"}
	s, err := walk.NewScribe(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s, srv
}

func TestScribe(t *testing.T) {
	s, srv := scribe(t)
	ctx := t.Context()
	for range 155 { // more than a menu takes
		if err := s.Write(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if s.Acknowledged() != 155 {
		t.Errorf("%d writes were acknowledged", s.Acknowledged())
	}
	if err := s.Check(ctx); err != nil {
		t.Error(err)
	}
	s.Pretend("Dish 000900")
	if err := s.Check(ctx); err == nil || !strings.Contains(err.Error(), "Dish 000900 was acknowledged and is there 0 times") {
		t.Errorf("a lost write is not noticed: %v", err)
	}
	srv.Close()
	if err := s.Write(ctx); err == nil || s.Acknowledged() != 156 {
		t.Errorf("a write that nobody took counts: %v, %d", err, s.Acknowledged())
	}
}

func TestScribeForgets(t *testing.T) {
	s, _ := scribe(t)
	ctx := t.Context()
	write := func(n int) {
		t.Helper()
		for range n {
			if err := s.Write(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(155)
	before := s.Shops()
	s.Forget(152) // the second shop had dishes then
	if !slices.Equal(s.Shops(), before) || s.Acknowledged() != 152 {
		t.Errorf("shops %v, %d writes", s.Shops(), s.Acknowledged())
	}
	s.Forget(150)
	write(2)
	now := s.Shops()
	if len(now) != 2 || now[0] != before[0] || now[1] == before[1] || s.Acknowledged() != 152 {
		t.Errorf("shops %v, and %v before; %d writes", now, before, s.Acknowledged())
	}
	s.Forget(900) // more than there are
	if err := s.Check(ctx); err != nil || s.Acknowledged() != 152 {
		t.Errorf("%d writes, %v", s.Acknowledged(), err)
	}
}
