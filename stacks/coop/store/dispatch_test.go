// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
)

// key is the problem's key in an error, or what else it is.
func key(err error) string {
	if p, ok := coop.ProblemOf(err); ok {
		return p.Key
	}
	return fmt.Sprint(err)
}

func (c crew) moreCouriers(t *testing.T, names ...string) (list []coop.Member) {
	t.Helper()
	ctx := context.Background()
	for _, name := range names {
		token, err := c.app.SignUp(ctx, coop.SignUp{Name: name, Email: name + "@example.org", Password: "ten letters", From: "198.51.100.1/32"})
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.app.Who(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.app.Grant(ctx, c.admin, m.ID, coop.RoleCourier); err != nil {
			t.Fatal(err)
		}
		if m, err = c.app.Who(ctx, token); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func (c crew) order(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	q, err := c.app.Quote(ctx, c.client, c.basket())
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.app.Place(ctx, c.client, q)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (c crew) offer(t *testing.T, who coop.Member) *coop.OfferedJob {
	t.Helper()
	d, err := c.app.CourierDesk(context.Background(), who)
	if err != nil {
		t.Fatal(err)
	}
	return d.Offer
}

// inTime runs a test on SQLite with a clock that only moves when all wait.
func inTime(t *testing.T, fn func(t *testing.T, s *store.Store, c crew)) {
	t.Helper()
	path := storetest.SQLiteFile(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(t.Context(), "sqlite:"+path, "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		fn(t, s, enlist(t, s))
	})
}

// TestQueue: the longest idle is asked first; who passes keeps their place; who
// doesn't answer is asked again only after everybody else.
func TestQueue(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := context.Background()
		who := c.moreCouriers(t, "first", "second")
		for _, m := range who {
			if err := c.app.SetOnline(ctx, m, true); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		job := c.order(t)
		if err := c.app.AcceptOrder(ctx, c.merchant, job); err != nil {
			t.Fatal(err)
		}
		o := c.offer(t, who[0])
		if o == nil || o.Reason != (coop.Reason{IdleSeconds: 120, Candidates: 2}) || o.Rule != coop.QueueRule || o.Job.PIN != "" {
			t.Fatalf("the longest idle isn't asked first, or not told why: %+v", o)
		}
		time.Sleep(59 * time.Second)
		if err := c.app.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		if c.offer(t, who[0]) == nil {
			t.Error("the offer ran out early")
		}
		time.Sleep(time.Second)
		if got := key(c.app.AcceptOffer(ctx, who[0], o.ID)); got != "offer_gone" {
			t.Errorf("an offer that ran out is accepted: %s", got)
		}
		if err := c.app.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		next := c.offer(t, who[1])
		if next == nil || c.offer(t, who[0]) != nil {
			t.Fatal("the second isn't asked after the first didn't answer")
		}
		if got := key(c.app.AcceptOffer(ctx, who[0], next.ID)); got != "no_offer" {
			t.Errorf("somebody else's offer is accepted: %s", got)
		}
		if err := c.app.DeclineOffer(ctx, who[1], next.ID); err != nil {
			t.Fatal(err)
		}
		again := c.offer(t, who[0])
		if again == nil || again.Reason.AskedBefore != 1 {
			t.Fatalf("the first isn't asked again when nobody else is left: %+v", again)
		}
		if err := c.app.SetOnline(ctx, who[0], false); err != nil {
			t.Fatal(err)
		}
		if c.offer(t, who[0]) != nil || c.offer(t, who[1]) != nil {
			t.Error("the offer wasn't passed on, or went to who declined it")
		}
		if err := c.app.SetOnline(ctx, c.courier, true); err != nil {
			t.Fatal(err)
		}
		if o := c.offer(t, c.courier); o == nil || key(c.app.AcceptOffer(ctx, c.courier, o.ID)) != "<nil>" {
			t.Error("a courier who comes online isn't asked about a waiting job")
		}
		second := c.order(t)
		if err := c.app.AcceptOrder(ctx, c.merchant, second); err != nil {
			t.Fatal(err)
		}
		if o := c.offer(t, who[1]); o == nil || o.Reason.IdleSeconds != 120 {
			t.Errorf("who declined lost their place, or isn't asked about the next job: %+v", o)
		}
	})
}

func TestLinksAndSessionsEnd(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := context.Background()
		if _, err := c.app.NewAdminLink(ctx, false); key(err) != "has_admin" {
			t.Errorf("a second first admin: %v", err)
		}
		old, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		link, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := key(c.app.LinkWorks(ctx, old, "x")); got != "link" {
			t.Errorf("an older link still works: %s", got)
		}
		time.Sleep(coop.LinkFor - time.Second)
		if err := c.app.LinkWorks(ctx, link, "x"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if got := key(c.app.LinkWorks(ctx, link, "x")); got != "link" {
			t.Errorf("a link outlives its day: %s", got)
		}
		token, err := c.app.SignIn(ctx, "client@example.org", "ten letters", "x")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(coop.SessionFor)
		if _, err := c.app.Who(ctx, token); key(err) != "sign_in" {
			t.Errorf("a session outlives its time: %v", err)
		}
		if err := c.app.Forget(ctx); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTriesAreLimited(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := context.Background()
		in := func(password, from string) string {
			_, err := c.app.SignIn(ctx, "Client@Example.org ", password, from)
			return key(err)
		}
		for range 10 {
			if got := in("wrong", "attacker"); got != "sign_in_wrong" {
				t.Fatal(got)
			}
		}
		if got := in("ten letters", "attacker"); got != "too_many" {
			t.Errorf("an eleventh try: %s", got)
		}
		if got := in("ten letters", "home"); got != "<nil>" {
			t.Errorf("an attacker locks the member out: %s", got)
		}
		time.Sleep(15 * time.Minute)
		if got := in("ten letters", "attacker"); got != "<nil>" {
			t.Errorf("after a while: %s", got)
		}
		job := c.taken(t)
		if err := c.app.PickUp(ctx, c.courier, job); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if got := key(c.app.Deliver(ctx, c.courier, job, "no")); got != "pin_wrong" {
				t.Fatal(got)
			}
		}
		v, err := c.app.Order(ctx, c.client, job)
		if err != nil {
			t.Fatal(err)
		}
		if got := key(c.app.Deliver(ctx, c.courier, job, v.PIN)); got != "too_many" {
			t.Errorf("a sixth PIN: %s", got)
		}
		time.Sleep(15 * time.Minute)
		if err := c.app.Deliver(ctx, c.courier, job, v.PIN); err != nil {
			t.Error(err)
		}
	})
}

// taken is an order that the courier has accepted.
func (c crew) taken(t *testing.T) string {
	t.Helper()
	ctx, job := context.Background(), c.order(t)
	if err := c.app.SetOnline(ctx, c.courier, true); err != nil {
		t.Fatal(err)
	}
	if err := c.app.AcceptOrder(ctx, c.merchant, job); err != nil {
		t.Fatal(err)
	}
	if err := c.app.AcceptOffer(ctx, c.courier, c.offer(t, c.courier).ID); err != nil {
		t.Fatal(err)
	}
	return job
}

// TestNobodyElse: what isn't yours looks as if it weren't there, and what isn't
// your role is refused.
func TestNobodyElse(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), context.Background()
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
	c, ctx := enlist(t, storetest.SQLite(t)), context.Background()
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
	c, ctx := enlist(t, storetest.SQLite(t)), context.Background()
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
			c, ctx := enlist(t, storetest.Open(t, "sqlite:"+path)), context.Background()
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
	c, ctx := enlist(t, storetest.SQLite(t)), context.Background()
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
