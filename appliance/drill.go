// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/step"
	"rochdale/backups"
)

// A drill restores the newest snapshot beside the running stack: a copy of its
// own, in a network without an outside, that nobody visits. A backup counts when
// it was restored.

// DrillPrefix begins the names under which copies of stacks are drilled. No stack
// is called so, and the engine gives their networks no outside.
const DrillPrefix = "drill-"

// IsDrill tells whether a name is that of a copy.
func IsDrill(stack string) bool { return strings.HasPrefix(stack, DrillPrefix) }

// DrillRequest says what is to be proven. Empty: all stacks, from the box's own
// repository.
type DrillRequest struct {
	Stack      string `json:"stack,omitempty"`
	Repository string `json:"repository,omitempty"`
}

// Drill restores the newest snapshot of stacks beside them and holds it against
// what was measured when it was made. The evidence is kept.
func (d *Daemon) Drill(ctx context.Context, q DrillRequest, watch func(step.Event)) error {
	if q.Repository == "" {
		q.Repository = BoxRepository
	}
	if _, err := d.repository(q.Repository); err != nil {
		return err
	}
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return err
	}
	found := false
	for _, row := range rows {
		if row.Stopped || q.Stack != "" && row.Stack != q.Stack {
			continue
		}
		if found = true; IsProblem(err, "backup.too-slow") {
			break // so it is with the others
		}
		one := DrillRequest{Stack: row.Stack, Repository: q.Repository}
		err = errors.Join(err, d.perform(ctx, exclusiveLane, func() operation { return d.drillOperation(one) }, watch))
	}
	switch {
	case found:
		return err
	case q.Stack == "":
		return Problem("drill.nothing-runs", nil).WithCode(ExitUsage)
	default:
		return d.mustRun(ctx, q.Stack) // it does not, and this says why
	}
}

// drill is the work of one. Nothing of it outlives the process but the evidence:
// one that was interrupted begins anew.
type drill struct {
	*Daemon
	DrillRequest
	began time.Time
	took  StackBackup
	made  time.Time
	c     *crew
	facts map[string]int64
}

func (d *Daemon) drillOperation(q DrillRequest) operation {
	w := &drill{Daemon: d, DrillRequest: q}
	return operation{request: q, after: w.ended, plan: step.Plan{Name: "backup-drill", Key: exclusiveLane, Steps: []step.Step{
		{ID: "clean", Do: w.clean},
		{ID: "fetch", Do: w.fetch, Effects: writes(d.Paths.Stack(w.name())), Estimate: 10 * time.Second},
		{ID: "load", Do: w.load, Estimate: 5 * time.Second},
		{ID: "facts", Do: w.measure, Estimate: time.Second},
		{ID: "start", Do: w.start, Estimate: 3 * time.Second},
		{ID: "probe", Do: w.probe},
	}}}
}

// name is the copy's.
func (w *drill) name() string { return DrillPrefix + w.Stack }

// clean removes what a drill leaves, its own or that of one before.
func (w *drill) clean(ctx context.Context, _ step.Report) error {
	w.began = time.Now()
	if err := w.Data.Halt(ctx, w.name()); err != nil {
		return err
	}
	all, err := w.Engine.List(ctx, w.name())
	if err != nil {
		return err
	}
	for _, x := range all {
		if err := w.Engine.Remove(ctx, x.ID); err != nil {
			return err
		}
	}
	if err := w.Engine.RemoveNetwork(ctx, w.name()); err != nil {
		return err
	}
	if err := os.RemoveAll(w.Paths.Stack(w.name())); err != nil {
		return fmt.Errorf("remove the copy that was drilled: %w", err)
	}
	return nil
}

// fetch lays the newest snapshot out, if there is room for two more copies.
func (w *drill) fetch(ctx context.Context, _ step.Report) error {
	r, err := w.repository(w.Repository)
	if err != nil {
		return err
	}
	if r.Name == BoxRepository {
		return w.fetchFrom(ctx, r)
	}
	return within(ctx, drillLimit, r.Name, func(ctx context.Context) error { return w.fetchFrom(ctx, r) })
}

