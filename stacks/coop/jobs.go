// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// OrderView is a job with what the people on its page need. What a viewer may
// not see is left empty.
type OrderView struct {
	Job
	Quote    Quote
	Shop     Provider
	Stops    []Stop
	Customer string // name
	Worker   string // name, "" until assigned
	Offers   []OfferView
	History  []Event
	Reason   string  // why it was refused, cancelled or returned, if somebody said
	PINSpent bool    // the PIN was tried too often; the customer can get another
	Parties  []Party // the sides that the viewer is on
}

// OfferView is an offer with the name of whom it was made to.
type OfferView struct {
	Offer
	Name string
}

// Sees reports whether the viewer is on the side p.
func (v OrderView) Sees(p Party) bool { return slices.Contains(v.Parties, p) }

func parties(who Member, j Job, shop Provider) (list []Party) {
	add := func(ok bool, p Party) {
		if ok {
			list = append(list, p)
		}
	}
	add(who.ID != "" && who.ID == j.CustomerID, AsCustomer)
	add(who.ID != "" && who.ID == shop.OwnerID, AsProvider)
	add(who.ID != "" && who.ID == j.WorkerID, AsWorker)
	add(who.Is(RoleAdmin), AsAdmin)
	return list
}

// Order returns a job to one of its parties.
func (a *App) Order(ctx context.Context, who Member, jobID string) (v OrderView, err error) {
	err = a.store.Read(ctx, func(tx Tx) error {
		v, err = a.view(ctx, tx, who, jobID)
		return err
	})
	return v, err
}

func (a *App) view(ctx context.Context, tx Tx, who Member, jobID string) (v OrderView, err error) {
	if v.Job, v.Shop, err = jobAndShop(ctx, tx, jobID); err != nil {
		return v, err
	}
	if v.Parties = parties(who, v.Job, v.Shop); len(v.Parties) == 0 {
		return v, problem(NotFound, "no_order")
	}
	if !v.Sees(AsCustomer) || !a.flow.Ahead(v.State, VerbDeliver) {
		v.PIN = ""
	}
	if v.Quote, err = tx.Quote(ctx, v.QuoteID); err != nil {
		return v, err
	}
	if v.Stops, err = tx.Stops(ctx, jobID); err != nil {
		return v, err
	}
	if v.History, err = tx.EventsOf(ctx, "job/"+jobID, 100); err != nil {
		return v, err
	}
	if v.Reason, err = reason(ctx, tx, jobID); err != nil {
		return v, err
	}
	if v.PINSpent, err = pinSpent(ctx, tx, jobID); err != nil {
		return v, err
	}
	return v, a.names(ctx, tx, &v)
}

// reason is what was written when the order was called off.
func reason(ctx context.Context, tx Tx, jobID string) (string, error) {
	e, err := tx.LastEvent(ctx, "job/"+jobID, "job."+string(VerbRefuse), "job."+string(VerbCancel), "job."+string(VerbReturn))
	if errors.Is(err, ErrMissing) {
		return "", nil
	}
	var data facts
	if err != nil || json.Unmarshal([]byte(e.Data), &data) != nil {
		return "", err
	}
	return data["reason"], nil
}

func (a *App) names(ctx context.Context, tx Tx, v *OrderView) error {
	name := func(id string) (string, error) {
		m, err := tx.Member(ctx, id)
		return m.Name, err
	}
	var err error
	if v.Customer, err = name(v.CustomerID); err != nil {
		return err
	}
	if v.WorkerID != "" {
		if v.Worker, err = name(v.WorkerID); err != nil {
			return err
		}
	}
	offers, err := tx.OffersOf(ctx, v.ID)
	if err != nil || !v.Sees(AsAdmin) {
		return err
	}
	for _, o := range offers {
		n, err := name(o.WorkerID)
		if err != nil {
			return err
		}
		v.Offers = append(v.Offers, OfferView{o, n})
	}
	return nil
}

func jobAndShop(ctx context.Context, tx Tx, jobID string) (j Job, shop Provider, err error) {
	if j, err = tx.Job(ctx, jobID); err != nil {
		return j, shop, missingAs(err, "no_order")
	}
	shop, err = tx.Provider(ctx, j.ProviderID)
	return j, shop, err
}

// MyOrders lists what a customer ordered.
func (a *App) MyOrders(ctx context.Context, who Member) ([]OrderView, error) {
	return a.orders(ctx, who, JobFilter{CustomerID: who.ID, Limit: 30})
}

