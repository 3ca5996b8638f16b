// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
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
	ctx := t.Context()
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
	ctx := t.Context()
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
	d, err := c.app.CourierDesk(t.Context(), who)
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
		ctx := t.Context()
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

// TestPIN: ten wrong tries end a PIN for good, whatever the clock says and even
// for the right one; the customer can get another.
func TestPIN(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		job := c.carried(t)
		try := func(who coop.Member, pin string) string { return key(c.app.Deliver(ctx, who, job, pin)) }
		pin := func() string {
			v, err := c.app.Order(ctx, c.client, job)
			if err != nil {
				t.Fatal(err)
			}
			return v.PIN
		}
		first := pin()
		for range 30 {
			if got := try(c.client, "no"); got != "not_yours" {
				t.Fatal(got)
			}
		}
		for range 10 {
			if got := try(c.courier, "no"); got != "pin_wrong" {
				t.Fatal(got)
			}
			time.Sleep(time.Hour)
		}
		if got := try(c.courier, first); got != "pin_spent" {
			t.Errorf("after ten wrong tries: %s", got)
		}
		for _, who := range []coop.Member{c.courier, c.merchant, c.admin, {}} {
			if got := key(c.app.RenewPIN(ctx, who, job)); got != "no_order" && got != "sign_in" {
				t.Errorf("somebody else renews the PIN: %s", got)
			}
		}
		for pin() == first {
			if err := c.app.RenewPIN(ctx, c.client, job); err != nil {
				t.Fatal(err)
			}
		}
		if got := try(c.courier, first); got != "pin_wrong" {
			t.Errorf("the old PIN: %s", got)
		}
		if got := try(c.courier, " "+pin()+" "); got != "<nil>" {
			t.Errorf("the new PIN: %s", got)
		}
		if got := key(c.app.RenewPIN(ctx, c.client, job)); got != "moved_on" {
			t.Errorf("a PIN after delivery: %s", got)
		}
		v, err := c.app.Order(ctx, c.client, job)
		if err != nil || v.PIN != "" || v.PINSpent {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

// carried is an order that the courier has picked up.
func (c crew) carried(t *testing.T) string {
	t.Helper()
	job := c.taken(t)
	if err := c.app.PickUp(t.Context(), c.courier, job); err != nil {
		t.Fatal(err)
	}
	return job
}

// TestLongHistory: an order for which couriers were looked for all day shows what
// happened last, and why.
func TestLongHistory(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		if err := c.app.SetOnline(ctx, c.courier, true); err != nil {
			t.Fatal(err)
		}
		job := c.order(t)
		if err := c.app.AcceptOrder(ctx, c.merchant, job); err != nil {
			t.Fatal(err)
		}
		for range 70 {
			time.Sleep(time.Minute)
			if err := c.app.Sweep(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.app.CancelOrder(ctx, c.admin, job, "nobody came"); err != nil {
			t.Fatal(err)
		}
		v, err := c.app.Order(ctx, c.client, job)
		if err != nil || v.Reason != "nobody came" || v.History[len(v.History)-1].Kind != "job.cancel" || len(v.History) != 100 {
			t.Errorf("%q, %d events, %v", v.Reason, len(v.History), err)
		}
	})
}

// taken is an order that the courier has accepted.
func (c crew) taken(t *testing.T) string {
	t.Helper()
	ctx, job := t.Context(), c.order(t)
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
