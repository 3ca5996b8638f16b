// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"strconv"
	"time"
)

const (
	quoteFor      = 30 * time.Minute
	mostOfOneItem = 50
)

// Basket is what a customer puts together at a shop.
type Basket struct {
	ShopID     string
	Quantities map[string]int64 // by offering id
	Address    string
	Note       string
	Tip        string // as people write it; "" is none
}

// Quote prices a basket under the settings in force, and keeps that price for
// half an hour.
func (a *App) Quote(ctx context.Context, who Member, b Basket) (string, error) {
	if who.ID == "" {
		return "", problem(SignIn, "sign_in")
	}
	if err := limit(a.tries.quote, who.ID); err != nil {
		return "", err
	}
	r, tip, err := a.request(who, b)
	if err != nil {
		return "", err
	}
	q := Quote{ID: newID(), Unit: a.cfg.Currency, CreatedAt: r.CreatedAt, ExpiresAt: r.CreatedAt.Add(quoteFor)}
	return q.ID, a.store.Write(ctx, func(tx Tx) error {
		shop, err := tx.Provider(ctx, b.ShopID)
		if err != nil {
			return missingAs(err, "no_shop")
		}
		if shop.Opening != Open {
			return problem(Conflict, "shop_paused")
		}
		menu, err := tx.Offerings(ctx, shop.ID)
		if err != nil {
			return err
		}
		rules, err := policy(ctx, tx)
		if err != nil {
			return err
		}
		if r.Lines, err = lines(menu, b.Quantities); err != nil {
			return err
		}
		q.Request, q.SettingsVersion = r, rules.Version
		q.Price = Price{Goods: goods(r.Lines), Delivery: rules.DeliveryFee, Tip: tip}
		q.Shares = Split(q.Price, rules.Split)
		return tx.AddQuote(ctx, q)
	})
}

func (a *App) request(who Member, b Basket) (r Request, tip int64, err error) {
	r = Request{ID: newID(), CustomerID: who.ID, ProviderID: b.ShopID, CreatedAt: time.Now()}
	if r.Address, err = text(b.Address, "address", 3, 200); err != nil {
		return r, 0, err
	}
	if r.Note, err = text(b.Note, "note", 0, 300); err != nil {
		return r, 0, err
	}
	if b.Tip != "" {
		n, ok := ParseMoney(b.Tip, a.cfg.Currency)
		if !ok {
			return r, 0, invalid("price", "tip")
		}
		tip = n
	}
	return r, tip, nil
}

func lines(menu []Offering, quantities map[string]int64) ([]Line, error) {
	var list []Line
	wanted := 0
	for _, n := range quantities {
		if n != 0 {
			wanted++
		}
	}
	for _, o := range menu {
		n := quantities[o.ID]
		switch {
		case n == 0:
			continue
		case n < 0 || n > mostOfOneItem:
			return nil, invalid("quantity", "qty-"+o.ID)
		case !o.Available:
			return nil, invalid("sold_out", "qty-"+o.ID)
		}
		list = append(list, Line{ID: newID(), OfferingID: o.ID, Name: o.Name, Price: o.Price, Quantity: n})
	}
	switch {
	case len(list) == 0:
		return nil, problem(Invalid, "empty_basket")
	case len(list) != wanted:
		return nil, problem(Conflict, "menu_changed")
	case goods(list) > MaxMoney:
		return nil, problem(Invalid, "too_dear")
	}
	return list, nil
}

func goods(list []Line) (sum int64) {
	for _, l := range list {
		sum += l.Amount()
	}
	return sum
}

// QuoteOf returns a customer's quote and its shop.
func (a *App) QuoteOf(ctx context.Context, who Member, id string) (q Quote, shop Provider, err error) {
	err = a.store.Read(ctx, func(tx Tx) error {
		if q, err = tx.Quote(ctx, id); err != nil || q.Request.CustomerID != who.ID {
			return orProblem(missingAs(err, "no_quote"), NotFound, "no_quote")
		}
		shop, err = tx.Provider(ctx, q.Request.ProviderID)
		return err
	})
	return q, shop, err
}

// Place turns a quote into a job that is paid in cash at the door. Placing the
// same quote twice gives the same job.
func (a *App) Place(ctx context.Context, who Member, quoteID string) (string, error) {
	pin, err := newPIN()
	if err != nil {
		return "", err
	}
	j := Job{ID: newID(), Flow: a.flow.Name, QuoteID: quoteID, State: a.flow.Start, Payment: "cash", PIN: pin, CreatedAt: time.Now()}
	j.UpdatedAt = j.CreatedAt
	err = a.store.Write(ctx, func(tx Tx) error {
		q, err := tx.Quote(ctx, quoteID)
		if err != nil || q.Request.CustomerID != who.ID {
			return orProblem(missingAs(err, "no_quote"), NotFound, "no_quote")
		}
		switch old, err := tx.JobByQuote(ctx, quoteID); {
		case err == nil:
			j.ID = old.ID
			return nil
		case !errors.Is(err, ErrMissing):
			return err
		}
		return a.place(ctx, tx, j, q)
	})
	return j.ID, err
}

func (a *App) place(ctx context.Context, tx Tx, j Job, q Quote) error {
	shop, err := tx.Provider(ctx, q.Request.ProviderID)
	if err != nil {
		return err
	}
	if shop.Opening != Open {
		return problem(Conflict, "shop_paused")
	}
	if !j.CreatedAt.Before(q.ExpiresAt) {
		return problem(Conflict, "quote_expired")
	}
	j.CustomerID, j.ProviderID = q.Request.CustomerID, shop.ID
	stops := []Stop{
		{ID: newID(), JobID: j.ID, Place: 1, Kind: StopPickup, State: StopTodo, Address: shop.Address},
		{ID: newID(), JobID: j.ID, Place: 2, Kind: StopDropoff, State: StopTodo, Address: q.Request.Address, Note: q.Request.Note},
	}
	if err := tx.AddJob(ctx, j, stops); err != nil {
		return err
	}
	return record(ctx, tx, note{"job/" + j.ID, "job.place", j.CustomerID, j.CreatedAt}, facts{
		"quote": q.ID, "settings": strconv.FormatInt(q.SettingsVersion, 10), "total": Decimal(q.Price.Total(), q.Unit), "unit": q.Unit,
	})
}
