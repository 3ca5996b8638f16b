// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"slices"
	"time"
)

// Shop is a provider with its menu.
type Shop struct {
	Provider
	Menu []Offering
}

// AddShop opens a shop for a merchant; it starts paused, with an empty menu.
func (a *App) AddShop(ctx context.Context, who Member, name, address string) (string, error) {
	if err := need(who, RoleMerchant); err != nil {
		return "", err
	}
	name, err := text(name, "name", 1, 80)
	if err != nil {
		return "", err
	}
	if address, err = text(address, "address", 3, 200); err != nil {
		return "", err
	}
	p := Provider{ID: newID(), Kind: "shop", OwnerID: who.ID, Name: name, Address: address, Opening: Paused, CreatedAt: time.Now()}
	return p.ID, a.store.Write(ctx, func(tx Tx) error {
		if err := tx.AddProvider(ctx, p); err != nil {
			return err
		}
		return record(ctx, tx, note{"provider/" + p.ID, "provider.add", who.ID, p.CreatedAt}, nil)
	})
}

// Shops lists the shops that customers can choose from, open ones first.
func (a *App) Shops(ctx context.Context) (list []Provider, err error) {
	err = a.store.Read(ctx, func(tx Tx) error {
		list, err = tx.Providers(ctx, "", 200)
		return err
	})
	return list, err
}

// MyShops lists a merchant's shops.
func (a *App) MyShops(ctx context.Context, who Member) (list []Provider, err error) {
	if err := need(who, RoleMerchant); err != nil {
		return nil, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		list, err = tx.Providers(ctx, who.ID, 50)
		return err
	})
	return list, err
}

// Shop returns a shop with its whole menu.
func (a *App) Shop(ctx context.Context, id string) (s Shop, err error) {
	err = a.store.Read(ctx, func(tx Tx) error {
		if s.Provider, err = tx.Provider(ctx, id); err != nil {
			return missingAs(err, "no_shop")
		}
		s.Menu, err = tx.Offerings(ctx, id)
		return err
	})
	return s, err
}

// owned runs change in a transaction, if the shop is who's.
func (a *App) owned(ctx context.Context, who Member, shopID string, change func(Tx, Provider) error) error {
	if err := need(who, RoleMerchant); err != nil {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		p, err := tx.Provider(ctx, shopID)
		if err != nil || p.OwnerID != who.ID {
			return orProblem(missingAs(err, "no_shop"), NotFound, "no_shop")
		}
		return change(tx, p)
	})
}

// SetOpening opens or pauses a shop. A shop with nothing to sell can't open.
func (a *App) SetOpening(ctx context.Context, who Member, shopID string, o Opening) error {
	if o != Open && o != Paused {
		return invalid("opening", "opening")
	}
	return a.owned(ctx, who, shopID, func(tx Tx, p Provider) error {
		menu, err := tx.Offerings(ctx, p.ID)
		if err != nil {
			return err
		}
		if o == Open && !slices.ContainsFunc(menu, func(i Offering) bool { return i.Available }) {
			return problem(Conflict, "empty_menu")
		}
		if err := tx.SetOpening(ctx, p.ID, o); err != nil {
			return err
		}
		return record(ctx, tx, note{"provider/" + p.ID, "provider.opening", who.ID, time.Now()}, facts{"opening": string(o)})
	})
}

// Item is what a merchant writes about an item of the menu.
type Item struct {
	Name      string
	About     string
	Price     string // as people write it
	Available bool
}

func (a *App) offering(in Item) (o Offering, err error) {
	if o.Name, err = text(in.Name, "name", 1, 80); err != nil {
		return o, err
	}
	if o.About, err = text(in.About, "about", 0, 300); err != nil {
		return o, err
	}
	price, ok := ParseMoney(in.Price, a.cfg.Currency)
	if !ok {
		return o, invalid("price", "price")
	}
	o.Price, o.Unit, o.Available = price, a.cfg.Currency, in.Available
	return o, nil
}

// menuLimit keeps a menu to a size that one page can show.
const menuLimit = 200

// AddItem puts an item on a shop's menu.
func (a *App) AddItem(ctx context.Context, who Member, shopID string, in Item) error {
	o, err := a.offering(in)
	if err != nil {
		return err
	}
	o.ID, o.ProviderID, o.CreatedAt = newID(), shopID, time.Now()
	return a.owned(ctx, who, shopID, func(tx Tx, p Provider) error {
		menu, err := tx.Offerings(ctx, p.ID)
		if err != nil {
			return err
		}
		if len(menu) >= menuLimit {
			return problem(Conflict, "menu_full")
		}
		if err := tx.AddOffering(ctx, o); err != nil {
			return err
		}
		return record(ctx, tx, note{"provider/" + p.ID, "offering.add", who.ID, o.CreatedAt}, offeringFacts(o))
	})
}

// ChangeItem changes an item. Orders that were quoted before keep their price.
func (a *App) ChangeItem(ctx context.Context, who Member, shopID, itemID string, in Item) error {
	o, err := a.offering(in)
	if err != nil {
		return err
	}
	o.ID, o.ProviderID = itemID, shopID
	return a.owned(ctx, who, shopID, func(tx Tx, p Provider) error {
		if err := tx.SetOffering(ctx, o); err != nil {
			return missingAs(err, "no_item")
		}
		return record(ctx, tx, note{"provider/" + p.ID, "offering.change", who.ID, time.Now()}, offeringFacts(o))
	})
}

func offeringFacts(o Offering) facts {
	state := "sold_out"
	if o.Available {
		state = "available"
	}
	return facts{"id": o.ID, "name": o.Name, "price": Decimal(o.Price, o.Unit), "state": state}
}
