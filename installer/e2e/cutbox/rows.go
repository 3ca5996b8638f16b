// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"rochdale/appliance"
)

// rows commits one release after the other, each on the generation that was
// reserved for it; the generation's number is the turn.
type rows struct {
	*box
	n int64 // the last turn that ended
}

const rowsName = "rows"

// release is what a stack runs after a turn.
func release(stack string, n int64) appliance.Release {
	digest := sha256.Sum256(fmt.Appendf(nil, "%s %d", stack, n))
	return appliance.Release{
		Stack: stack, Digest: fmt.Sprintf("sha256:%x", digest), Version: fmt.Sprintf("1.0.%d", n), Generation: n,
		Committed: time.Unix(n, 0).UTC(), Stopped: n%3 == 0, Settings: string(content("settings", n%7)),
	}
}

// released gives the turn of the row of a stack, which must be whole.
func (b *box) released(ctx context.Context, stack string) (int64, error) {
	r, ok, err := b.db.Release(ctx, stack)
	if err != nil || !ok {
		return 0, err
	}
	if r != release(stack, r.Generation) {
		return 0, fmt.Errorf("the row is %+v", r)
	}
	return r.Generation, nil
}

func (w *rows) check(ctx context.Context) (err error) {
	if w.n, err = w.released(ctx, rowsName); err != nil {
		return err
	}
	at, _, err := w.db.LastRun(ctx, rowsName)
	if err != nil {
		return err
	}
	ran := max(at.Unix(), 0)
	w.found("row", w.n)
	w.found("run", ran)
	return inOrder(place{"the release", w.n}, place{"the run", ran})
}

// resume notes the run of a turn that was cut off between its two rows.
func (w *rows) resume(ctx context.Context) error {
	if w.n == 0 {
		return nil
	}
	return w.db.Ran(ctx, rowsName, release(rowsName, w.n).Committed)
}

func (w *rows) turn(ctx context.Context) error {
	r := release(rowsName, w.n+1)
	n, err := w.db.ReserveGeneration(ctx, rowsName, r.Digest, 0)
	if err != nil {
		return err
	}
	if n != r.Generation {
		return fmt.Errorf("generation %d is reserved after %d", n, w.n)
	}
	if err := w.db.Commit(ctx, r); err != nil {
		return err
	}
	w.n = n
	w.ack("row", n)
	if err := w.db.Ran(ctx, rowsName, r.Committed); err != nil {
		return err
	}
	w.ack("run", n)
	return nil
}
