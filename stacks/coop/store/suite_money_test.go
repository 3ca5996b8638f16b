// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
)

func checkBooks(t *testing.T, s *store.Store) {
	acc := func(k coop.AccountKind, owner string) coop.Account {
		return coop.Account{Kind: k, OwnerID: owner, Unit: "EUR"}
	}
	x := coop.Transaction{ID: "t1", Kind: "sale", Key: "sale/j", JobID: "j", ActorID: "cleo", At: at, Postings: []coop.Posting{
		{Account: acc(coop.WorkerCash, "cleo"), Amount: 3700}, {Account: acc(coop.CoopRevenue, ""), Amount: -105}, {Account: acc(coop.ProviderPayable, "shop"), Amount: -3595}}}
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		e1 := tx.Post(ctx, x)
		y := x
		y.ID, y.Key, y.At = "t2", "sale/k", at.Add(time.Second)
		e2 := tx.Post(ctx, y)
		got, e3 := tx.TransactionByKey(ctx, "sale/j")
		for i := range got.Postings {
			got.Postings[i].Account.ID = ""
		}
		same(t, got, x)
		list, e4 := tx.Balances(ctx, "")
		same(t, list, []coop.Balance{{Kind: coop.CoopRevenue, Unit: "EUR", Amount: -210}, {Kind: coop.ProviderPayable, Unit: "EUR", Amount: -7190}, {Kind: coop.WorkerCash, Unit: "EUR", Amount: 7400}})
		own, e5 := tx.Balances(ctx, "cleo")
		same(t, own, []coop.Balance{{Kind: coop.WorkerCash, Unit: "EUR", Amount: 7400}})
		mine, e6 := tx.Transactions(ctx, "cleo", 5)
		same(t, len(mine), 2)
		none, e7 := tx.Transactions(ctx, "cas", 5)
		same(t, len(none), 0)
		held, e8 := tx.Holdings(ctx, coop.WorkerCash)
		same(t, held, []coop.Holding{{OwnerID: "cleo", Unit: "EUR", Amount: 7400}})
		wrong, e9 := tx.Unbalanced(ctx)
		same(t, wrong, int64(0))
		return errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9)
	})
	ctx := t.Context()
	if s.Write(ctx, func(tx coop.Tx) error {
		twice := x
		twice.ID = "t3"
		return tx.Post(ctx, twice)
	}) == nil {
		t.Error("one idempotency key makes two transactions")
	}
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		off := coop.Transaction{ID: "t4", Kind: "sale", Key: "off", At: at, Postings: []coop.Posting{{Account: acc(coop.CoopCash, ""), Amount: 1}}}
		e1 := tx.Post(ctx, off)
		wrong, e2 := tx.Unbalanced(ctx)
		same(t, wrong, int64(1))
		return errors.Join(e1, e2)
	})
}

func checkLog(t *testing.T, s *store.Store) {
	var made []coop.Event
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		for _, id := range []string{"a", "b", "c"} {
			e, err := tx.Append(ctx, coop.Event{ID: id, Subject: "job/" + id, Kind: "k", ActorID: "ada", At: at, DeviceAt: at, Data: `{"x":"ü"}`})
			if err != nil {
				return err
			}
			made = append(made, e)
		}
		return nil
	})
	read(t, s, func(ctx context.Context, tx coop.Tx) error {
		all, e1 := tx.Events(ctx, 0, 10)
		same(t, all, made)
		rest, e2 := tx.Events(ctx, 1, 1)
		same(t, rest, made[1:2])
		of, e3 := tx.EventsOf(ctx, "job/c", 10)
		same(t, of, made[2:])
		seq, head, e4 := tx.Head(ctx)
		same(t, []any{seq, head}, []any{int64(3), made[2].Hash})
		return errors.Join(e1, e2, e3, e4)
	})
	if made[1].Prev != made[0].Hash || made[0].Prev != "" || made[0].Hash == "" {
		t.Errorf("the chain is broken: %+v", made)
	}
}

func checkSettings(t *testing.T, s *store.Store) {
	read(t, s, func(ctx context.Context, tx coop.Tx) error {
		n, values, err := tx.Settings(ctx)
		same(t, []any{n, len(values)}, []any{int64(0), 0})
		return err
	})
	v := coop.SettingsVersion{Version: 1, ActorID: "ada", Reason: "voted", At: at, Values: map[string]string{"a": "1", "b": "2"}}
	write(t, s, func(ctx context.Context, tx coop.Tx) error { return tx.AddSettings(ctx, v) })
	read(t, s, func(ctx context.Context, tx coop.Tx) error {
		n, values, err := tx.Settings(ctx)
		same(t, []any{n, values}, []any{int64(1), v.Values})
		list, err2 := tx.SettingsVersions(ctx, 5)
		same(t, list, []coop.SettingsVersion{v})
		return errors.Join(err, err2)
	})
}

// checkTwoClaims has many try to move one job at the same time: one may.
func checkTwoClaims(t *testing.T, s *store.Store) {
	write(t, s, func(ctx context.Context, tx coop.Tx) error {
		_, _, _, err := seed(ctx, tx)
		return err
	})
	ctx := t.Context()
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for range 8 {
		wg.Go(func() {
			results <- s.Write(ctx, func(tx coop.Tx) error {
				j, err := tx.Job(ctx, "j")
				if err != nil {
					return err
				}
				if j.State != coop.Placed {
					return coop.ErrStale
				}
				j.State = coop.Accepted
				return tx.MoveJob(ctx, j, coop.Placed)
			})
		})
	}
	wg.Wait()
	close(results)
	done := 0
	for err := range results {
		if err == nil {
			done++
		} else if !errors.Is(err, coop.ErrStale) {
			t.Error(err)
		}
	}
	same(t, done, 1)
}

// checkTwoStores has two open stores append to one log at once: no event is lost
// and the chain holds.
func checkTwoStores(t *testing.T, a, b *store.Store) {
	ctx := t.Context()
	var wg sync.WaitGroup
	for _, s := range []*store.Store{a, b, a, b} {
		wg.Go(func() {
			for range 25 {
				err := s.Write(ctx, func(tx coop.Tx) error {
					_, err := tx.Append(ctx, coop.Event{ID: coop.NewKey(), Subject: "s", Kind: "k", At: at, Data: "{}"})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	read(t, b, func(ctx context.Context, tx coop.Tx) error {
		all, err := tx.Events(ctx, 0, 1000)
		same(t, len(all), 100)
		for i, e := range all {
			if sealed := e.Seal(int64(i+1), e.Prev); sealed.Hash != e.Hash || (i > 0 && e.Prev != all[i-1].Hash) {
				t.Fatalf("event %d breaks the chain", i+1)
			}
		}
		return err
	})
}
