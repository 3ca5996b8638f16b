// SPDX-License-Identifier: AGPL-3.0-or-later

package walk_test

import (
	"net/http"
	"strings"
	"testing"

	"rochdale/stacks/coop/walk"
)

func TestScribe(t *testing.T) {
	app, srv := platform(t)
	ctx := t.Context()
	link, err := app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	o := walk.Options{BaseURL: srv.URL, Transport: srv.Client().Transport.(*http.Transport), JoinPath: "/join/" + link, Unique: "s"}
	s, err := walk.NewScribe(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
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
