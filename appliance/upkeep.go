// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"rochdale/appliance/step"
	"rochdale/backups"
)

// upkeepRequest asks for work on the repositories themselves.
type upkeepRequest struct {
	Kind BackupKind `json:"kind"` // check or prune
}

// Upkeep checks a part of every repository, or forgets old snapshots in them. Those that
// were left out are told when the rest is done: nothing failed there.
func (d *Daemon) Upkeep(ctx context.Context, kind BackupKind, watch func(step.Event)) error {
	w := &tending{Daemon: d, upkeepRequest: upkeepRequest{kind}}
	if err := d.perform(ctx, exclusiveLane, w.operation, watch); err != nil {
		return err
	}
	return notNow(w.busy)
}

// upkeepInTime is upkeep of the schedule. What is left out in a night comes in another
// one, and a finding tells when that takes too long.
func (d *Daemon) upkeepInTime(ctx context.Context, kind BackupKind) error {
	if err := d.Upkeep(ctx, kind, nil); !IsProblem(err, "backup.not-now") {
		return err
	}
	return nil
}

// tending is the work of one upkeep.
type tending struct {
	*Daemon
	upkeepRequest
	busy []string // repositories that were left out
}

func (d *Daemon) upkeepOperation(r upkeepRequest) operation {
	return (&tending{Daemon: d, upkeepRequest: r}).operation()
}

func (w *tending) operation() operation {
	if w.Kind == BackupPrune {
		return operation{request: w.upkeepRequest, plan: step.Plan{Name: "backup-prune", Key: exclusiveLane, Steps: []step.Step{
			{ID: "prune", Do: w.each("backup-prune", w.pruneRepository), Estimate: 30 * time.Second},
		}}}
	}
	return operation{request: w.upkeepRequest, plan: step.Plan{Name: "backup-check", Key: exclusiveLane, Steps: []step.Step{
		{ID: "check", Do: w.each("backup-check", w.checkRepository), Estimate: 30 * time.Second},
	}}}
}

// each does something to every repository; what fails with one is no reason to
// leave out the others. The box's own is the first. One that a dump is on its way to is
// waited for, and one that takes a whole snapshot comes another night.
func (w *tending) each(plan string, do func(context.Context, backups.Repository) error) func(context.Context, step.Report) error {
	return func(ctx context.Context, report step.Report) (err error) {
		w.busy = nil
		for _, r := range w.repositories() {
			if w.carrying.busy(r.Name) {
				report(r.Name + ": ...")
			}
			release, ok := w.carrying.reserve(ctx, r.Name, plan)
			switch {
			case ctx.Err() != nil:
				err = errors.Join(err, context.Cause(ctx))
			case ok:
				report(r.Name)
				err = errors.Join(err, do(ctx, r))
			default:
				w.busy = append(w.busy, r.Name)
			}
			if ok {
				release()
			}
		}
		return err
	}
}

// parts is into how many parts a repository's bytes are dealt: one is read each
// night, and so each byte within four weeks.
const parts = 28

// health is what the checks of a repository have found so far.
func (d *Daemon) health(ctx context.Context, repository string) (backups.Health, error) {
	last, err := d.Store.Runs(ctx, repository, BackupCheck, KeptRuns)
	if err != nil {
		return backups.Health{}, err
	}
	for _, run := range last {
		if run.Health != nil {
			return *run.Health, nil
		}
	}
	return backups.Health{}, nil
}

// checkRepository reads the next part. What is broken is healed at once: as long
// as the sources exist a forced backup makes up for it. Before the first backup there is
// nothing to read.
func (d *Daemon) checkRepository(ctx context.Context, r backups.Repository) error {
	if unmade, err := d.unmade(ctx, r); unmade || err != nil {
		return err
	}
	health, err := d.health(ctx, r.Name)
	if err != nil {
		return err
	}
	return d.keepUp(ctx, r, BackupCheck, func(ctx context.Context, run *BackupRun) error {
		report, err := d.Vault.Check(ctx, r, health.Next(parts))
		if err != nil && report.Errors == 0 {
			return d.gone(ctx, r, err) // it could not be looked at; a damage that was found is told below
		}
		health = health.After(report)
		run.Health = &health
		if report.Errors == 0 {
			return nil
		}
		d.Log.Warn("a repository is damaged", "repository", r.Name, "errors", report.Errors, "details", report.Details)
		return errors.Join(damaged(r, report), d.heal(ctx, r, report))
	})
}

// keepUp is one run of upkeep, which may hold up the others for a while only.
func (d *Daemon) keepUp(ctx context.Context, r backups.Repository, kind BackupKind, do func(context.Context, *BackupRun) error) error {
	limit := 24 * time.Hour
	if all := len(d.repositories()); r.Name != BoxRepository {
		limit = upkeepLimit / time.Duration(max(1, all-1))
	}
	_, err := d.ran(ctx, r.Name, kind, func(run *BackupRun) error {
		return within(ctx, limit, r.Name, func(ctx context.Context) error { return do(ctx, run) })
	})
	return err
}

func damaged(r backups.Repository, report backups.CheckReport) error {
	if r.AppendOnly {
		return Problem("backup.damaged-there", nil, "repository", r.Name, "errors", report.Errors)
	}
	return Problem("backup.damaged", nil, "repository", r.Name, "errors", report.Errors)
}

