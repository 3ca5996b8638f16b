// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRank(t *testing.T) {
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	free := []Availability{{"late", true, noon}, {"early", true, noon.Add(-time.Hour)}, {"twin", true, noon.Add(-time.Hour)}, {"client", true, noon.Add(-2 * time.Hour)}}
	order := func(past ...Offer) (ids []string) {
		queue, _ := rank(free, past, "client")
		for _, c := range queue {
			ids = append(ids, c.MemberID)
		}
		return ids
	}
	for _, c := range []struct {
		name string
		past []Offer
		want []string
	}{
		{"whoever waited longest, never the customer", nil, []string{"early", "twin", "late"}},
		{"who declined isn't asked again", []Offer{{WorkerID: "early", State: OfferDeclined}}, []string{"twin", "late"}},
		{"who let it lapse comes after the others", []Offer{{WorkerID: "early", State: OfferExpired}}, []string{"twin", "late", "early"}},
		{"everybody let it lapse", []Offer{{WorkerID: "early", State: OfferExpired}, {WorkerID: "twin", State: OfferExpired}, {WorkerID: "late", State: OfferExpired}}, []string{"early", "twin", "late"}},
	} {
		if got := order(c.past...); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v and not %v", c.name, got, c.want)
		}
	}
}

// TestFlow: every state but the ends can be left, ends can't, and nobody else may.
func TestFlow(t *testing.T) {
	f := DeliveryFlow()
	for _, c := range []struct {
		from State
		verb Verb
		by   Party
		want State
		kind ProblemKind
	}{
		{Placed, VerbAccept, AsProvider, Accepted, ""},
		{Placed, VerbAccept, AsCustomer, "", Forbidden},
		{Placed, VerbCancel, AsCustomer, Cancelled, ""},
		{Accepted, VerbCancel, AsCustomer, "", Forbidden},
		{PickedUp, VerbCancel, AsAdmin, "", Conflict},
		{PickedUp, VerbReturn, AsWorker, Returned, ""},
		{PickedUp, VerbReturn, AsCustomer, "", Forbidden},
		{Delivered, VerbReturn, AsWorker, "", Forbidden},
		{Assigned, VerbReturn, AsWorker, "", Conflict},
		{PickedUp, VerbDeliver, AsWorker, Delivered, ""},
		{Placed, VerbDeliver, AsWorker, "", Conflict},
		{Closed, VerbCollect, AsWorker, "", Conflict},
	} {
		got, err := f.Next(c.from, c.verb, []Party{c.by})
		p, _ := ProblemOf(err)
		if got != c.want || (p == nil) != (c.kind == "") || (p != nil && p.Kind != c.kind) {
			t.Errorf("%s %s by %s: %q, %v", c.from, c.verb, c.by, got, err)
		}
	}
	for _, s := range []State{Closed, Refused, Cancelled, Returned} {
		if !f.Over(s) {
			t.Errorf("%s isn't the end", s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		now := f.Start
		for range 20 {
			ways := slices.DeleteFunc(slices.Clone(f.Transitions), func(x Transition) bool { return x.From != now })
			if len(ways) == 0 {
				break
			}
			x := rapid.SampledFrom(ways).Draw(t, "step")
			to, err := f.Next(now, x.Verb, x.By)
			if err != nil || to != x.To {
				t.Fatal(now, x, err)
			}
			now = to
		}
		if !f.Over(now) {
			t.Fatalf("a job can go round in circles: %s after 20 steps", now)
		}
	})
}

// TestAhead: what can still come, also in a flow that leads back.
func TestAhead(t *testing.T) {
	round := Flow{Transitions: []Transition{{Placed, VerbAccept, Accepted, nil}, {Accepted, VerbReturn, Placed, nil}, {Accepted, VerbAssign, Assigned, nil}}}
	for _, c := range []struct {
		flow Flow
		from State
		verb Verb
		want bool
	}{
		{DeliveryFlow(), Placed, VerbDeliver, true},
		{DeliveryFlow(), PickedUp, VerbDeliver, true},
		{DeliveryFlow(), Delivered, VerbDeliver, false},
		{DeliveryFlow(), Returned, VerbDeliver, false},
		{round, Placed, VerbAssign, true},
		{round, Placed, VerbDeliver, false},
	} {
		if got := c.flow.Ahead(c.from, c.verb); got != c.want {
			t.Errorf("%s ahead of %s: %v", c.verb, c.from, got)
		}
	}
}

func TestEventDigest(t *testing.T) {
	base := Event{ID: "i", Subject: "s", Kind: "k", ActorID: "a", Device: "d", DeviceAt: time.UnixMilli(1), At: time.UnixMilli(2), Data: "{}"}
	seen := map[string]string{base.Seal(1, "p").Hash: "the event itself"}
	note := func(what string, e Event) {
		if other, ok := seen[e.Hash]; ok {
			t.Errorf("%s has the hash of %s", what, other)
		}
		seen[e.Hash] = what
	}
	for what, change := range map[string]func(*Event){
		"id": func(e *Event) { e.ID = "x" }, "subject": func(e *Event) { e.Subject = "x" }, "kind": func(e *Event) { e.Kind = "x" },
		"actor": func(e *Event) { e.ActorID = "x" }, "device": func(e *Event) { e.Device = "x" }, "device's time": func(e *Event) { e.DeviceAt = e.At },
		"time": func(e *Event) { e.At = e.DeviceAt }, "data": func(e *Event) { e.Data = "{} " },
		"shifted border": func(e *Event) { e.ID, e.Subject = "is", "" },
	} {
		e := base
		change(&e)
		note(what, e.Seal(1, "p"))
	}
	note("number", base.Seal(2, "p"))
	note("previous", base.Seal(1, "q"))
}

func TestBalanced(t *testing.T) {
	eur, usd := Account{Unit: "EUR"}, Account{Unit: "USD"}
	if balanced([]Posting{{eur, 5}, {eur, -5}, {usd, 1}, {usd, -1}}) != nil {
		t.Error("a balanced transaction is refused")
	}
	if balanced([]Posting{{eur, 5}, {usd, -5}}) == nil {
		t.Error("units are mixed")
	}
}

// TestSaleBalances: whatever was quoted, both transactions of an order sum to zero.
func TestSaleBalances(t *testing.T) {
	money := rapid.Int64Range(0, MaxMoney)
	rapid.Check(t, func(t *rapid.T) {
		p := Price{Goods: money.Draw(t, "goods"), Delivery: money.Draw(t, "delivery"), Tip: money.Draw(t, "tip")}
		q := Quote{Unit: "EUR", Price: p, Shares: Split(p, drawRule(t))}
		j := Job{ID: "j", CustomerID: "c", ProviderID: "p", WorkerID: "w"}
		if err := errors.Join(balanced(sale(j, q, "w", time.Time{}).Postings), balanced(cash(j, q, "w", time.Time{}).Postings)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSettings(t *testing.T) {
	by := map[string]Setting{}
	for _, s := range Schema() {
		by[s.Key] = s
		if got, ok := s.Parse(s.Show(s.Default, "EUR"), "EUR"); !ok || got != s.Default {
			t.Errorf("%s: its own default %q is written %q and read %q", s.Key, s.Default, s.Show(s.Default, "EUR"), got)
		}
	}
	for _, c := range []struct{ key, text, want string }{
		{KeyCommission, "3", "300"}, {KeyCommission, "2,75", "275"}, {KeyCommission, "0", "0"}, {KeyDeliveryFee, "4.90", "490"}, {KeyOfferSeconds, "45", "45"},
		{KeyCommission, "25.01", ""}, {KeyCommission, "-1", ""}, {KeyCommission, "x", ""}, {KeyOfferSeconds, "9", ""}, {KeyOfferSeconds, "601", ""}, {KeyCommissionBase, "tips", ""},
	} {
		if got, ok := by[c.key].Parse(c.text, "EUR"); ok != (c.want != "") || (ok && got != c.want) {
			t.Errorf("%s %q: %q, %v", c.key, c.text, got, ok)
		}
	}
	p := policyOf(0, nil)
	if p.Split.CommissionBP != 300 || p.Split.FundBP != 0 || p.OfferFor != time.Minute || p.DeliveryFee != 500 {
		t.Errorf("the first policy is %+v", p)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		" Zoë O’Neil ": "Zoë O’Neil", "María 🚲": "María 🚲", "שלום\u200f": "שלום\u200f", "👩\u200d🚀": "👩\u200d🚀",
		"two\nlines": "odd_characters", "two\r\nlines": "odd_characters", "tab\tbed": "odd_characters", "\x1b[2J": "odd_characters",
		"c1 \u009b": "odd_characters", "\u202egnp.exe": "odd_characters", "a\u2066b": "odd_characters", "a\u2028b": "odd_characters", "\xff": "odd_characters",
		" ": "empty", strings.Repeat("ö", 81): "too_long", strings.Repeat("ö", 80): strings.Repeat("ö", 80),
	} {
		got, err := text(in, "name", 1, 80)
		if p, ok := ProblemOf(err); ok {
			got = p.Key
		}
		if got != want {
			t.Errorf("%q: %q and not %q", in, got, want)
		}
	}
}

func TestCleanEmail(t *testing.T) {
	for in, ok := range map[string]bool{
		" Ann@Example.org ": true, "zoë@example.org": true, "ann": false, "ann@example.org\x1b": false, "\u202eann@example.org": false,
		`"a b"@example.org`: false, "Ann <ann@example.org>": false, strings.Repeat("a", 250) + "@example.org": false,
	} {
		if _, got := cleanEmail(in); got != ok {
			t.Errorf("%q: %v", in, got)
		}
	}
}
