// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"testing"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store/storetest"
)

// TestReturn: what can't be handed over ends without any money; what was handed
// over and not paid ends with its sale reversed.
func TestReturn(t *testing.T) {
	for name, by := range map[string]func(crew) coop.Member{
		"the courier": func(c crew) coop.Member { return c.courier },
		"the shop":    func(c crew) coop.Member { return c.merchant },
		"an admin":    func(c crew) coop.Member { return c.admin },
	} {
		t.Run(name, func(t *testing.T) {
			c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
			job, who := c.carried(t), by(c)
			waits := c.order(t)
			if err := c.app.AcceptOrder(ctx, c.merchant, waits); err != nil {
				t.Fatal(err)
			}
			if got := key(c.app.Return(ctx, c.client, job, "not hungry")); got != "not_yours" {
				t.Errorf("the customer sends it back: %s", got)
			}
			if got := key(c.app.Return(ctx, who, job, " ")); got != "empty" {
				t.Errorf("without a reason: %s", got)
			}
			for range 2 {
				if err := c.app.Return(ctx, who, job, "nobody opened"); err != nil {
					t.Fatal(err)
				}
			}
			v, err := c.app.Order(ctx, c.client, job)
			if err != nil || v.State != coop.Returned || v.Reason != "nobody opened" || v.PIN != "" {
				t.Errorf("%+v, %v", v, err)
			}
			if got := key(c.app.Deliver(ctx, c.courier, job, "0000")); got != "moved_on" {
				t.Errorf("delivered after all: %s", got)
			}
			if o := c.offer(t, c.courier); o == nil || o.JobID != waits {
				t.Errorf("the courier isn't free for the next order: %+v", o)
			}
			c.settled(t, 0)
		})
	}
}

func TestReturnUnpaid(t *testing.T) {
	c, ctx := enlist(t, storetest.SQLite(t)), t.Context()
	job := c.carried(t)
	v, err := c.app.Order(ctx, c.client, job)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.app.Deliver(ctx, c.courier, job, v.PIN); err != nil {
		t.Fatal(err)
	}
	for _, who := range []coop.Member{c.courier, c.merchant, c.client} {
		if got := key(c.app.Return(ctx, who, job, "no money")); got != "not_yours" {
			t.Errorf("only an admin undoes a sale: %s", got)
		}
	}
	if err := c.app.Return(ctx, c.admin, job, "no money"); err != nil {
		t.Fatal(err)
	}
	if got := key(c.app.Collect(ctx, c.courier, job)); got != "moved_on" {
		t.Errorf("cash for a returned order: %s", got)
	}
	c.settled(t, 2)
}

// settled checks that nobody owes anything, after so many transactions, and that
// the record is whole.
func (c crew) settled(t *testing.T, transactions int) {
	t.Helper()
	ctx := t.Context()
	l, err := c.app.Ledger(ctx, c.admin)
	if err != nil || len(l.Transactions) != transactions {
		t.Errorf("%d transactions, %v", len(l.Transactions), err)
	}
	for _, b := range l.Balances {
		if b.Amount != 0 {
			t.Errorf("%s holds %d", b.Kind, b.Amount)
		}
	}
	if a, err := c.app.Audit(ctx, c.admin); err != nil || !a.Good() {
		t.Errorf("%+v, %v", a, err)
	}
}
