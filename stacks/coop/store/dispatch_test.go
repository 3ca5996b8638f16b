// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
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

func TestLinksAndSessionsEnd(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
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
		token, err := c.app.SignIn(ctx, "client@example.org", "ten letters", coop.Client{Place: "x"})
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

// TestReset: a link sets a password once within a day, for its member only, and
// ends every session; role links and password links don't stand in for each other.
func TestReset(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		old := session(t, c, "client@example.org")
		mark, err := c.app.Mark(ctx, old)
		if err != nil {
			t.Fatal(err)
		}
		courier := session(t, c, "courier@example.org")
		for _, who := range []coop.Member{c.client, c.courier, c.merchant, {}} {
			if _, _, err := c.app.NewResetLink(ctx, who, c.client.ID); key(err) != "role" && key(err) != "sign_in" {
				t.Errorf("somebody who is no admin makes a link: %v", err)
			}
		}
		link := func() string {
			m, token, err := c.app.NewResetLink(ctx, c.admin, c.client.ID)
			if err != nil || m.ID != c.client.ID {
				t.Fatal(m, err)
			}
			return token
		}
		first, second := link(), link()
		forAdmin, err := c.app.NewAdminLink(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		reset := func(token string) string {
			_, err := c.app.Reset(ctx, token, "a new password", "x")
			return key(err)
		}
		for _, wrong := range []string{first, forAdmin, ""} {
			if got := reset(wrong); got != "link" {
				t.Errorf("a link that isn't good: %s", got)
			}
		}
		if _, err := c.app.Join(ctx, second, coop.SignUp{Name: "x", Email: "x@example.org", Password: "ten letters"}); key(err) != "link" {
			t.Errorf("a password link makes an account: %v", err)
		}
		if _, err := c.app.Reset(ctx, second, "short", "x"); key(err) != "password_short" {
			t.Error(err)
		}
		fresh, err := c.app.Reset(ctx, second, "a new password", "x")
		if err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string]string{old: "sign_in", fresh: "<nil>", courier: "<nil>"} {
			if _, err := c.app.Who(ctx, token); key(err) != want {
				t.Errorf("a session after the reset: %v and not %s", err, want)
			}
		}
		for password, want := range map[string]string{"ten letters": "sign_in_wrong", "a new password": "<nil>"} {
			if _, err := c.app.SignIn(ctx, "client@example.org", password, coop.Client{Place: "y", Device: mark}); key(err) != want {
				t.Errorf("%q: %v and not %s", password, err, want)
			}
		}
		if got := reset(second); got != "link" {
			t.Errorf("a second use: %s", got)
		}
		late := link()
		time.Sleep(coop.LinkFor)
		if got := reset(late); got != "link" {
			t.Errorf("a day later: %s", got)
		}
		if a, err := c.app.Audit(ctx, c.admin); err != nil || !a.Good() {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// TestStrangersWriteNothing: what somebody without an account tries leaves the
// database as it was.
func TestStrangersWriteNothing(t *testing.T) {
	s := &counting{Store: storetest.SQLite(t)}
	app, ctx := coop.New(s, plain{}, coop.Config{Currency: "EUR"}), t.Context()
	in := coop.SignUp{Name: "x", Email: "x", Password: "short", From: "192.0.2.1/32"}
	for range 100 {
		_, e1 := app.SignIn(ctx, "nobody@example.org", "wrong", coop.Client{Place: "192.0.2.1/32", Device: "a.b"})
		_, e2 := app.SignUp(ctx, in)
		_, e3 := app.Join(ctx, "x", in)
		e4 := app.LinkWorks(ctx, "x", "192.0.2.1/32")
		_, e5 := app.Reset(ctx, "x", "ten letters", "192.0.2.2/32")
		if e1 == nil || e2 == nil || e3 == nil || e4 == nil || e5 == nil {
			t.Fatal("a stranger came in")
		}
	}
	if s.writes != 0 {
		t.Errorf("a stranger's tries made %d transactions that write", s.writes)
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

// TestNobodyLocksAnAccount: strangers who know the address can't keep a member
// out, from wherever and however often they try.
func TestNobodyLocksAnAccount(t *testing.T) {
	inTime(t, func(t *testing.T, _ *store.Store, c crew) {
		ctx := t.Context()
		in := func(password, place, mark string) string {
			_, err := c.app.SignIn(ctx, "Client@Example.org ", password, coop.Client{Place: place, Device: mark})
			return key(err)
		}
		token, err := c.app.SignIn(ctx, "client@example.org", "ten letters", coop.Client{Place: "home"})
		if err != nil {
			t.Fatal(err)
		}
		mark, err := c.app.Mark(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if got := in("wrong", "attacker", ""); got != "sign_in_wrong" {
				t.Fatal(got)
			}
		}
		if got := in("ten letters", "attacker", ""); got != "too_many" {
			t.Errorf("an eleventh try: %s", got)
		}
		if got := in("ten letters", "home", ""); got != "<nil>" {
			t.Errorf("an attacker elsewhere locks the member out: %s", got)
		}
		if got := in("ten letters", "attacker", mark); got != "<nil>" {
			t.Errorf("an attacker at the same address locks the member's own browser out: %s", got)
		}
		before := time.Now()
		for i := range 300 {
			if got := in("wrong", fmt.Sprint("bot ", i), ""); got != "sign_in_wrong" {
				t.Fatal(got)
			}
		}
		if took := time.Since(before); took < 5*time.Minute {
			t.Errorf("300 tries from everywhere took only %s", took)
		}
		before = time.Now()
		if got := in("ten letters", "home", mark); got != "<nil>" || time.Since(before) > 0 {
			t.Errorf("many attackers hinder the member's own browser: %s after %s", got, time.Since(before))
		}
		if got := in("ten letters", "a new phone", ""); got != "<nil>" || time.Since(before) > 10*time.Second {
			t.Errorf("a new browser among many attackers: %s after %s", got, time.Since(before))
		}
		other, err := c.app.Mark(ctx, session(t, c, "courier@example.org"))
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range []string{other, "x" + mark, mark + "x", ".", "a.", mark[:5]} {
			if got := in("ten letters", "attacker", wrong); got != "<nil>" && got != "too_many" {
				t.Error(got)
			}
		}
		for range 10 {
			in("wrong", "attacker", other)
		}
		if got := in("ten letters", "attacker", other); got != "too_many" {
			t.Errorf("another account's mark counts as this one's: %s", got)
		}
		for range 11 {
			in("wrong", "anywhere", mark)
		}
		if got := in("ten letters", "anywhere", mark); got != "too_many" {
			t.Errorf("a stolen mark guesses without end: %s", got)
		}
	})
}

func session(t *testing.T, c crew, email string) string {
	t.Helper()
	token, err := c.app.SignIn(t.Context(), email, "ten letters", coop.Client{Place: "home of " + email})
	if err != nil {
		t.Fatal(err)
	}
	return token
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
			if got := key(c.app.RenewPIN(ctx, who, job)); got != "no_order" {
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
