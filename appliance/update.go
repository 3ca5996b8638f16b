// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"rochdale/appliance/step"
	"rochdale/stacks"
)

// UpdateRequest asks for another release of a stack.
type UpdateRequest struct {
	Stack string `json:"stack"`
	// Digest is that of a bundle which lies unpacked among those of the stack.
	Digest string `json:"digest"`
	// Window is how long visitors may see the maintenance page. With 0 they wait,
	// at most 10 s, and what takes longer is put back.
	Window time.Duration `json:"window_ns,omitempty"`
	// Again tries a version that was put back before.
	Again bool `json:"again,omitempty"`
}

// LongestWindow bounds how long visitors may see the maintenance page.
const LongestWindow = 6 * time.Hour

// Update takes a stack to another release as one transaction: no request is
// dropped, and when anything goes wrong the old release serves on its own,
// untouched data. The error says why.
func (d *Daemon) Update(ctx context.Context, r UpdateRequest, watch func(step.Event)) (Change, error) {
	if err := d.mustRun(ctx, r.Stack); err != nil {
		return Change{}, err
	}
	if err := d.saveBefore(ctx, r.Stack, watch); err != nil {
		return Change{}, err
	}
	t := newTransition(KindUpdate, r.Stack)
	t.Digest, t.Window, t.Again = r.Digest, r.Window, r.Again
	return d.change(ctx, t, watch)
}

// A copy of the box that is not older than this is enough before an update: the
// update itself leaves the data it came from alone.
const freshCopy = time.Hour

// copyPatience is how long an update waits for a copy that is under way.
const copyPatience = 5 * time.Minute

