// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// backFor is how long going back is tried before reconciling has to do it.
const backFor = time.Minute

// ended closes a transition: committed, or put back. failed is why it came to
// nothing, or nil. It may be run again after a crash in the middle: then what is there
// is put in order, and a change that is over already stays told as it was.
func (t *transition) ended(ctx context.Context, failed error) error {
	done, err := t.committed(ctx)
	if err != nil {
		return err
	}
	if t.Kind == KindRestore && !done {
		err = errors.Join(os.RemoveAll(t.restored()), os.RemoveAll(t.restored()+laidOutFiles))
	}
	if t.change.ID == "" && !IsProblem(failed, "update.interrupted") {
		return err // it was refused before it began
	}
	if t.change.ID == "" {
		return errors.Join(err, t.recordInterrupted(ctx, failed))
	}
	if !done {
		return errors.Join(err, t.putBack(ctx, failed))
	}
	t.views.gate(t.Stack, Gate{}) // reconciling points the edge if the plan could not
	t.routes.poke()
	return t.close(ctx, Committed)
}

// recordInterrupted makes a change known that was cut off before anything of it was:
// whoever asked for it finds it in the history. Nothing is to be put back.
func (t *transition) recordInterrupted(ctx context.Context, failed error) error {
	row, ok, err := t.Store.Release(ctx, t.Stack)
	if err != nil || !ok {
		return err
	}
	t.change = Change{ID: t.ID, Stack: t.Stack, Kind: t.Kind, From: row, To: Release{Stack: t.Stack}, Began: t.Began, Snapshot: t.Snapshot, Reason: reasonOf(failed)}
	return t.close(ctx, Interrupted)
}

// close keeps how the change ended, unless that is known.
func (t *transition) close(ctx context.Context, how ChangeOutcome) error {
	if t.change.Over() {
		return nil
	}
	t.change.Outcome, t.change.Ended = how, time.Now().UTC()
	return t.keep(ctx)
}

// putBack lets the old release serve on its own data again, and forgets what was
// made for the new one.
func (t *transition) putBack(ctx context.Context, failed error) error {
	t.blame(ctx, failed)
	err := t.goBack(ctx)
	for end := time.Now().Add(backFor); err != nil && ctx.Err() == nil && time.Now().Before(end); {
		t.Log.Warn("the old release is not back yet", "stack", t.Stack, "error", err)
		sleep(ctx, time.Second)
		err = t.goBack(ctx)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // the next start does it
	}
	t.views.gate(t.Stack, Gate{})
	t.routes.poke()
	return errors.Join(err, t.dropNew(ctx), t.close(ctx, outcomeOf(*t.change.Reason)))
}

// blame keeps why the change is put back, unless that is known: who goes on with it
// after a crash only knows that there was one. That it can not be kept, as when the disk
// is full, is no reason not to go back.
func (t *transition) blame(ctx context.Context, failed error) {
	if t.change.Reason != nil {
		return
	}
	t.change.Reason, t.change.Log = reasonOf(failed), cmp.Or(t.lastWords(ctx), lastLines(failed))
	if err := t.keep(ctx); err != nil {
		t.Log.Warn("why a change is put back is not kept yet", "stack", t.Stack, "error", err)
	}
}

// reasonOf is what a person is told: what went wrong, not that it was put back.
func reasonOf(failed error) *Message {
	m := MessageOf(failed)
	var e *Error
	if errors.As(failed, &e) && len(e.Places) > 0 {
		m = e.Places[0].Message
	}
	return &m
}

func outcomeOf(why Message) ChangeOutcome {
	switch why.ID {
	case "update.postponed":
		return Postponed
	case "update.interrupted":
		return Interrupted
	default:
		return PutBack
	}
}

// lastWords are the last lines of the newest container that this transition
// made, if it made any.
func (t *transition) lastWords(ctx context.Context) string {
	all, err := t.Engine.List(ctx, t.Stack)
	i := slices.IndexFunc(all, func(x Container) bool { return suffixOf(x) == t.Suffix || t.serverOfNew(x) })
	if err != nil || i < 0 {
		return ""
	}
	out := &tailWriter{max: 2 << 10}
	bounded, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := t.Engine.Logs(bounded, all[i].ID, LogOptions{Tail: 10}, out); err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out.buf), ""))
}

// serverOfNew tells whether a container is a shared service that the new release alone
// has. It is no [transition.fresh] one: it has the files that the old release needs
// again, and is given time to leave them whole.
func (t *transition) serverOfNew(x Container) bool {
	if t.from == nil || t.to == nil {
		return false
	}
	s, known := t.to.service(x.Service)
	return known && s.Shared && t.to.belongs(x) && !t.from.belongs(x)
}

// fresh are the containers that this transition made on the new generation.
func (t *transition) fresh(ctx context.Context) ([]Container, error) {
	all, err := t.Engine.List(ctx, t.Stack)
	var mine []Container
	for _, x := range all {
		if suffixOf(x) == t.Suffix {
			mine = append(mine, x)
		}
	}
	return mine, err
}

func (t *transition) goBack(ctx context.Context) error {
	if t.from == nil {
		row, ok, err := t.Store.Release(ctx, t.Stack)
		if err != nil || !ok {
			return err
		}
		if t.from, err = t.crewOf(ctx, row); err != nil {
			return err
		}
	}
	if err := t.Data.Halt(ctx, t.Stack); err != nil {
		return err
	}
	fresh, err := t.fresh(ctx)
	if err != nil {
		return err
	}
	for _, x := range fresh { // what never served needs no grace
		if err := t.Engine.Remove(ctx, x.ID); err != nil {
			return err
		}
	}
	if err := t.ensure(ctx, t.from, everything); err != nil {
		return err
	}
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return err
	}
	x, ok := t.from.best(all, t.from.bundle.Stack.Manifest.Web.Service)
	if !ok {
		return Problem("daemon.web-gone", nil, "stack", t.Stack)
	}
	return t.open(ctx, t.from.upstream(x))
}

// dropNew removes the generation that was made for the new release. A way back
// has made none. What can not be removed now is removed by the next clean-up.
func (t *transition) dropNew(ctx context.Context) error {
	row, ok, err := t.Store.Release(ctx, t.Stack)
	to := t.change.To
	if err != nil || !ok || t.Kind == KindRollback || to.Generation == 0 || to.Generation == row.Generation {
		return err
	}
	if err := t.dropDatabases(ctx, to); err != nil {
		// The folder stays as a reminder: the daily clean-up removes both.
		t.Log.Warn("the databases of a release that was put back are still there", "stack", t.Stack, "generation", to.Generation, "error", err)
		return nil
	}
	if err := os.RemoveAll(t.generationDir(to)); err != nil {
		return fmt.Errorf("remove the data of the release that was put back: %w", err)
	}
	return nil
}

// dropDatabases removes those of a generation that are in a server. After a crash
// nothing is known of the new release; the old one has the same server.
func (t *transition) dropDatabases(ctx context.Context, to Release) error {
	of := t.to
	if of == nil {
		of = t.from
	}
	if of == nil {
		return nil
	}
	p, err := t.place(ctx, of)
	if err != nil {
		return err
	}
	p.Generation = to.Generation
	return t.Data.Drop(ctx, p)
}
