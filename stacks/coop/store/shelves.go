// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"

	"rochdale/stacks/coop"
)

func (t *tx) AddProvider(ctx context.Context, p coop.Provider) error {
	return t.exec(ctx, "insert into providers (id, kind, owner_id, name, address, opening, created_at) values (?, ?, ?, ?, ?, ?, ?)",
		p.ID, p.Kind, p.OwnerID, p.Name, p.Address, string(p.Opening), coop.Millis(p.CreatedAt))
}

const providerCols = "select id, kind, owner_id, name, address, opening, created_at from providers "

func readProvider(scan scanner) (p coop.Provider, err error) {
	var at int64
	err = scan(&p.ID, &p.Kind, &p.OwnerID, &p.Name, &p.Address, &p.Opening, &at)
	p.CreatedAt = coop.FromMillis(at)
	return p, err
}

func (t *tx) Provider(ctx context.Context, id string) (coop.Provider, error) {
	return one(ctx, t, readProvider, providerCols+"where id = ?", id)
}

func (t *tx) Providers(ctx context.Context, ownerID string, limit int) ([]coop.Provider, error) {
	return many(ctx, t, readProvider, providerCols+"where ? = '' or owner_id = ? order by opening, name, id limit ?", ownerID, ownerID, limit)
}

func (t *tx) SetOpening(ctx context.Context, id string, o coop.Opening) error {
	return t.change(ctx, coop.ErrMissing, "update providers set opening = ? where id = ?", string(o), id)
}

func (t *tx) AddOffering(ctx context.Context, o coop.Offering) error {
	return t.exec(ctx, "insert into offerings (id, provider_id, name, about, unit, price, available, created_at) values (?, ?, ?, ?, ?, ?, ?, ?)",
		o.ID, o.ProviderID, o.Name, o.About, o.Unit, o.Price, flag(o.Available), coop.Millis(o.CreatedAt))
}

func (t *tx) Offerings(ctx context.Context, providerID string) ([]coop.Offering, error) {
	return many(ctx, t, func(scan scanner) (o coop.Offering, err error) {
		var at, available int64
		err = scan(&o.ID, &o.ProviderID, &o.Name, &o.About, &o.Unit, &o.Price, &available, &at)
		o.Available, o.CreatedAt = available == 1, coop.FromMillis(at)
		return o, err
	}, "select id, provider_id, name, about, unit, price, available, created_at from offerings where provider_id = ? order by created_at, id", providerID)
}

func (t *tx) SetOffering(ctx context.Context, o coop.Offering) error {
	return t.change(ctx, coop.ErrMissing, "update offerings set name = ?, about = ?, price = ?, available = ? where id = ? and provider_id = ?",
		o.Name, o.About, o.Price, flag(o.Available), o.ID, o.ProviderID)
}