// saveBefore copies the databases unless that was done lately. What can not be
// copied is not updated either.
func (d *Daemon) saveBefore(ctx context.Context, stack string, watch func(step.Event)) error {
	for began := time.Now(); ; {
		s, err := backupStatus(ctx, d.Store, d.repositories())
		if err != nil {
			return err
		}
		if age := time.Since(s.LastSuccess); age >= 0 && age < freshCopy {
			return nil
		}
		err = d.Backup(ctx, BackupDump, BoxRepository, watch)
		switch {
		case err == nil:
			return nil
		case !IsProblem(err, "daemon.busy") || time.Since(began) > copyPatience:
			return Problem("update.no-copy", err, "stack", stack)
		}
		if !sleep(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

func newTransition(kind ChangeKind, stack string) transitionRequest {
	return transitionRequest{ID: ulid.MustNew(ulid.Now(), rand.Reader).String(), Stack: stack, Kind: kind, Suffix: NewSuffix(), Began: time.Now().UTC()}
}

// change performs a transition and gives its record.
func (d *Daemon) change(ctx context.Context, r transitionRequest, watch func(step.Event)) (Change, error) {
	err := d.perform(ctx, r.Stack, func() operation { return d.transitionOperation(r) }, watch)
	c, _, lost := d.Store.Change(context.WithoutCancel(ctx), r.ID)
	if err == nil {
		err = lost
	}
	return c, err
}

// mayTry refuses a bundle that was put back before, unless it is asked for again.
func (t *transition) mayTry(ctx context.Context, b Bundle) error {
	why, bad, err := t.bad(ctx, t.Stack, b.Digest)
	if err != nil || !bad || t.Again {
		return err
	}
	e := Problem("update.bad-version", nil, "stack", t.Stack, "version", b.Stack.Manifest.Version, "when", why.Ended.Format(time.RFC3339))
	if why.Reason != nil {
		e.Places = []Place{{Message: *why.Reason}}
	}
	return e
}

func (d *Daemon) transitionOperation(r transitionRequest) operation {
	return (&transition{Daemon: d, transitionRequest: r}).operation()
}

func (d *Daemon) resumedOperation(r transitionRequest) operation {
	return (&transition{Daemon: d, transitionRequest: r, resumed: true}).operation()
}

// isTransition tells whether a plan is one of a transition.
func isTransition(plan string) bool {
	return slices.Contains([]string{"stack-update", "stack-rollback", "stack-restore"}, plan)
}

func (t *transition) operation() operation {
	o := operation{request: t.transitionRequest, after: t.ended}
	switch t.Kind {
	case KindRollback:
		o.plan = t.rollbackPlan()
	case KindRestore:
		o.plan = t.restorePlan()
	default:
		o.plan = t.updatePlan()
	}
	return o
}

func (t *transition) updatePlan() step.Plan {
	first := []step.Step{
		{ID: "open", Do: t.openBoth},
		{ID: "images", Do: t.loadNew, Estimate: 2 * time.Second},
		{ID: "room", Do: t.room},
		{ID: "data", Do: t.prepare, Effects: writes(t.Paths.Stack(t.Stack)), Estimate: time.Second},
	}
	for i := range first {
		first[i].Done = t.committed
	}
	return step.Plan{Name: "stack-update", Key: t.Stack, Steps: append(first, t.steps(
		step.Step{ID: "copy", Do: t.timed(t.copy), Estimate: 2 * time.Second},
		step.Step{ID: "migrate", Do: t.timed(t.migrate), Estimate: time.Second},
		step.Step{ID: "facts", Do: t.timed(t.compare)},
	)...)}
}

// openBoth opens both releases. It is the first step, where a transition that an
// earlier process left in the middle ends.
func (t *transition) openBoth(ctx context.Context, _ step.Report) error {
	row, err := t.begun(ctx)
	if err != nil {
		return err
	}
	b, err := t.Bundles.Open(ctx, t.Paths.Bundles(t.Stack), t.Digest)
	if err != nil {
		return err
	}
	m := b.Stack.Manifest
	switch {
	case m.Name != t.Stack:
		return Problem("daemon.other-stack", nil, "stack", t.Stack, "found", m.Name).WithCode(ExitUsage)
	case b.Digest == row.Digest:
		return Problem("update.same", nil, "stack", t.Stack, "version", row.Version).WithCode(ExitUsage)
	}
	if err := errors.Join(t.upgradable(row, b), t.mayTry(ctx, b)); err != nil {
		return err
	}
	return t.note(ctx, row, b, Release{Stack: t.Stack, Digest: b.Digest, Version: m.Version})
}

// begun refuses to go on with what an earlier process left in the middle, and
// gives the row to start from.
func (t *transition) begun(ctx context.Context) (Release, error) {
	if t.resumed {
		return Release{}, Problem("update.interrupted", nil, "stack", t.Stack)
	}
	row, ok, err := t.Store.Release(ctx, t.Stack)
	if err == nil && !ok {
		err = Problem("daemon.no-stack", nil, "stack", t.Stack).WithCode(ExitUsage)
	}
	if err != nil {
		return row, err
	}
	t.from, err = t.crewOf(ctx, row)
	return row, err
}

// note makes the change known: from here on it has a history.
func (t *transition) note(ctx context.Context, row Release, b Bundle, to Release) (err error) {
	t.change = Change{ID: t.ID, Stack: t.Stack, Kind: t.Kind, From: row, To: to, Began: t.Began, Snapshot: t.Snapshot}
	t.to, err = t.crew(ctx, to, b)
	if err != nil {
		return err
	}
	return t.keep(ctx)
}

// upgradable wants the release to say that it can follow the one that runs.
func (t *transition) upgradable(row Release, b Bundle) error {
	have, err := parseVersion(row.Version)
	if err != nil {
		return err
	}
	ok, err := follows(b, have)
	if err == nil && !ok {
		err = Problem("update.path", nil, "stack", t.Stack, "have", row.Version, "version", b.Stack.Manifest.Version, "from", b.Stack.Manifest.Upgrade.From)
	}
	return err
}

func (t *transition) loadNew(ctx context.Context, _ step.Report) error { return t.load(ctx, t.to) }

// prepare makes the new generation and brings over what can be brought while the
// old release serves.
func (t *transition) prepare(ctx context.Context, report step.Report) error {
	if err := t.reserve(ctx); err != nil {
		return err
	}
	from, err := t.place(ctx, t.from)
	if err != nil {
		return err
	}
	to, err := t.place(ctx, t.to)
	if err != nil {
		return err
	}
	n, err := t.Data.CopyFiles(ctx, from, to)
	if n > 0 {
		report(fmt.Sprintf("%d bytes", n))
	}
	return err
}

// reserve takes a number for the new generation and makes its folders.
func (t *transition) reserve(ctx context.Context) error {
	newest, err := newestGeneration(dataDir(t.Paths, t.Stack))
	if err != nil {
		return err
	}
	n, err := t.Store.ReserveGeneration(ctx, t.Stack, t.change.To.Digest, newest)
	if err != nil {
		return err
	}
	t.change.To.Generation, t.to.release.Generation = n, n
	if err := t.keep(ctx); err != nil {
		return err
	}
	// The box tells the containers which generation they are on.
	c, err := t.crew(ctx, t.to.release, t.to.bundle)
	if err != nil {
		return err
	}
	c.images, t.to = t.to.images, c
	return t.furnish(t.to)
}

func (t *transition) copy(ctx context.Context, report step.Report) error {
	from, err := t.place(ctx, t.from)
	if err != nil {
		return err
	}
	to, err := t.place(ctx, t.to)
	if err != nil {
		return err
	}
	done, err := t.Data.Copy(ctx, from, to, factsFor(t.from, "update"))
	if err != nil {
		return err
	}
	t.before = done.Facts
	report(fmt.Sprintf("%d bytes", done.Bytes))
	return nil
}

// migrate also measures what the migrations may have spoiled: another child for
// that alone would keep visitors waiting for longer than the measuring does. What
// the release's own program may spoil is measured after it.
func (t *transition) migrate(ctx context.Context, report step.Report) error {
	m, ok, err := t.migration(ctx, t.to)
	if err != nil {
		return err
	}
	if ok {
		if !t.to.migratesItself() {
			name, _ := t.to.migrated()
			m.Facts = factsIn(factsFor(t.to, "update"), name)
		}
		done, err := t.Migrator.Up(ctx, m)
		if err != nil {
			return ofCopy(err)
		}
		t.after = done.Facts
		report(fmt.Sprintf("schema %d -> %d", done.From, done.To))
	}
	return t.command(ctx, t.to, t.Suffix, report)
}

// ofCopy tells a migration that failed from one of the data that a stack runs on: here it
// was a copy, nothing of it stays, and another try begins with a new one.
func ofCopy(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.ID != "migrate.failed" {
		return err
	}
	told := *e
	told.Message = Message{ID: "migrate.copy-not-changed", Args: e.Args}
	return &told
}

// compare holds the facts of the new data against those of the old.
func (t *transition) compare(ctx context.Context, _ step.Report) error {
	facts := factsFor(t.to, "update")
	if err := t.measureLeft(ctx, facts); err != nil {
		return err
	}
	t.change.Facts = t.after
	return t.judgeFacts(facts, t.after)
}

// measureLeft measures the facts that were not measured with the migrations: those
// of other databases, and all of them where there are no migrations of ours.
func (t *transition) measureLeft(ctx context.Context, facts map[string]stacks.Fact) error {
	left := maps.Clone(facts)
	for name := range t.after {
		delete(left, name)
	}
	if len(left) == 0 {
		return nil
	}
	to, err := t.place(ctx, t.to)
	if err != nil {
		return err
	}
	more, err := t.Data.Facts(ctx, to, left)
	if err != nil {
		return err
	}
	if t.after == nil {
		t.after = map[string]int64{}
	}
	maps.Copy(t.after, more)
	return nil
}
