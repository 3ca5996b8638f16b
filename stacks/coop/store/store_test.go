// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
)

// TestStore runs one suite on both databases.
func TestStore(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		suite(t, func(t *testing.T) string { return "sqlite:" + storetest.SQLiteFile(t) })
	})
	t.Run("postgres", func(t *testing.T) {
		c := newCluster(t)
		suite(t, c.database)
	})
}

func suite(t *testing.T, fresh func(*testing.T) string) {
	for name, check := range map[string]func(*testing.T, *store.Store){
		"people":     checkPeople,
		"doors":      checkDoors,
		"rollback":   checkRollback,
		"orders":     checkOrders,
		"fleet":      checkFleet,
		"books":      checkBooks,
		"log":        checkLog,
		"settings":   checkSettings,
		"one order":  checkWholeOrder,
		"read only":  checkReadOnly,
		"two claims": checkTwoClaims,
	} {
		t.Run(name, func(t *testing.T) { check(t, storetest.Open(t, fresh(t))) })
	}
	t.Run("two stores", func(t *testing.T) {
		address := fresh(t)
		checkTwoStores(t, storetest.Open(t, address), storetest.Open(t, address))
	})
}

var at = time.Date(2026, 5, 1, 12, 0, 0, 123e6, time.UTC) //nolint:gochecknoglobals // a fixed moment

func write(t *testing.T, s *store.Store, fn func(context.Context, coop.Tx) error) {
	t.Helper()
	ctx := t.Context()
	if err := s.Write(ctx, func(tx coop.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *store.Store, fn func(context.Context, coop.Tx) error) {
	t.Helper()
	ctx := t.Context()
	if err := s.Read(ctx, func(tx coop.Tx) error { return fn(ctx, tx) }); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func member(id string) coop.Member {
	return coop.Member{ID: id, Email: id + "@example.org", Name: "Name of " + id, Password: "hash", Lang: "es", CreatedAt: at}
}

func checkPeople(t *testing.T, s *store.Store) {
	ada := member("ada")
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		return errors.Join(tx.AddMember(ctx, ada), tx.AddMember(ctx, member("100%_b")),
			tx.AddGrant(ctx, coop.Grant{ID: "g1", MemberID: "ada", Role: coop.RoleAdmin, GrantedAt: at}),
			tx.AddGrant(ctx, coop.Grant{ID: "g2", MemberID: "ada", Role: coop.RoleCourier, GrantedBy: "ada", GrantedAt: at}),
			tx.EndGrant(ctx, "ada", coop.RoleCourier, "ada", at.Add(time.Second)),
			tx.AddGrant(ctx, coop.Grant{ID: "g3", MemberID: "ada", Role: coop.RoleCourier, GrantedBy: "ada", GrantedAt: at}))
	})
	ada.Roles = []coop.Role{coop.RoleAdmin, coop.RoleCourier}
	read(t, s, func(ctx context.Context, tx coop.Tx) error {
		got, err := tx.MemberByEmail(ctx, "ada@example.org")
		same(t, got, ada)
		n, e := tx.CountRole(ctx, coop.RoleCourier)
		same(t, n, int64(1))
		all, e2 := tx.Members(ctx, "", 10)
		same(t, len(all), 2)
		one, e3 := tx.Members(ctx, "0%_B", 10)
		same(t, len(one), 1)
		none, e4 := tx.Members(ctx, "d_a", 10)
		same(t, len(none), 0)
		_, missing := tx.Member(ctx, "nobody")
		same(t, errors.Is(missing, coop.ErrMissing), true)
		return errors.Join(err, e, e2, e3, e4)
	})
	ctx := t.Context()
	if s.Write(ctx, func(tx coop.Tx) error {
		twin := member("twin")
		twin.Email = ada.Email
		return tx.AddMember(ctx, twin)
	}) == nil {
		t.Error("two members share an e-mail address")
	}
	if err := s.Write(ctx, func(tx coop.Tx) error { return tx.EndGrant(ctx, "ada", coop.RoleMerchant, "", at) }); !errors.Is(err, coop.ErrStale) {
		t.Errorf("ending a role that isn't in force: %v", err)
	}
}

func checkDoors(t *testing.T, s *store.Store) {
	session := coop.Session{TokenHash: "h", MemberID: "ada", CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
	link := coop.Link{TokenHash: "l2", Role: coop.RoleAdmin, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		old := link
		old.TokenHash = "l1"
		return errors.Join(tx.AddMember(ctx, member("ada")), tx.AddSession(ctx, session), tx.ReplaceLink(ctx, old), tx.ReplaceLink(ctx, link))
	})
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		got, err := tx.Session(ctx, "h")
		same(t, got, session)
		_, gone := tx.Link(ctx, "l1")
		same(t, errors.Is(gone, coop.ErrMissing), true)
		mine := coop.Link{TokenHash: "l3", MemberID: "ada", CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
		err0 := errors.Join(tx.ReplaceLink(ctx, mine), tx.SetPassword(ctx, "ada", "new"), tx.AddSession(ctx, coop.Session{TokenHash: "h2", MemberID: "ada"}))
		gotLink, err1 := tx.Link(ctx, "l3")
		same(t, gotLink, mine)
		ada, err4 := tx.Member(ctx, "ada")
		same(t, ada.Password, "new")
		_, stays := tx.Link(ctx, "l2")
		err = errors.Join(err, err0, err1, err4, stays)
		err2 := tx.UseLink(ctx, "l2", at)
		same(t, errors.Is(tx.UseLink(ctx, "l2", at), coop.ErrStale), true)
		err3 := tx.Forget(ctx, at.Add(time.Hour))
		_, ended := tx.Session(ctx, "h")
		same(t, errors.Is(ended, coop.ErrMissing), true)
		err = errors.Join(err, tx.AddSession(ctx, session), tx.EndSessions(ctx, "ada"))
		_, ended = tx.Session(ctx, "h")
		same(t, errors.Is(ended, coop.ErrMissing), true)
		return errors.Join(err, err2, err3)
	})
	for _, l := range []coop.Link{{TokenHash: "l4"}, {TokenHash: "l5", Role: coop.RoleAdmin, MemberID: "ada"}, {TokenHash: "l6", MemberID: "nobody"}} {
		if s.Write(t.Context(), func(tx coop.Tx) error { return tx.ReplaceLink(t.Context(), l) }) == nil {
			t.Errorf("a link for the role %q and the member %q is taken", l.Role, l.MemberID)
		}
	}
}

