// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"testing"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store/storetest"
)

func priced(c crew) coop.Quote {
	now := time.Now()
	price := coop.Price{Goods: 3000, Delivery: 500, Tip: 200}
	return coop.Quote{
		ID: coop.NewKey(), Unit: "EUR", CreatedAt: now, ExpiresAt: now.Add(time.Hour), Price: price,
		Shares: coop.Split(price, coop.SplitRule{CommissionBP: 300, CommissionBase: coop.BaseBoth, CommissionFrom: coop.FromPayees, FundFrom: coop.FromCoop}),
		Request: coop.Request{ID: coop.NewKey(), CustomerID: c.client.ID, ProviderID: c.shop, Address: "7 Long Lane", CreatedAt: now,
			Lines: []coop.Line{{ID: coop.NewKey(), OfferingID: c.item, Name: "Soup", Price: 1500, Quantity: 2}}},
	}
}

// BenchmarkPlaceOrder prices and places one order: two durable transactions. The
// price goes in through the store, since a member may ask for 60 in a quarter of
// an hour.
func BenchmarkPlaceOrder(b *testing.B) {
	db := storetest.SQLite(b)
	c := enlist(b, db)
	ctx := b.Context()
	for b.Loop() {
		q := priced(c)
		if err := db.Write(ctx, func(tx coop.Tx) error { return tx.AddQuote(ctx, q) }); err != nil {
			b.Fatal(err)
		}
		if _, err := c.app.Place(ctx, c.client, q.ID); err != nil {
			b.Fatal(err)
		}
	}
}
