// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import "context"

// Audit is the answer to "is everything as it was written?".
type Audit struct {
	Events     int64  // events read
	Broken     int64  // number of the first event that doesn't fit, 0 for none
	Head       string // hash of the last event: write it down to compare later
	Unbalanced int64  // transactions that don't sum to zero
	Balances   []Balance
}

// Good reports that nothing was found.
func (a Audit) Good() bool { return a.Broken == 0 && a.Unbalanced == 0 }

// auditPage is how many events are read at once.
const auditPage = 500

// Audit re-reads the whole event log on one snapshot, checks its hash chain to
// the recorded head, and checks that every transaction balances.
func (a *App) Audit(ctx context.Context, who Member) (out Audit, err error) {
	if err := need(who, RoleAdmin, RoleTreasurer); err != nil {
		return out, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		if err := chain(ctx, tx, &out); err != nil {
			return err
		}
		if out.Unbalanced, err = tx.Unbalanced(ctx); err != nil {
			return err
		}
		out.Balances, err = tx.Balances(ctx, "")
		return err
	})
	return out, err
}

func chain(ctx context.Context, tx Tx, out *Audit) error {
	last, head, err := tx.Head(ctx)
	if err != nil {
		return err
	}
	prev := ""
	for {
		page, err := tx.Events(ctx, out.Events, auditPage)
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.Seq != out.Events+1 || e.Prev != prev || e.digest() != e.Hash {
				out.Broken = out.Events + 1
				return nil
			}
			out.Events, prev = e.Seq, e.Hash
		}
		if len(page) < auditPage {
			break
		}
	}
	out.Head = prev
	if out.Events != last || prev != head {
		out.Broken = out.Events + 1
	}
	return nil
}
