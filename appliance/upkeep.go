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

// Upkeep checks a part of every repository, or forgets old snapshots in them.
func (d *Daemon) Upkeep(ctx context.Context, kind BackupKind, watch func(step.Event)) error {
	r := upkeepRequest{kind}
	return d.perform(ctx, exclusiveLane, func() operation { return d.upkeepOperation(r) }, watch)
}

func (d *Daemon) upkeepOperation(r upkeepRequest) operation {
	if r.Kind == BackupPrune {
		return operation{request: r, plan: step.Plan{Name: "backup-prune", Key: exclusiveLane, Steps: []step.Step{
			{ID: "prune", Do: d.each(d.pruneRepository), Estimate: 30 * time.Second},
		}}}
	}
	return operation{request: r, plan: step.Plan{Name: "backup-check", Key: exclusiveLane, Steps: []step.Step{
		{ID: "check", Do: d.each(d.checkRepository), Estimate: 30 * time.Second},
	}}}
}

// each does something to every repository; what fails with one is no reason to
// leave out the others. The box's own is the first, and one that a snapshot is on its
// way to comes another night.
func (d *Daemon) each(do func(context.Context, backups.Repository) error) func(context.Context, step.Report) error {
	return func(ctx context.Context, report step.Report) (err error) {
		for _, r := range d.repositories() {
			if ctx.Err() != nil {
				return errors.Join(err, context.Cause(ctx))
			}
			if d.carrying.busy(r.Name) {
				report(r.Name + ": ...")
				continue
			}
			report(r.Name)
			err = errors.Join(err, do(ctx, r))
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
// as the sources exist a forced backup makes up for it.
func (d *Daemon) checkRepository(ctx context.Context, r backups.Repository) error {
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
	return Problem("backup.damaged", nil, "repository", r.Name, "errors", report.Errors)
}

// heal repairs a repository and saves everything again, reading every file.
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
// whoever runs the place.
func (d *Daemon) pruneRepository(ctx context.Context, r backups.Repository) error {
	if r.AppendOnly {
		return nil
	}
	health, err := d.health(ctx, r.Name)
	if err != nil {
		return err
	}
	if !health.MayForget() {
		return Problem("backup.prune-held", nil, "repository", r.Name)
	}
	return d.keepUp(ctx, r, BackupPrune, func(ctx context.Context, run *BackupRun) error {
		if err := d.mayWrite(ctx, r); err != nil {
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
		return d.Vault.Prune(ctx, r)
	})
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