func (w *drill) fetchFrom(ctx context.Context, r backups.Repository) error {
	s, err := w.choose(ctx, r, w.Stack, "")
	if err != nil {
		return err
	}
	w.made = s.Made
	into := filepath.Join(w.Paths.Stack(w.name()), "restored")
	if w.took, err = w.layOut(ctx, r, layout{Snapshot: s.Snapshot, Files: s.Files, Stack: w.Stack, Into: into, NoRoom: noRestoreRoom}); err != nil {
		return err
	}
	return w.wantRoom("drill.no-room", w.Stack, into, w.loadBytes(ctx, w.Stack, w.took))
}

// load makes the copy: release and data, both from the snapshot.
func (w *drill) load(ctx context.Context, _ step.Report) error {
	into := filepath.Join(w.Paths.Stack(w.name()), "restored")
	bundles := w.Paths.Bundles(w.name())
	if err := w.files.MkdirAll(bundles, rootOnly()); err != nil {
		return err
	}
	from, err := inside(into, w.took.Bundle)
	if err != nil {
		return fmt.Errorf("take the release out of the snapshot: %w", err)
	}
	if err := os.Rename(from, filepath.Join(bundles, filepath.Base(w.took.Bundle))); err != nil {
		return fmt.Errorf("take the release out of the snapshot: %w", err)
	}
	release := Release{Stack: w.name(), Digest: w.took.Release.Digest, Version: w.took.Release.Version, Generation: 1}
	b, err := w.open(ctx, release)
	if err != nil {
		return err
	}
	if free, err := w.Space.Memory(); err != nil || free < b.Stack.Manifest.Needs.Memory {
		return errors.Join(err, Problem("drill.no-memory", nil, "stack", w.Stack, "need", mebibytes(b.Stack.Manifest.Needs.Memory), "free", mebibytes(free)))
	}
	if w.c, err = w.copyCrew(ctx, release, b); err != nil {
		return err
	}
	return w.fill(ctx, into)
}

// copyCrew is the crew of the copy: it is told the same of the box as the stack.
func (w *drill) copyCrew(ctx context.Context, r Release, b Bundle) (*crew, error) {
	if err := w.Engine.EnsureNetwork(ctx, r.Stack); err != nil {
		return nil, err
	}
	n, err := w.Engine.Network(ctx, r.Stack)
	if err != nil {
		return nil, err
	}
	box, err := w.box(w.Stack, b.Stack.Manifest, n)
	if err != nil {
		return nil, err
	}
	c := &crew{release: r, bundle: b, box: box, paths: w.Paths}
	return c, w.Daemon.load(ctx, c)
}

func (w *drill) fill(ctx context.Context, into string) error {
	if err := errors.Join(w.furnish(w.c), w.password(w.c)); err != nil {
		return err
	}
	if err := w.ensure(ctx, w.c, isShared); err != nil {
		return err
	}
	place, err := w.dataPlace(ctx, w.c)
	if err != nil {
		return err
	}
	if err := w.placeFiles(ctx, into, w.took, w.c, "drill", func(string) {}); err != nil {
		return err
	}
	from, err := inside(into, w.took.Database)
	if err != nil {
		return err
	}
	return w.Data.Load(ctx, from, place)
}

// measure holds the facts against those that were measured when the snapshot was
// made, and wants the database to be at the schema of its release.
func (w *drill) measure(ctx context.Context, _ step.Report) error {
	place, err := w.dataPlace(ctx, w.c)
	if err != nil {
		return err
	}
	facts := factsFor(w.c, "drill")
	if w.facts, err = w.Data.Facts(ctx, place, facts); err != nil {
		return err
	}
	if name, want, got, differs := differing(facts, w.took.Data.Facts, w.facts); differs {
		return Problem("drill.fact", nil, "stack", w.Stack, "fact", name, "want", want, "got", got)
	}
	m, ok, err := w.migration(ctx, w.c)
	if err != nil || !ok {
		return err
	}
	s, err := w.Migrator.Status(ctx, m)
	if err == nil && len(s.Pending) > 0 {
		err = Problem("drill.schema", nil, "stack", w.Stack, "current", s.Current, "newest", s.Newest)
	}
	return err
}

func (w *drill) start(ctx context.Context, _ step.Report) error {
	return w.ensure(ctx, w.c, everything)
}

func (w *drill) probe(ctx context.Context, _ step.Report) error {
	t := &transition{Daemon: w.Daemon, transitionRequest: transitionRequest{Stack: w.name()}, to: w.c}
	return t.probe(ctx, nil)
}