func checkRollback(t *testing.T, s *store.Store) {
	ctx, stop := t.Context(), errors.New("stop")
	err := s.Write(ctx, func(tx coop.Tx) error {
		if err := tx.AddMember(ctx, member("ada")); err != nil {
			return err
		}
		_, err := tx.Append(ctx, coop.Event{ID: "e", Subject: "s", Kind: "k", At: at, Data: "{}"})
		return errors.Join(err, stop)
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	read(t, s, func(ctx context.Context, tx coop.Tx) error {
		_, err := tx.Member(ctx, "ada")
		same(t, errors.Is(err, coop.ErrMissing), true)
		seq, _, err := tx.Head(ctx)
		same(t, seq, int64(0))
		return err
	})
}

func checkReadOnly(t *testing.T, s *store.Store) {
	ctx := t.Context()
	if s.Read(ctx, func(tx coop.Tx) error { return tx.AddMember(ctx, member("ada")) }) == nil {
		t.Error("a read transaction wrote")
	}
}

// seed adds a customer, a merchant with a shop and an item, a courier, and a
// placed job with its quote.
func seed(ctx context.Context, tx coop.Tx) (coop.Quote, coop.Job, []coop.Stop, error) {
	q := coop.Quote{
		ID: "q", SettingsVersion: 3, Unit: "EUR", CreatedAt: at, ExpiresAt: at.Add(time.Hour),
		Price: coop.Price{Goods: 3000, Delivery: 500, Tip: 200}, Shares: coop.Shares{Provider: 2910, Worker: 685, Coop: 105},
		Request: coop.Request{ID: "r", CustomerID: "cas", ProviderID: "shop", Address: "7 Long Lane", Note: "ring", CreatedAt: at,
			Lines: []coop.Line{{ID: "l", OfferingID: "item", Name: "Soup", Price: 1500, Quantity: 2}}},
	}
	j := coop.Job{ID: "j", Flow: "delivery", QuoteID: "q", CustomerID: "cas", ProviderID: "shop", State: coop.Placed, Payment: "cash", PIN: "0042", CreatedAt: at, UpdatedAt: at}
	stops := []coop.Stop{
		{ID: "s1", JobID: "j", Place: 1, Kind: coop.StopPickup, State: coop.StopTodo, Address: "1 Market Square"},
		{ID: "s2", JobID: "j", Place: 2, Kind: coop.StopDropoff, State: coop.StopTodo, Address: "7 Long Lane", Note: "ring"},
	}
	return q, j, stops, errors.Join(
		tx.AddMember(ctx, member("cas")), tx.AddMember(ctx, member("mo")), tx.AddMember(ctx, member("cleo")),
		tx.AddGrant(ctx, coop.Grant{ID: "g", MemberID: "cleo", Role: coop.RoleCourier, GrantedAt: at}),
		tx.AddProvider(ctx, coop.Provider{ID: "shop", Kind: "shop", OwnerID: "mo", Name: "Soups", Address: "1 Market Square", Opening: coop.Paused, CreatedAt: at}),
		tx.SetOpening(ctx, "shop", coop.Open),
		tx.AddOffering(ctx, coop.Offering{ID: "item", ProviderID: "shop", Name: "Soup", Unit: "EUR", Price: 1500, Available: true, CreatedAt: at}),
		tx.AddQuote(ctx, q), tx.AddJob(ctx, j, stops))
}

func checkOrders(t *testing.T, s *store.Store) {
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		q, j, stops, err := seed(ctx, tx)
		if err != nil {
			return err
		}
		gotQ, e1 := tx.Quote(ctx, "q")
		same(t, gotQ, q)
		gotJ, e2 := tx.JobByQuote(ctx, "q")
		same(t, gotJ, j)
		gotS, e3 := tx.Stops(ctx, "j")
		same(t, gotS, stops)
		j.State, j.WorkerID, j.UpdatedAt = coop.Accepted, "cleo", at.Add(time.Minute)
		e4 := tx.MoveJob(ctx, j, coop.Placed)
		same(t, errors.Is(tx.MoveJob(ctx, j, coop.Placed), coop.ErrStale), true)
		list, e5 := tx.Jobs(ctx, coop.JobFilter{WorkerID: "cleo", States: []coop.State{coop.Accepted, coop.Assigned}, Limit: 5})
		same(t, list, []coop.Job{j})
		none, e6 := tx.Jobs(ctx, coop.JobFilter{CustomerID: "cas", States: []coop.State{coop.Placed}, Limit: 5})
		same(t, len(none), 0)
		e7 := tx.FinishStop(ctx, "s1", at)
		same(t, errors.Is(tx.FinishStop(ctx, "s1", at), coop.ErrStale), true)
		ev, e8 := tx.Append(ctx, coop.Event{ID: "e", Subject: "job/j", Kind: "job.pick_up", At: at, Data: "{}"})
		e9 := tx.AddProof(ctx, coop.Proof{ID: "p", StopID: "s1", EventID: ev.ID, Kind: "pin", Value: "matched", At: at})
		shops, e10 := tx.Providers(ctx, "", 5)
		same(t, len(shops), 1)
		others, e11 := tx.Providers(ctx, "cas", 5)
		same(t, len(others), 0)
		e12 := tx.SetOffering(ctx, coop.Offering{ID: "item", ProviderID: "shop", Name: "Stew", Price: 1600})
		menu, e13 := tx.Offerings(ctx, "shop")
		same(t, menu, []coop.Offering{{ID: "item", ProviderID: "shop", Name: "Stew", Unit: "EUR", Price: 1600, CreatedAt: at}})
		return errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13)
	})
	ctx := t.Context()
	if s.Write(ctx, func(tx coop.Tx) error {
		q := coop.Quote{ID: "q2", Unit: "EUR", Price: coop.Price{Goods: 10}, Shares: coop.Shares{Provider: 9},
			Request: coop.Request{ID: "r2", CustomerID: "cas", ProviderID: "shop"}}
		return tx.AddQuote(ctx, q)
	}) == nil {
		t.Error("a quote whose shares don't add up is taken")
	}
}

