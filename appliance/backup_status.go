// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"time"

	"rochdale/backups"
)

// BackupStatus is how the copies are.
type BackupStatus struct {
	Repositories []RepositoryStatus `json:"repositories"`
	// LastSuccess is the newest snapshot anywhere, LastCheck the newest check that
	// found nothing; zero for never.
	LastSuccess time.Time    `json:"last_success,omitzero"`
	LastCheck   time.Time    `json:"last_check,omitzero"`
	LastDrill   *DrillStatus `json:"last_drill,omitempty"`
	// RPO is how many seconds of work would be lost with the machine now; nil
	// while there is no snapshot outside of it.
	RPO *int64 `json:"rpo_s,omitempty"`
}

// RepositoryStatus is how one repository is.
type RepositoryStatus struct {
	Name        string    `json:"name"`
	Kind        string    `json:"kind"` // local, sftp, s3 or rest
	Offsite     bool      `json:"offsite"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   *Message  `json:"last_error,omitempty"` // of the newest run, if it failed
}

// DrillStatus is the newest drill.
type DrillStatus struct {
	At       time.Time `json:"at"`
	Duration float64   `json:"duration_s"`
	OK       bool      `json:"ok"`
}

// backupStatus reads what the runs have left behind.
func backupStatus(ctx context.Context, r Reader, all []backups.Repository) (s BackupStatus, err error) {
	s.Repositories = []RepositoryStatus{}
	for _, repository := range all {
		one, err := repositoryStatus(ctx, r, repository)
		if err != nil {
			return s, err
		}
		s.Repositories = append(s.Repositories, one)
		s.LastSuccess = later(s.LastSuccess, one.LastSuccess)
		if one.Offsite && !one.LastSuccess.IsZero() {
			age := int64(time.Since(one.LastSuccess).Seconds())
			if s.RPO == nil || age < *s.RPO {
				s.RPO = &age
			}
		}
	}
	checks, err := r.Runs(ctx, "", BackupCheck, KeptRuns)
	if err != nil {
		return s, err
	}
	if i := slices.IndexFunc(checks, func(run BackupRun) bool { return run.OK }); i >= 0 {
		s.LastCheck = checks[i].Ended
	}
	drills, err := r.Runs(ctx, "", BackupDrill, 1)
	if err == nil && len(drills) > 0 {
		s.LastDrill = &DrillStatus{At: drills[0].Ended, OK: drills[0].OK, Duration: drills[0].Ended.Sub(drills[0].Began).Seconds()}
	}
	return s, err
}

func repositoryStatus(ctx context.Context, r Reader, repository backups.Repository) (s RepositoryStatus, err error) {
	kind := repository.Kind()
	s = RepositoryStatus{Name: repository.Name, Kind: string(kind), Offsite: kind != backups.Local}
	var newest time.Time
	for _, want := range []BackupKind{BackupDump, BackupFull} {
		runs, err := r.Runs(ctx, repository.Name, want, KeptRuns)
		if err != nil {
			return s, err
		}
		if i := slices.IndexFunc(runs, func(run BackupRun) bool { return run.OK }); i >= 0 {
			s.LastSuccess = later(s.LastSuccess, runs[i].Began)
		}
		if len(runs) > 0 && runs[0].Ended.After(newest) {
			newest, s.LastError = runs[0].Ended, runs[0].Error
		}
	}
	return s, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// staleAfter is how old the newest snapshot of a repository may be.
const staleAfter = 26 * time.Hour

// backupFindings tell what is wrong with the copies.
func (d *Daemon) backupFindings(ctx context.Context) []Finding {
	rows, err := d.Store.Releases(ctx)
	if err != nil || len(rows) == 0 {
		return nil
	}
	s, err := backupStatus(ctx, d.Store, d.repositories())
	if err != nil {
		return nil // the state being unreadable is another finding
	}
	since := rows[0].Committed
	for _, r := range rows {
		if r.Committed.Before(since) {
			since = r.Committed
		}
	}
	var all []Finding
	offsite := false
	for _, r := range s.Repositories {
		offsite = offsite || r.Offsite
		all = append(all, r.findings(since)...)
	}
	if !offsite {
		all = append(all, Finding{Message: Message{ID: "backup.no-offsite"}, Severity: Notice})
	}
	return slices.Concat(all, d.stoppedFindings(ctx, rows), d.damageFindings(ctx), d.drillFindings(ctx, rows))
}

func (r RepositoryStatus) findings(since time.Time) []Finding {
	switch last := later(since, r.LastSuccess); {
	case replaced(r.LastError):
		return []Finding{{Severity: Failure, Message: *r.LastError}}
	case time.Since(last) > staleAfter:
		return []Finding{{Severity: Failure, Message: Message{ID: "backup.stale", Args: Args("repository", r.Name, "hours", int(time.Since(last).Hours()))}}}
	case r.LastError != nil:
		return []Finding{{Severity: Warning, Message: Message{ID: "backup.failed", Args: Args("repository", r.Name, "detail", r.LastError.ID)}}, {Severity: Warning, Message: *r.LastError}}
	default:
		return nil
	}
}

// damageFindings tell of repositories with a check that failed and that no later
// one made good.
func (d *Daemon) damageFindings(ctx context.Context) (all []Finding) {
	for _, r := range d.repositories() {
		if health, err := d.health(ctx, r.Name); err == nil && !health.MayForget() {
			all = append(all, Finding{Severity: Failure, Message: Message{ID: "backup.damaged", Args: Args("repository", r.Name, "errors", len(health.Failed))}})
		}
	}
	return all
}