// ended keeps the evidence, and removes the copy. Where nothing was saved yet there is
// nothing to be proven, and so no evidence.
func (w *drill) ended(ctx context.Context, failed error) error {
	if IsProblem(failed, "restore.nothing-saved") {
		return w.cleanAtLast(ctx)
	}
	seconds := time.Since(w.began).Seconds()
	_, err := w.ran(ctx, w.Repository, BackupDrill, func(run *BackupRun) error {
		run.Began = w.began.UTC()
		run.Bytes = w.took.Data.Bytes
		run.Drill = &Drill{Stack: w.Stack, Version: w.took.Release.Version, Snapshot: w.made, Facts: w.facts, Seconds: seconds}
		return failed
	})
	if failed != nil {
		err = nil // it is told already
	}
	return errors.Join(err, w.cleanAtLast(ctx))
}

// cleanFor is how long removing the copy is tried: an engine that was killed is back
// within seconds, and the next drill may be a day away.
const cleanFor = 2 * time.Minute

func (w *drill) cleanAtLast(ctx context.Context) error {
	for end := time.Now().Add(cleanFor); ; {
		err := w.clean(ctx, nil)
		if err == nil || time.Now().After(end) || !sleep(ctx, 2*time.Second) {
			return err
		}
		w.Log.Warn("the copy that was drilled is not removed yet", "stack", w.Stack, "error", err)
	}
}

// drillOverdue is how old the newest drill that worked may be.
const drillOverdue = 3 * 24 * time.Hour

// drillFindings tell of stacks whose snapshots were not proven lately.
func (d *Daemon) drillFindings(ctx context.Context, rows []Release) (all []Finding) {
	var runs []BackupRun
	for _, r := range d.repositories() { // one that was removed is not told of any more
		some, err := d.Store.Runs(ctx, r.Name, BackupDrill, KeptRuns)
		if err != nil {
			return nil
		}
		runs = append(runs, some...)
	}
	for _, row := range rows {
		if row.Stopped {
			continue // it is not drilled either
		}
		all = append(all, drillFinding(row, runs)...)
	}
	return all
}

// drillFinding judges each repository by its newest run, the first of it in runs: that
// one can be restored proves nothing of another.
func drillFinding(row Release, runs []BackupRun) (all []Finding) {
	since, judged := row.Committed, map[string]bool{}
	for _, run := range runs {
		if run.Drill == nil || run.Drill.Stack != row.Stack || run.outOfReach() {
			continue
		}
		if !judged[run.Repository] && !run.OK && run.Error != nil {
			told := because(Message{ID: "drill.failed", Args: Args("stack", row.Stack, "repository", run.Repository)}, *run.Error)
			told[0].Severity = Failure
			all, since = append(all, told...), later(since, run.Ended) // it was tried out, at least
		}
		judged[run.Repository] = true
		if run.OK {
			since = later(since, run.Ended)
		}
	}
	if time.Since(since) < drillOverdue {
		return all
	}
	return append(all, Finding{Severity: Warning, Message: Message{ID: "drill.overdue", Args: Args("stack", row.Stack, "days", int(time.Since(since).Hours()/24))}})
}

// outOfReach tells whether a run ended because its repository did not answer or was not
// there. That says nothing of the snapshots; what is the matter with the repository is
// told by itself.
func (r BackupRun) outOfReach() bool {
	return r.Error != nil && slices.Contains([]string{"backup.gone", "backups.no-repository", "backups.unreachable"}, r.Error.ID)
}

// drillHere proves the repository of the box.
func (d *Daemon) drillHere(ctx context.Context) error { return d.drillFrom(ctx, BoxRepository) }

// drillOffsite proves each repository elsewhere.
func (d *Daemon) drillOffsite(ctx context.Context) (err error) {
	for _, r := range d.repositories() {
		if r.Kind() != backups.Local {
			err = errors.Join(err, d.drillFrom(ctx, r.Name))
		}
	}
	return err
}

// drillFrom drills by itself: where every stack is stopped or nothing was saved yet there
// is nothing to do, which is an error only for somebody who asks for a drill.
func (d *Daemon) drillFrom(ctx context.Context, repository string) error {
	err := d.Drill(ctx, DrillRequest{Repository: repository}, nil)
	if IsProblem(err, "drill.nothing-runs") || IsProblem(err, "restore.nothing-saved") {
		return nil
	}
	return err
}