// heal repairs a repository and saves everything again, reading every file. Where the
// box may only add, most repairs are for whoever runs the place.
func (d *Daemon) heal(ctx context.Context, r backups.Repository, report backups.CheckReport) error {
	if err := d.mayWrite(ctx, r); err != nil {
		return err
	}
	_, err := d.Vault.Heal(ctx, r, report, func(ctx context.Context) (err error) {
		s, err := d.stage(ctx, BackupFull)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.carrying.leave(s.dir)) }()
		s.force = true
		_, err = d.save(ctx, r, s)
		return err
	})
	if err != nil {
		return fmt.Errorf("repair repository %s: %w", r.Name, readable(err))
	}
	return nil
}

// Retention of the two kinds of snapshot.
func retention(kind BackupKind) backups.Retention {
	const day = 24 * time.Hour
	if kind == BackupDump {
		return backups.Retention{Hourly: 2 * day, Daily: 14 * day, Last: 8}
	}
	return backups.Retention{Daily: 30 * day, Weekly: 12 * 7 * day, Monthly: 366 * day, Last: 3}
}

// pruneRepository forgets what is too old, unless a failed check is open: what is
// broken may be needed to heal the rest. Where the box may only add, that is for
// whoever runs the place. The bytes of an upload that was cut off stay for the next one.
func (d *Daemon) pruneRepository(ctx context.Context, r backups.Repository) error {
	if r.AppendOnly {
		return nil
	}
	if unmade, err := d.unmade(ctx, r); unmade || err != nil {
		return err
	}
	health, err := d.health(ctx, r.Name)
	if err != nil {
		return err
	}
	if !health.MayForget() {
		return Problem("backup.prune-held", nil, "repository", r.Name)
	}
	return d.keepUp(ctx, r, BackupPrune, func(ctx context.Context, run *BackupRun) error {
		if err := d.mayWriteThere(ctx, r); err != nil {
			return err
		}
		for _, old := range []struct {
			tag  string
			keep backups.Retention
		}{
			{kindTag(BackupDump), retention(BackupDump)}, {kindTag(BackupFull), retention(BackupFull)},
			{backups.Incomplete, retention(BackupFull)},
		} {
			f, err := d.Vault.Forget(ctx, r, old.keep, old.tag)
			if f.Ahead != nil {
				run.Ahead = append(run.Ahead, Message{ID: f.Ahead.ID, Args: f.Ahead.Args})
			}
			if err != nil {
				return d.gone(ctx, r, err)
			}
		}
		cutOff, err := d.cutOff(ctx, r)
		if err != nil {
			return err
		}
		if cutOff {
			return nil
		}
		return d.Vault.Prune(ctx, r)
	})
}

// mayWriteThere is mayWrite in the words of who asks the repository itself: whoever looks
// beside one that is not there, as on a disk that is not mounted, sees only half of that.
func (d *Daemon) mayWriteThere(ctx context.Context, r backups.Repository) error {
	err := d.mayWrite(ctx, r)
	if !refusedBy(err, "kit.shelf-unreachable") {
		return err
	}
	if _, there := d.Vault.Identify(ctx, r); there != nil {
		return d.gone(ctx, r, there)
	}
	return err
}

const (
	// wholeFresh is how old the newest whole backup may be for nothing to have been cut
	// off since: they begin each night within the same hour, seven hours before a prune.
	wholeFresh = 26 * time.Hour
	// givenUp is how long an upload that is cut off each time is given to come to its
	// end. Without that, a repository whose whole backups fail would only grow.
	givenUp = 7 * 24 * time.Hour
)

// cutOff tells whether a repository elsewhere may hold bytes of a whole backup that did
// not come to its end: a first one over a slow line may take longer than the day that it
// has, and the next one goes on with what was sent. No snapshot refers to it yet, so a
// prune would throw it away, each day anew. A backup that the end of the daemon
// interrupted leaves no run, so what counts is when the last one began that went well.
// The box's own repository is written to at the speed of the disk, which the stacks need.
func (d *Daemon) cutOff(ctx context.Context, r backups.Repository) (bool, error) {
	if r.Name == BoxRepository {
		return false, nil
	}
	runs, err := d.Store.Runs(ctx, r.Name, BackupFull, KeptRuns+1) // with the last one that went well
	if err != nil {
		return false, err
	}
	known, _, err := d.known(ctx, []backups.Repository{r})
	if err != nil {
		return false, err
	}
	last, since := runStatus(runs).LastSuccess, known[0].Since
	if last.After(since.Add(-metWithin)) { // else it was at another address
		since = last
		if runs[0].OK && time.Since(last) < wholeFresh {
			return false, nil
		}
	}
	return time.Since(since) < givenUp, nil
}

// aheadFindings tell of snapshots from the future that the newest prune saw, of those
// that came so far.
func (d *Daemon) aheadFindings(ctx context.Context) (all []Finding) {
	for _, r := range d.repositories() {
		last, err := d.Store.Runs(ctx, r.Name, BackupPrune, KeptRuns)
		i := slices.IndexFunc(last, func(run BackupRun) bool { return run.OK || len(run.Ahead) > 0 })
		if err != nil || i < 0 {
			continue
		}
		for _, m := range last[i].Ahead {
			all = append(all, Finding{Severity: Warning, Message: m})
		}
	}
	return all
}
