// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// QueueRule is the name and version of the rule that picks whom to ask: those
// who weren't asked about this job yet before those who let it lapse, and among
// them whoever has waited the longest. Declining costs no place in the queue.
const QueueRule = "longest-idle/1"

// rank orders the couriers who can be asked about a job. past is the job's
// earlier offers: who declined isn't asked again; how often others let an offer
// lapse is counted.
func rank(candidates []Availability, past []Offer, customerID string) ([]Availability, map[string]int64) {
	lapsed, declined := map[string]int64{}, map[string]bool{}
	for _, o := range past {
		switch o.State {
		case OfferExpired:
			lapsed[o.WorkerID]++
		case OfferDeclined:
			declined[o.WorkerID] = true
		}
	}
	queue := slices.DeleteFunc(slices.Clone(candidates), func(c Availability) bool {
		return declined[c.MemberID] || c.MemberID == customerID
	})
	slices.SortStableFunc(queue, func(x, y Availability) int {
		if d := lapsed[x.MemberID] - lapsed[y.MemberID]; d != 0 {
			return int(d)
		}
		if d := x.IdleSince.Compare(y.IdleSince); d != 0 {
			return d
		}
		return strings.Compare(x.MemberID, y.MemberID)
	})
	return queue, lapsed
}

// offerNext puts an accepted job to the next courier, if there's one to ask.
func offerNext(ctx context.Context, tx Tx, j Job) error {
	candidates, err := tx.Candidates(ctx)
	if err != nil {
		return err
	}
	past, err := tx.OffersOf(ctx, j.ID)
	if err != nil {
		return err
	}
	queue, lapsed := rank(candidates, past, j.CustomerID)
	if len(queue) == 0 {
		return nil
	}
	rules, err := policy(ctx, tx)
	if err != nil {
		return err
	}
	now, first := time.Now(), queue[0]
	o := Offer{
		ID: newID(), JobID: j.ID, WorkerID: first.MemberID, Rule: QueueRule, State: Offered,
		Reason: Reason{
			IdleSeconds: int64(max(0, now.Sub(first.IdleSince)) / time.Second),
			Candidates:  int64(len(queue)),
			AskedBefore: lapsed[first.MemberID],
		},
		CreatedAt: now, ExpiresAt: now.Add(rules.OfferFor),
	}
	if err := tx.AddOffer(ctx, o); err != nil {
		return err
	}
	return record(ctx, tx, note{"job/" + j.ID, "offer.make", "", now}, facts{"offer": o.ID, "worker": o.WorkerID, "rule": o.Rule})
}

// offerWaiting puts every job that waits for a courier to somebody, oldest
// first, as far as there are couriers.
func offerWaiting(ctx context.Context, tx Tx) error {
	jobs, err := tx.Unoffered(ctx, 50)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if err := offerNext(ctx, tx, j); err != nil {
			return err
		}
	}
	return nil
}

func endOffers(ctx context.Context, tx Tx, jobID string, s OfferState, now time.Time) error {
	offers, err := tx.OffersOf(ctx, jobID)
	if err != nil {
		return err
	}
	for _, o := range offers {
		if o.State != Offered {
			continue
		}
		if err := decide(ctx, tx, o, s, "", now); err != nil {
			return err
		}
	}
	return nil
}

func decide(ctx context.Context, tx Tx, o Offer, s OfferState, actor string, now time.Time) error {
	if err := tx.DecideOffer(ctx, o.ID, s, now); err != nil {
		if errors.Is(err, ErrStale) {
			return problem(Conflict, "offer_gone")
		}
		return err
	}
	return record(ctx, tx, note{"job/" + o.JobID, "offer." + string(s), actor, now}, facts{"offer": o.ID, "worker": o.WorkerID})
}

// Sweep does what time brings: it ends offers that nobody answered and asks the
// next courier. It's cheap when there's nothing to do, and safe to run in several processes at once.
func (a *App) Sweep(ctx context.Context) error {
	idle := false
	err := a.store.Read(ctx, func(tx Tx) error {
		due, err := tx.DueOffers(ctx, time.Now(), 1)
		if err != nil || len(due) > 0 {
			return err
		}
		idle, err = nobodyWaits(ctx, tx)
		return err
	})
	if err != nil || idle {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		now := time.Now()
		due, err := tx.DueOffers(ctx, now, 100)
		if err != nil {
			return err
		}
		for _, o := range due {
			if err := decide(ctx, tx, o, OfferExpired, "", now); err != nil {
				return err
			}
		}
		return offerWaiting(ctx, tx)
	})
}

// nobodyWaits reports that no job could be put to anybody now.
func nobodyWaits(ctx context.Context, tx Tx) (bool, error) {
	jobs, err := tx.Unoffered(ctx, 1)
	if err != nil || len(jobs) == 0 {
		return true, err
	}
	candidates, err := tx.Candidates(ctx)
	return len(candidates) == 0, err
}

// Forget drops expired sessions and links.
func (a *App) Forget(ctx context.Context) error {
	return a.store.Write(ctx, func(tx Tx) error { return tx.Forget(ctx, time.Now()) })
}
