// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"rochdale/appliance/step"
)

// Loss is what a way back gives up.
type Loss struct {
	Schema int     `json:"schema"`
	Stack  string  `json:"stack"`
	From   Release `json:"from"` // what runs now
	To     Release `json:"to"`   // what would run
	// Since is when the data were parted: what was written later is given up.
	Since time.Time `json:"since"`
	// Facts are those that changed since then.
	Facts []FactChange `json:"facts"`
}

// FactChange is a fact at two times.
type FactChange struct {
	Name string `json:"name"`
	Then int64  `json:"then"`
	Now  int64  `json:"now"`
}

// WouldLose tells what a way back to the release before would give up.
func (d *Daemon) WouldLose(ctx context.Context, stack string) (Loss, error) {
	last, err := d.returnable(ctx, stack)
	if err != nil {
		return Loss{}, err
	}
	row, _, err := d.Store.Release(ctx, stack)
	if err != nil {
		return Loss{}, err
	}
	now, err := d.factsNow(ctx, row)
	if err != nil {
		return Loss{}, err
	}
	return Loss{Schema: 1, Stack: stack, From: row, To: last.From, Since: last.Ended, Facts: changedFacts(last.Facts, now)}, nil
}

// factsNow measures the facts of the release that runs.
func (d *Daemon) factsNow(ctx context.Context, row Release) (map[string]int64, error) {
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return nil, err
	}
	c, err := d.crew(ctx, row, b)
	if err != nil {
		return nil, err
	}
	place, err := d.dataPlace(ctx, c)
	if err != nil {
		return nil, err
	}
	return d.Data.Facts(ctx, place, factsFor(c, "update"))
}

// changedFacts are those that are known at both times, and differ.
func changedFacts(then, now map[string]int64) []FactChange {
	changed := []FactChange{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if before, known := then[name]; known && before != now[name] {
			changed = append(changed, FactChange{name, before, now[name]})
		}
	}
	return changed
}

// returnable is the change that a way back would undo.
func (d *Daemon) returnable(ctx context.Context, stack string) (Change, error) {
	if err := d.mustRun(ctx, stack); err != nil {
		return Change{}, err
	}
	row, _, err := d.Store.Release(ctx, stack)
	if err != nil {
		return Change{}, err
	}
	last, ok, err := d.lastCommitted(ctx, row)
	if err != nil {
		return last, err
	}
	if !ok || last.Kind == KindRollback {
		return last, Problem("update.nothing-before", nil, "stack", stack).WithCode(ExitUsage)
	}
	if _, err := os.Stat(d.Paths.Generation(stack, last.From.Generation)); errors.Is(err, fs.ErrNotExist) {
		return last, Problem("update.before-gone", err, "stack", stack, "version", last.From.Version)
	}
	_, err = d.openBundle(ctx, last.From)
	return last, err
}

// RollbackRequest asks for the release before.
type RollbackRequest struct {
	Stack string `json:"stack"`
	// Window is how long visitors may see the maintenance page at most: a release that
	// needed one, because it brought another database server, needs one on the way back.
	Window time.Duration `json:"window_ns,omitempty"`
}

// Rollback returns to the release before, on the data that it left. What was
// written since is given up: [Daemon.WouldLose] says what.
func (d *Daemon) Rollback(ctx context.Context, r RollbackRequest, watch func(step.Event)) (Change, error) {
	if _, err := d.returnable(ctx, r.Stack); err != nil {
		return Change{}, err
	}
	t := newTransition(KindRollback, r.Stack)
	t.Window = r.Window
	return d.change(ctx, t, watch)
}

func (t *transition) rollbackPlan() step.Plan {
	first := []step.Step{
		{ID: "find", Do: t.find},
		{ID: "images", Do: t.loadNew, Estimate: 2 * time.Second},
	}
	for i := range first {
		first[i].Done = t.committed
	}
	return step.Plan{Name: "stack-rollback", Key: t.Stack, Steps: append(first, t.steps()...)}
}

// find opens the release before.
func (t *transition) find(ctx context.Context, _ step.Report) error {
	row, err := t.begun(ctx)
	if err != nil {
		return err
	}
	last, err := t.returnable(ctx, t.Stack)
	if err != nil {
		return err
	}
	b, err := t.openBundle(ctx, last.From)
	if err != nil {
		return err
	}
	to := last.From
	to.Committed = time.Time{}
	return t.note(ctx, row, b, to)
}