func checkFleet(t *testing.T, s *store.Store) {
	o := coop.Offer{ID: "o", JobID: "j", WorkerID: "cleo", Rule: coop.QueueRule, Reason: coop.Reason{IdleSeconds: 60, Candidates: 2},
		State: coop.Offered, CreatedAt: at, ExpiresAt: at.Add(time.Minute)}
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		_, j, _, err := seed(ctx, tx)
		if err != nil {
			return err
		}
		j.State = coop.Accepted
		e1 := tx.MoveJob(ctx, j, coop.Placed)
		e2 := errors.Join(tx.SetAvailability(ctx, coop.Availability{MemberID: "cleo", Online: false, IdleSince: at}),
			tx.SetAvailability(ctx, coop.Availability{MemberID: "mo", Online: true, IdleSince: at}))
		none, e3 := tx.Candidates(ctx)
		same(t, len(none), 0)
		e4 := tx.SetAvailability(ctx, coop.Availability{MemberID: "cleo", Online: true, IdleSince: at})
		free, e5 := tx.Candidates(ctx)
		same(t, free, []coop.Availability{{MemberID: "cleo", Online: true, IdleSince: at}})
		waiting, e6 := tx.Unoffered(ctx, 5)
		same(t, len(waiting), 1)
		e7 := tx.AddOffer(ctx, o)
		busy, e8 := tx.Candidates(ctx)
		same(t, len(busy), 0)
		waiting, e9 := tx.Unoffered(ctx, 5)
		same(t, len(waiting), 0)
		mine, e10 := tx.OpenOffer(ctx, "cleo")
		same(t, mine, o)
		early, e11 := tx.DueOffers(ctx, at.Add(time.Minute-time.Millisecond), 5)
		same(t, len(early), 0)
		due, e12 := tx.DueOffers(ctx, at.Add(time.Minute), 5)
		same(t, due, []coop.Offer{o})
		e13 := tx.DecideOffer(ctx, "o", coop.OfferDeclined, at)
		same(t, errors.Is(tx.DecideOffer(ctx, "o", coop.OfferAccepted, at), coop.ErrStale), true)
		return errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12, e13)
	})
}
