// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
)

// plain is a Hasher for tests that aren't about passwords.
type plain struct{}

func (plain) Hash(_ context.Context, p string) (string, error) { return "plain:" + p, nil }
func (plain) Matches(_ context.Context, p, encoded string) (bool, error) {
	return encoded == "plain:"+p, nil
}

// crew is a platform with one of each role.
type crew struct {
	app                              *coop.App
	admin, merchant, courier, client coop.Member
	shop, item                       string
}

func enlist(tb testing.TB, s *store.Store) crew {
	tb.Helper()
	ctx := tb.Context()
	c := crew{app: coop.New(s, plain{}, coop.Config{Currency: "EUR"})}
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	who := func(token string, err error) coop.Member {
		tb.Helper()
		must(err)
		m, err := c.app.Who(ctx, token)
		must(err)
		return m
	}
	link, err := c.app.NewAdminLink(ctx, false)
	must(err)
	in := func(name string) coop.SignUp {
		return coop.SignUp{Name: name, Email: name + "@example.org", Password: "ten letters", Lang: "en", From: "192.0.2.1/32"}
	}
	c.admin = who(c.app.Join(ctx, link, in("admin")))
	for name, role := range map[string]coop.Role{"merchant": coop.RoleMerchant, "courier": coop.RoleCourier, "client": ""} {
		m := who(c.app.SignUp(ctx, in(name)))
		if role != "" {
			must(c.app.Grant(ctx, c.admin, m.ID, role))
		}
		m = who(c.app.SignIn(ctx, m.Email, "ten letters", coop.Client{Place: "192.0.2.1/32"}))
		*map[string]*coop.Member{"merchant": &c.merchant, "courier": &c.courier, "client": &c.client}[name] = m
	}
	c.shop, err = c.app.AddShop(ctx, c.merchant, "Soups", "1 Market Square")
	must(err)
	must(c.app.AddItem(ctx, c.merchant, c.shop, coop.Item{Name: "Soup", Price: "15,00", Available: true}))
	must(c.app.SetOpening(ctx, c.merchant, c.shop, coop.Open))
	shop, err := c.app.Shop(ctx, c.shop)
	must(err)
	c.item = shop.Menu[0].ID
	return c
}

func (c crew) basket() coop.Basket {
	return coop.Basket{ShopID: c.shop, Quantities: map[string]int64{c.item: 2}, Address: "7 Long Lane", Tip: "2"}
}

func checkWholeOrder(t *testing.T, s *store.Store) {
	ctx, c := t.Context(), enlist(t, s)
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	quote, err := c.app.Quote(ctx, c.client, c.basket())
	step("quote", err)
	id, err := c.app.Place(ctx, c.client, quote)
	step("place", err)
	again, err := c.app.Place(ctx, c.client, quote)
	step("place again", err)
	same(t, again, id)
	step("online", c.app.SetOnline(ctx, c.courier, true))
	step("accept", c.app.AcceptOrder(ctx, c.merchant, id))
	step("accept twice", c.app.AcceptOrder(ctx, c.merchant, id))
	desk, err := c.app.CourierDesk(ctx, c.courier)
	step("desk", err)
	step("take", c.app.AcceptOffer(ctx, c.courier, desk.Offer.ID))
	step("take twice", c.app.AcceptOffer(ctx, c.courier, desk.Offer.ID))
	step("pick up", c.app.PickUp(ctx, c.courier, id))
	mine, err := c.app.Order(ctx, c.client, id)
	step("order", err)
	theirs, err := c.app.Order(ctx, c.courier, id)
	step("order of courier", err)
	same(t, theirs.PIN, "")
	if p, ok := coop.ProblemOf(c.app.Deliver(ctx, c.courier, id, "x"+mine.PIN)); !ok || p.Key != "pin_wrong" {
		t.Error("a wrong PIN delivers")
	}
	step("deliver", c.app.Deliver(ctx, c.courier, id, mine.PIN))
	step("collect", c.app.Collect(ctx, c.courier, id))
	step("collect twice", c.app.Collect(ctx, c.courier, id))
	l, err := c.app.Ledger(ctx, c.admin)
	step("ledger", err)
	same(t, len(l.Transactions), 2)
	same(t, l.Balances, []coop.Balance{
		{Kind: coop.CoopRevenue, Unit: "EUR", Amount: -105}, {Kind: coop.CustomerReceivable, Unit: "EUR", Amount: 0},
		{Kind: coop.ProviderPayable, Unit: "EUR", Amount: -2910}, {Kind: coop.WorkerCash, Unit: "EUR", Amount: 3700}, {Kind: coop.WorkerPayable, Unit: "EUR", Amount: -685}})
	key := coop.NewKey()
	step("hand in", c.app.HandIn(ctx, c.admin, c.courier.ID, "37", key))
	step("hand in, sent twice", c.app.HandIn(ctx, c.admin, c.courier.ID, "37", key))
	l, err = c.app.Ledger(ctx, c.admin)
	step("ledger after", err)
	same(t, []any{len(l.Transactions), len(l.Holders), l.Unbalanced}, []any{3, 0, int64(0)})
	a, err := c.app.Audit(ctx, c.admin)
	step("audit", err)
	same(t, a.Good(), true)
	avail, err := c.app.CourierDesk(ctx, c.courier)
	step("desk after", err)
	if len(avail.Jobs) != 0 || time.Since(avail.Availability.IdleSince) > time.Minute {
		t.Errorf("the courier isn't free again: %+v", avail)
	}
}
