// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Desk is what a courier's page shows.
type Desk struct {
	Availability Availability
	Offer        *OfferedJob
	Jobs         []OrderView
}

// OfferedJob is an open offer with what a courier should know before they
// decide: pay and places, but not the customer's name.
type OfferedJob struct {
	Offer
	Job   Job
	Quote Quote
	Shop  Provider
	Stops []Stop
}

// CourierDesk returns the courier's state, open offer and running jobs.
func (a *App) CourierDesk(ctx context.Context, who Member) (d Desk, err error) {
	if err := need(who, RoleCourier); err != nil {
		return d, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		d.Availability, err = tx.Availability(ctx, who.ID)
		if err != nil && !errors.Is(err, ErrMissing) {
			return err
		}
		o, err := tx.OpenOffer(ctx, who.ID)
		if errors.Is(err, ErrMissing) {
			return nil
		}
		if err != nil {
			return err
		}
		d.Offer, err = offeredJob(ctx, tx, o)
		return err
	})
	if err != nil {
		return d, err
	}
	d.Jobs, err = a.CourierJobs(ctx, who)
	return d, err
}

func offeredJob(ctx context.Context, tx Tx, o Offer) (*OfferedJob, error) {
	v := OfferedJob{Offer: o}
	var err error
	if v.Job, v.Shop, err = jobAndShop(ctx, tx, o.JobID); err != nil {
		return nil, err
	}
	v.Job.PIN = ""
	if v.Quote, err = tx.Quote(ctx, v.Job.QuoteID); err != nil {
		return nil, err
	}
	v.Stops, err = tx.Stops(ctx, o.JobID)
	return &v, err
}

// SetOnline lets a courier take offers or stop taking them. Going offline passes
// an open offer on; it doesn't touch a running job. Going online starts the wait
// from now, except for those who are online already.
func (a *App) SetOnline(ctx context.Context, who Member, online bool) error {
	if err := need(who, RoleCourier); err != nil {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		old, err := tx.Availability(ctx, who.ID)
		if err != nil && !errors.Is(err, ErrMissing) {
			return err
		}
		if old.Online == online {
			return nil
		}
		now := time.Now()
		if err := tx.SetAvailability(ctx, Availability{who.ID, online, now}); err != nil {
			return err
		}
		kind := "worker.online"
		if !online {
			kind = "worker.offline"
			if err := passOn(ctx, tx, who.ID, now); err != nil {
				return err
			}
		}
		if err := record(ctx, tx, note{"member/" + who.ID, kind, who.ID, now}, nil); err != nil {
			return err
		}
		return offerWaiting(ctx, tx)
	})
}

func passOn(ctx context.Context, tx Tx, workerID string, now time.Time) error {
	o, err := tx.OpenOffer(ctx, workerID)
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	return decide(ctx, tx, o, OfferDeclined, workerID, now)
}

// AcceptOffer gives the job to the courier whom it was offered to.
func (a *App) AcceptOffer(ctx context.Context, who Member, offerID string) error {
	return a.answer(ctx, who, offerID, func(tx Tx, o Offer) error {
		j, _, err := jobAndShop(ctx, tx, o.JobID)
		if err != nil {
			return err
		}
		if o.State == OfferAccepted && j.WorkerID == who.ID {
			return nil
		}
		if o.State != Offered || !time.Now().Before(o.ExpiresAt) {
			return problem(Conflict, "offer_gone")
		}
		return a.advance(ctx, tx, who, j, []Party{AsWorker}, step{verb: VerbAssign, effect: func(tx Tx, j *Job, now time.Time) (facts, error) {
			j.WorkerID = who.ID
			return facts{"worker": who.ID, "offer": o.ID}, decide(ctx, tx, o, OfferAccepted, who.ID, now)
		}})
	})
}

// DeclineOffer passes the job on to the next courier, without any penalty.
func (a *App) DeclineOffer(ctx context.Context, who Member, offerID string) error {
	return a.answer(ctx, who, offerID, func(tx Tx, o Offer) error {
		if o.State == OfferDeclined {
			return nil
		}
		if err := decide(ctx, tx, o, OfferDeclined, who.ID, time.Now()); err != nil {
			return err
		}
		return offerWaiting(ctx, tx)
	})
}

