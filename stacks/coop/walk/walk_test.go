// SPDX-License-Identifier: AGPL-3.0-or-later

package walk_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/password"
	"rochdale/stacks/coop/store/storetest"
	"rochdale/stacks/coop/walk"
	"rochdale/stacks/coop/web"
)

func platform(t *testing.T) (*coop.App, *httptest.Server) {
	t.Helper()
	app := coop.New(storetest.SQLite(t), password.New(), coop.Config{Currency: "EUR"})
	h, err := web.New(app, web.Config{Name: "Rides", Lang: "en", Zone: time.UTC, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	return app, srv
}

func TestOrder(t *testing.T) {
	app, srv := platform(t)
	ctx := t.Context()
	link, err := app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	o := walk.Options{BaseURL: srv.URL, Transport: srv.Client().Transport.(*http.Transport), JoinPath: "/join/" + link, Unique: "A1", Say: func(s string) { t.Log(s) }}
	first, err := walk.Order(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if first.Total != 3700 || first.Commission != 105 || first.Provider != 2910 || first.Worker != 685 {
		t.Errorf("the shares aren't those of the worked example without a fund: %+v", first)
	}
	if err := walk.Verify(ctx, o, first); err != nil {
		t.Error(err)
	}
	o.JoinPath, o.Admin, o.Unique = "", first.Admin, "A2"
	if _, err := walk.Order(ctx, o); err != nil {
		t.Errorf("a second walk on the same platform: %v", err)
	}
	if err := walk.Verify(ctx, o, first); err != nil {
		t.Errorf("after another order: %v", err)
	}
}

func TestVerifyNotices(t *testing.T) {
	app, srv := platform(t)
	ctx := t.Context()
	link, err := app.NewAdminLink(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	o := walk.Options{BaseURL: srv.URL, Transport: srv.Client().Transport.(*http.Transport), JoinPath: "/join/" + link, Unique: "b"}
	r, err := walk.Order(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*walk.Receipt){
		"total":   func(r *walk.Receipt) { r.Total++ },
		"order":   func(r *walk.Receipt) { r.OrderID = "01ARZ3NDEKTSV4RRFFQ69G5FAV" },
		"posting": func(r *walk.Receipt) { r.Postings = r.Postings[1:] },
	} {
		bad := r
		spoil(&bad)
		if walk.Verify(ctx, o, bad) == nil {
			t.Errorf("a wrong %s isn't noticed", name)
		}
	}
	if _, err := walk.Order(ctx, o); err == nil {
		t.Error("a used link works again")
	}
}