// ShopOrders lists a shop's orders for its owner.
func (a *App) ShopOrders(ctx context.Context, who Member, shopID string) ([]OrderView, error) {
	return a.orders(ctx, who, JobFilter{ProviderID: shopID, Limit: 50})
}

// CourierJobs lists what a courier carries now.
func (a *App) CourierJobs(ctx context.Context, who Member) ([]OrderView, error) {
	return a.orders(ctx, who, JobFilter{WorkerID: who.ID, States: Running(), Limit: 10})
}

// AllOrders lists the newest orders for an admin.
func (a *App) AllOrders(ctx context.Context, who Member) ([]OrderView, error) {
	if err := need(who, RoleAdmin); err != nil {
		return nil, err
	}
	return a.orders(ctx, who, JobFilter{Limit: 50})
}

// Running lists the states in which a job is in a courier's hands.
func Running() []State { return []State{Assigned, PickedUp, Delivered} }

func (a *App) orders(ctx context.Context, who Member, f JobFilter) (list []OrderView, err error) {
	if who.ID == "" {
		return nil, problem(SignIn, "sign_in")
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		jobs, err := tx.Jobs(ctx, f)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			v, err := a.view(ctx, tx, who, j.ID)
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		return nil
	})
	return list, err
}

// step is one change of a job: who does what, and what else happens with it in
// the same transaction. effect may change the job and return facts to record.
type step struct {
	verb   Verb
	effect func(tx Tx, j *Job, now time.Time) (facts, error)
	after  func(tx Tx, j Job, e Event) error
}

// act does a step in one transaction: rule, effect, state, event, what follows
// from it. A step that was already done is answered with no error.
func (a *App) act(ctx context.Context, who Member, jobID string, s step) error {
	if who.ID == "" {
		return problem(SignIn, "sign_in")
	}
	return a.store.Write(ctx, func(tx Tx) error {
		j, shop, err := jobAndShop(ctx, tx, jobID)
		if err != nil {
			return err
		}
		sides := parties(who, j, shop)
		if len(sides) == 0 {
			return problem(NotFound, "no_order")
		}
		return a.advance(ctx, tx, who, j, sides, s)
	})
}

func (a *App) advance(ctx context.Context, tx Tx, who Member, j Job, sides []Party, s step) error {
	if a.flow.Done(j.State, s.verb) {
		return nil
	}
	from, now := j.State, time.Now()
	to, err := a.flow.Next(from, s.verb, sides)
	if err != nil {
		return err
	}
	var data facts
	if s.effect != nil {
		if data, err = s.effect(tx, &j, now); err != nil {
			return err
		}
	}
	j.State, j.UpdatedAt = to, now
	if err := tx.MoveJob(ctx, j, from); err != nil {
		if errors.Is(err, ErrStale) {
			return problem(Conflict, "moved_on")
		}
		return err
	}
	e, err := recorded(ctx, tx, note{"job/" + j.ID, "job." + string(s.verb), who.ID, now}, data)
	if err != nil || s.after == nil {
		return err
	}
	return s.after(tx, j, e)
}

// AcceptOrder is the shop's yes; a courier is looked for at once.
func (a *App) AcceptOrder(ctx context.Context, who Member, jobID string) error {
	return a.act(ctx, who, jobID, step{verb: VerbAccept, after: func(tx Tx, j Job, _ Event) error {
		return offerNext(ctx, tx, j)
	}})
}

// RefuseOrder is the shop's no.
func (a *App) RefuseOrder(ctx context.Context, who Member, jobID, why string) error {
	why, err := text(why, "reason", 0, 300)
	if err != nil {
		return err
	}
	return a.act(ctx, who, jobID, step{verb: VerbRefuse, effect: func(Tx, *Job, time.Time) (facts, error) {
		return facts{"reason": why}, nil
	}})
}

// CancelOrder calls an order off, as far as the flow lets the person do it. An
// open offer is withdrawn and an assigned courier is free again.
func (a *App) CancelOrder(ctx context.Context, who Member, jobID, why string) error {
	why, err := text(why, "reason", 0, 300)
	if err != nil {
		return err
	}
	return a.act(ctx, who, jobID, step{verb: VerbCancel, effect: func(tx Tx, j *Job, now time.Time) (facts, error) {
		if err := endOffers(ctx, tx, j.ID, OfferWithdrawn, now); err != nil {
			return nil, err
		}
		return facts{"reason": why}, nil
	}, after: func(tx Tx, j Job, _ Event) error { return offerWaiting(ctx, tx) }})
}