func (a *App) answer(ctx context.Context, who Member, offerID string, do func(Tx, Offer) error) error {
	if err := need(who, RoleCourier); err != nil {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		o, err := tx.Offer(ctx, offerID)
		if err != nil || o.WorkerID != who.ID {
			return orProblem(missingAs(err, "no_offer"), NotFound, "no_offer")
		}
		return do(tx, o)
	})
}

// PickUp is the courier leaving the shop with the order.
func (a *App) PickUp(ctx context.Context, who Member, jobID string) error {
	return a.act(ctx, who, jobID, step{verb: VerbPickUp, effect: func(tx Tx, j *Job, now time.Time) (facts, error) {
		_, err := finish(ctx, tx, j.ID, StopPickup, now)
		return nil, err
	}})
}

// Deliver is the courier handing over the order for the customer's PIN. The
// sale is posted in the same transaction.
func (a *App) Deliver(ctx context.Context, who Member, jobID, pin string) error {
	pin = strings.TrimSpace(pin)
	if err := a.tryPIN(ctx, who, jobID, pin); err != nil {
		return err
	}
	var stop Stop
	return a.act(ctx, who, jobID, step{verb: VerbDeliver, effect: func(tx Tx, j *Job, now time.Time) (facts, error) {
		if !samePIN(pin, j.PIN) { // it was renewed just now
			return nil, invalid("pin_wrong", "pin")
		}
		var err error
		stop, err = finish(ctx, tx, j.ID, StopDropoff, now)
		return facts{"proof": "pin"}, err
	}, after: func(tx Tx, j Job, e Event) error {
		p := Proof{ID: newID(), StopID: stop.ID, EventID: e.ID, Kind: "pin", Value: "matched", At: e.At}
		if err := tx.AddProof(ctx, p); err != nil {
			return err
		}
		q, err := tx.Quote(ctx, j.QuoteID)
		if err != nil {
			return err
		}
		return post(ctx, tx, sale(j, q, who.ID, e.At))
	}})
}

// Collect is the courier having the cash in hand. They wait for the next offer
// from then on.
func (a *App) Collect(ctx context.Context, who Member, jobID string) error {
	return a.act(ctx, who, jobID, step{verb: VerbCollect, after: func(tx Tx, j Job, e Event) error {
		q, err := tx.Quote(ctx, j.QuoteID)
		if err != nil {
			return err
		}
		if err := post(ctx, tx, cash(j, q, who.ID, e.At)); err != nil {
			return err
		}
		return free(ctx, tx, j.WorkerID, e.At)
	}})
}

// Return is what was picked up and can't be handed over going back: nobody opens,
// the PIN is lost. Nobody owes anything: money moves at delivery only, and where
// an order was delivered but not paid, an admin returns it and its sale is
// reversed.
func (a *App) Return(ctx context.Context, who Member, jobID, why string) error {
	why, err := text(why, "reason", 3, 300)
	if err != nil {
		return err
	}
	return a.act(ctx, who, jobID, step{verb: VerbReturn, effect: func(Tx, *Job, time.Time) (facts, error) {
		return facts{"reason": why}, nil
	}, after: func(tx Tx, j Job, e Event) error {
		switch t, err := tx.TransactionByKey(ctx, saleKey(j.ID)); {
		case err == nil:
			if err := post(ctx, tx, reversal(t, why, who.ID, e.At)); err != nil {
				return err
			}
		case !errors.Is(err, ErrMissing):
			return err
		}
		return free(ctx, tx, j.WorkerID, e.At)
	}})
}

// free lets a courier whose job is over wait for the next offer from now on.
func free(ctx context.Context, tx Tx, workerID string, now time.Time) error {
	av, err := tx.Availability(ctx, workerID)
	if err != nil && !errors.Is(err, ErrMissing) {
		return err
	}
	if err := tx.SetAvailability(ctx, Availability{workerID, av.Online, now}); err != nil {
		return err
	}
	return offerWaiting(ctx, tx)
}

func finish(ctx context.Context, tx Tx, jobID string, kind StopKind, now time.Time) (Stop, error) {
	stops, err := tx.Stops(ctx, jobID)
	if err != nil {
		return Stop{}, err
	}
	for _, s := range stops {
		if s.Kind == kind {
			return s, tx.FinishStop(ctx, s.ID, now)
		}
	}
	return Stop{}, ErrMissing
}
