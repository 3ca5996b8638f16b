// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"database/sql"
	"fmt"
	"testing"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
)

// TestNobodyElse: what isn't yours looks as if it weren't there, and what isn't
// your role is refused.
func TestNobodyElse(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
	other := c.moreCouriers(t, "other")[0]
	job := c.taken(t)
	quote, err := c.app.Quote(ctx, c.client, c.basket())
	if err != nil {
		t.Fatal(err)
	}
	nobody := coop.Member{}
	for _, call := range []struct {
		name string
		err  error
		want string
	}{
		{"another's order", second(c.app.Order(ctx, other, job)), "no_order"},
		{"nobody's order", second(c.app.Order(ctx, nobody, job)), "no_order"},
		{"another picks up", c.app.PickUp(ctx, other, job), "no_order"},
		{"the customer picks up", c.app.PickUp(ctx, c.client, job), "not_yours"},
		{"the customer cancels", c.app.CancelOrder(ctx, c.client, job, ""), "not_yours"},
		{"another's quote", second(c.app.Place(ctx, other, quote)), "no_quote"},
		{"another's shop", c.app.SetOpening(ctx, c.client, c.shop, coop.Paused), "role"},
		{"another's shop's item", c.app.AddItem(ctx, other, c.shop, coop.Item{Name: "x", Price: "1"}), "role"},
		{"a customer's shop", second(c.app.AddShop(ctx, c.client, "x", "somewhere")), "role"},
		{"a courier's grant", c.app.Grant(ctx, other, other.ID, coop.RoleAdmin), "role"},
		{"a courier's ledger", second(c.app.Ledger(ctx, other)), "role"},
		{"a courier's settings", c.app.ChangeSettings(ctx, other, nil, "because"), "role"},
		{"a shop's reversal", c.app.Reverse(ctx, c.merchant, "x", "because"), "role"},
		{"a customer's offers", second(c.app.CourierDesk(ctx, c.client)), "role"},
		{"nobody's quote", second(c.app.Quote(ctx, nobody, c.basket())), "sign_in"},
		{"the last admin leaves", c.app.Revoke(ctx, c.admin, c.admin.ID, coop.RoleAdmin), "last_admin"},
		{"an unknown role", c.app.Grant(ctx, c.admin, other.ID, "king"), "no_such_role"},
		{"an admin's audit", second(c.app.Audit(ctx, c.admin)), "<nil>"},
		{"an admin cancels", c.app.CancelOrder(ctx, c.admin, job, "ill"), "<nil>"},
		{"cancelled is over", c.app.PickUp(ctx, c.courier, job), "moved_on"},
		{"somebody else's account", second(c.app.SignUp(ctx, coop.SignUp{Name: "x", Email: "CLIENT@example.org", Password: "0123456789"})), "email_taken"},
	} {
		if got := key(call.err); got != call.want {
			t.Errorf("%s: %s and not %s", call.name, got, call.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestBaskets(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
	for name, want := range map[string]struct {
		change func(*coop.Basket)
		key    string
	}{
		"as it is":        {func(*coop.Basket) {}, "<nil>"},
		"nothing":         {func(b *coop.Basket) { b.Quantities = nil }, "empty_basket"},
		"only zeros":      {func(b *coop.Basket) { b.Quantities[c.item] = 0 }, "empty_basket"},
		"less than none":  {func(b *coop.Basket) { b.Quantities[c.item] = -1 }, "quantity"},
		"too many":        {func(b *coop.Basket) { b.Quantities[c.item] = 51 }, "quantity"},
		"unknown item":    {func(b *coop.Basket) { b.Quantities["x"] = 1 }, "menu_changed"},
		"no address":      {func(b *coop.Basket) { b.Address = "  " }, "empty"},
		"odd address":     {func(b *coop.Basket) { b.Address = "somewhere\x00" }, "odd_characters"},
		"a negative tip":  {func(b *coop.Basket) { b.Tip = "-1" }, "price"},
		"no such shop":    {func(b *coop.Basket) { b.ShopID = "x" }, "no_shop"},
		"endless address": {func(b *coop.Basket) { b.Address = fmt.Sprintf("%0300d", 1) }, "too_long"},
	} {
		b := c.basket()
		want.change(&b)
		if got := key(second(c.app.Quote(ctx, c.client, b))); got != want.key {
			t.Errorf("%s: %s and not %s", name, got, want.key)
		}
	}
	quote, err := c.app.Quote(ctx, c.client, c.basket())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.app.SetOpening(ctx, c.merchant, c.shop, coop.Paused); err != nil {
		t.Fatal(err)
	}
	if got := key(second(c.app.Place(ctx, c.client, quote))); got != "shop_paused" {
		t.Errorf("a paused shop: %s", got)
	}
}

// TestSettingsFromNowOn: an order keeps the price that it was quoted at.
func TestSettingsFromNowOn(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
	before, err := c.app.Quote(ctx, c.client, c.basket())
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	for _, s := range coop.Schema() {
		written[s.Key] = s.Show(s.Default, "EUR")
	}
	written[coop.KeyFund], written[coop.KeyFundFrom] = "1", string(coop.FromPayees)
	if err := c.app.ChangeSettings(ctx, c.admin, written, "voted on Monday"); err != nil {
		t.Fatal(err)
	}
	after, err := c.app.Quote(ctx, c.client, c.basket())
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]coop.Shares{before: {Provider: 2910, Worker: 685, Coop: 105}, after: {Provider: 2880, Worker: 680, Coop: 105, Fund: 35}} {
		q, _, err := c.app.QuoteOf(ctx, c.client, id)
		if err != nil || q.Shares != want {
			t.Errorf("%+v, %v and not %+v", q.Shares, err, want)
		}
	}
	written[coop.KeyCommission] = "26"
	if got := key(c.app.ChangeSettings(ctx, c.admin, written, "too much")); got != "setting" {
		t.Error(got)
	}
}

// TestAudit: a changed, a missing and an unbalanced line are found.
func TestAudit(t *testing.T) {
	for name, spoil := range map[string]string{
		"changed":    "update events set data = '{\"total\":\"1.00\"}' where kind = 'job.place'",
		"missing":    "delete from events where seq = 3",
		"renumbered": "update events set seq = 1000 where seq = 4",
		"unbalanced": "update postings set amount = amount + 1 where place = 1",
	} {
		t.Run(name, func(t *testing.T) {
			path := storetest.SQLiteFile(t)
			c, ctx := enlist(t, storetest.Open(t, "sqlite:"+path)), t.Context()
			job := c.taken(t)
			v, err := c.app.Order(ctx, c.client, job)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{c.app.PickUp(ctx, c.courier, job), c.app.Deliver(ctx, c.courier, job, v.PIN), c.app.Collect(ctx, c.courier, job)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if a, err := c.app.Audit(ctx, c.admin); err != nil || !a.Good() || a.Events < 10 {
				t.Fatalf("%+v, %v", a, err)
			}
			db, err := sql.Open("sqlite", store.SQLiteDSN(path))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if _, err := db.Exec(spoil); err != nil {
				t.Fatal(err)
			}
			if a, err := c.app.Audit(ctx, c.admin); err != nil || a.Good() {
				t.Errorf("nothing is found: %+v, %v", a, err)
			}
		})
	}
}

// TestReverse: a reversal posts the opposite, once.
func TestReverse(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
	job := c.taken(t)
	v, err := c.app.Order(ctx, c.client, job)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{c.app.PickUp(ctx, c.courier, job), c.app.Deliver(ctx, c.courier, job, v.PIN), c.app.Collect(ctx, c.courier, job)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	l, err := c.app.Ledger(ctx, c.admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range l.Transactions {
		for range 2 {
			if err := c.app.Reverse(ctx, c.admin, x.ID, "never arrived"); err != nil {
				t.Fatal(err)
			}
		}
	}
	l, err = c.app.Ledger(ctx, c.admin)
	if err != nil {
		t.Fatal(err)
	}
	same(t, len(l.Transactions), 4)
	for _, b := range l.Balances {
		if b.Amount != 0 {
			t.Errorf("after reversing everything %s holds %d", b.Kind, b.Amount)
		}
	}
	if got := key(c.app.Reverse(ctx, c.admin, l.Transactions[0].ID, "again")); got != "is_reversal" {
		t.Error(got)
	}
}
