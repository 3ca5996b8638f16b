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
	AppendOnly  bool      `json:"append_only,omitempty"` // it is not pruned from here
	LastSuccess time.Time `json:"last_success,omitzero"`
	// LastError is of the newest backup that failed and was not made good: a full one
	// by a full one, a dump by either.
	LastError *Message `json:"last_error,omitempty"`
	// Full, Dump, Check, Prune and Drill are how each kind of run is by itself.
	Full  RunStatus `json:"full"`
	Dump  RunStatus `json:"dump"`
	Check RunStatus `json:"check"`
	Prune RunStatus `json:"prune"`
	Drill RunStatus `json:"drill"` // of any stack
	// known is since when it is; zero: nobody asked.
	known time.Time
	// whole is when the oldest full backup that is remembered and worked began.
	whole time.Time
}

// RunStatus is how the runs of one kind on a repository are.
type RunStatus struct {
	LastSuccess time.Time `json:"last_success,omitzero"` // when it began
	LastError   *Message  `json:"last_error,omitempty"`  // of the newest run, if it failed
	failed      time.Time // when the one that failed began
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
	s = RepositoryStatus{Name: repository.Name, Kind: string(kind), Offsite: kind != backups.Local, AppendOnly: repository.AppendOnly}
	for want, one := range map[BackupKind]*RunStatus{BackupFull: &s.Full, BackupDump: &s.Dump, BackupCheck: &s.Check, BackupPrune: &s.Prune, BackupDrill: &s.Drill} {
		runs, err := r.Runs(ctx, repository.Name, want, KeptRuns+1) // with the last one that went well
		if err != nil {
			return s, err
		}
		*one = runStatus(runs)
		if want == BackupFull {
			s.whole = oldestOK(runs)
		}
	}
	if s.Full.LastSuccess.After(s.Dump.failed) {
		s.Dump.LastError = nil // a full one has the databases too
	}
	if replaced(s.Full.LastError) && s.Dump.LastSuccess.After(s.Full.failed) {
		s.Full.LastError = nil // it is this machine's again
	}
	s.LastSuccess, s.LastError = later(s.Full.LastSuccess, s.Dump.LastSuccess), s.Full.LastError
	if s.LastError == nil || s.Dump.LastError != nil && s.Dump.failed.After(s.Full.failed) {
		s.LastError = s.Dump.LastError
	}
	return s, nil
}

// runStatus sums up runs of one kind, the newest first.
func runStatus(runs []BackupRun) (s RunStatus) {
	if i := slices.IndexFunc(runs, func(run BackupRun) bool { return run.OK }); i >= 0 {
		s.LastSuccess = runs[i].Began
	}
	if len(runs) > 0 && !runs[0].OK {
		s.LastError, s.failed = runs[0].Error, runs[0].Began
	}
	return s
}

// oldestOK is when the oldest run that worked began.
func oldestOK(runs []BackupRun) (at time.Time) {
	for _, run := range runs {
		if run.OK {
			at = run.Began
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

const (
	// staleAfter is how old the newest snapshot of a repository may be.
	staleAfter = 26 * time.Hour
	// wholeStaleAfter is how old the newest full one may be. It counts from its begin
	// and may take hours: a night that was missed is told by its error.
	wholeStaleAfter = 2*24*time.Hour + 2*time.Hour
	// checkOverdue is how old the newest check that passed may be. Every byte is to be
	// read within 30 days, and one of its parts each night.
	checkOverdue = (30 - parts + 1) * 24 * time.Hour
	// pruneOverdue is how long a repository may grow without anything being let go: a
	// week of nights on which it was busy, and a day.
	pruneOverdue = 8 * 24 * time.Hour
)

// backupFindings tell what is wrong with the copies.
func (d *Daemon) backupFindings(ctx context.Context) []Finding {
	rows, err := d.Store.Releases(ctx)
	if err != nil || len(rows) == 0 {
		return nil
	}
	repositories := d.repositories()
	s, err := backupStatus(ctx, d.Store, repositories)
	if err != nil {
		return nil // the state being unreadable is another finding
	}
	known, _, err := d.known(ctx, repositories)
	if err != nil {
		return nil
	}
	since, err := d.savableSince(ctx, rows)
	if err != nil {
		return nil
	}
	var all []Finding
	for i := range s.Repositories {
		r := &s.Repositories[i]
		r.known = known[i].Since
		all = append(all, r.findings(since)...)
	}
	if !d.recovering() {
		all = append(all, outsideFindings(s.Repositories)...)
	}
	return slices.Concat(all, d.sameDiskFindings(repositories), d.carrying.findings(),
		d.stoppedFindings(ctx, rows), d.damageFindings(ctx), d.drillFindings(ctx, rows))
}

// outsideFindings tell that there is no copy outside of the machine. A repository
// elsewhere is one when something was saved to it, and not when it is written down.
func outsideFindings(all []RepositoryStatus) []Finding {
	m := Message{ID: "backup.no-offsite"}
	for _, r := range all {
		switch {
		case r.Offsite && r.worked():
			return nil
		case r.Offsite:
			m = Message{ID: "backup.no-offsite-yet", Args: Args("repository", r.Name)}
		}
	}
	return []Finding{{Message: m, Severity: Notice}}
}

// sameDiskFindings tell of repositories that are lost with the box's data: in a folder
// of the same disk, which looks the same as one whose disk is not mounted.
func (d *Daemon) sameDiskFindings(all []backups.Repository) (found []Finding) {
	for _, r := range all {
		if r.Name == BoxRepository || r.Kind() != backups.Local {
			continue
		}
		if same, err := d.Space.SameDisk(r.URL, d.Paths.BoxRepository()); err == nil && same {
			found = append(found, Finding{Severity: Warning, Message: Message{ID: "backup.same-disk", Args: Args("repository", r.Name, "path", r.URL)}})
		}
	}
	return found
}

// savableSince is since when there is something to save. An update does not move that, or
// each would hide for a day that nothing is saved.
func (d *Daemon) savableSince(ctx context.Context, rows []Release) (first time.Time, err error) {
	for _, row := range rows {
		changes, err := d.Store.Changes(ctx, row.Stack, KeptChanges)
		if err != nil {
			return first, err
		}
		if at := beganAs(row, changes).Committed; first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first, nil
}

// beganAs is what a stack ran on this machine before all of its changes, the newest first.
// Those that a recovery took over lead to no row of this machine, which has its time then
// like a new one.
func beganAs(row Release, changes []Change) Release {
	for _, c := range changes {
		if c.Outcome == Committed && c.To.Digest == row.Digest && c.To.Generation == row.Generation {
			row = c.From
		}
	}
	return row
}

func (r RepositoryStatus) findings(since time.Time) []Finding {
	if replaced(r.LastError) {
		return []Finding{{Severity: Failure, Message: *r.LastError}}
	}
	return distinct(slices.Concat(r.saveFindings(later(since, r.known)), r.upkeepFindings()))
}

// metWithin is how long after its first use a repository is known at the latest.
const metWithin = 2 * reconcileEvery

// worked tells whether anything was saved to the repository, at the address that it
// has now.
func (r RepositoryStatus) worked() bool {
	return !r.LastSuccess.IsZero() && r.LastSuccess.After(r.known.Add(-metWithin))
}

// neverWorked is why nothing was saved there so far, although that was tried.
func (r RepositoryStatus) neverWorked() *Message {
	failed := later(r.Full.failed, r.Dump.failed)
	if r.worked() || r.LastError == nil || failed.Before(r.known) {
		return nil
	}
	return r.LastError
}

// saveFindings tell of backups. Those of databases alone make up for no full one:
// plain files are in no dump. One that never worked is no bad day that passes: somebody
// has to look at what was written down.
func (r RepositoryStatus) saveFindings(since time.Time) (all []Finding) {
	if e := r.neverWorked(); e != nil {
		all = because(Message{ID: "backup.never-worked", Args: Args("repository", r.Name)}, *e)
		all[0].Severity = Failure
		return all
	}
	last, whole := later(since, r.LastSuccess), later(since, r.Full.LastSuccess)
	if time.Since(last) > staleAfter {
		return []Finding{{Severity: Failure, Message: Message{ID: "backup.stale", Args: Args("repository", r.Name, "hours", int(time.Since(last).Hours()))}}}
	}
	if time.Since(whole) > wholeStaleAfter {
		all = append(all, Finding{Severity: Failure, Message: Message{ID: "backup.full-stale", Args: Args("repository", r.Name, "days", int(time.Since(whole).Hours()/24))}})
	}
	if e := r.Full.LastError; e != nil && r.Dump.LastSuccess.After(r.Full.failed) {
		all = append(all, because(Message{ID: "backup.full-failed", Args: Args("repository", r.Name)}, *e)...)
	} else if e != nil {
		all = append(all, because(Message{ID: "backup.failed", Args: Args("repository", r.Name)}, *e)...)
	}
	if e := r.Dump.LastError; e != nil {
		all = append(all, because(Message{ID: "backup.failed", Args: Args("repository", r.Name)}, *e)...)
	}
	return all
}

// upkeepFindings tell of checks and of what was to be forgotten, once there is
// something to look after.
func (r RepositoryStatus) upkeepFindings() (all []Finding) {
	if r.whole.IsZero() {
		return nil
	}
	if last := later(later(r.known, r.whole), r.Check.LastSuccess); time.Since(last) > checkOverdue {
		all = append(all, Finding{Severity: Warning, Message: Message{ID: "backup.check-overdue", Args: Args("repository", r.Name, "days", int(time.Since(last).Hours()/24))}})
		if e := r.Check.LastError; e != nil && e.ID != "backup.damaged" && e.ID != "backup.damaged-there" { // that is told by itself
			all = append(all, Finding{Severity: Warning, Message: *e})
		}
	}
	if r.AppendOnly {
		return all
	}
	last := later(later(r.known, r.whole), r.Prune.LastSuccess)
	if e := r.Prune.LastError; e != nil && !replaced(e) {
		all = append(all, because(Message{ID: "backup.prune-failed", Args: Args("repository", r.Name)}, *e)...)
	} else if time.Since(last) > pruneOverdue { // it did not even begin
		all = append(all, Finding{Severity: Warning, Message: Message{ID: "backup.prune-overdue", Args: Args("repository", r.Name, "days", int(time.Since(last).Hours()/24))}})
	}
	return all
}

// because is a finding with its reason beside it.
func because(m, reason Message) []Finding {
	return []Finding{{Severity: Warning, Message: m}, {Severity: Warning, Message: reason}}
}

// distinct leaves out what was told already: one reason may stand for several runs.
func distinct(all []Finding) (some []Finding) {
	told := map[string]bool{}
	for _, f := range all {
		if !told[f.ID] {
			some = append(some, f)
		}
		told[f.ID] = true
	}
	return some
}

// away are the repositories that are gone, as when a disk is not mounted, by name and by
// address.
func (d *Daemon) away(ctx context.Context) map[string]bool {
	away := map[string]bool{}
	for _, r := range d.repositories() {
		if s, err := repositoryStatus(ctx, d.Store, r); err == nil && s.isGone() {
			away[r.Name], away[r.URL] = true, true
		}
	}
	return away
}

// isAbout tells whether a message is about one of these repositories.
func isAbout(m Message, repositories map[string]bool) bool {
	return repositories[m.Args["repository"]] || repositories[m.Args["address"]]
}

// lessOfGone leaves out what follows from a repository being gone: one finding is enough
// for one cause. Failures stay, and so does everything once something was saved there again.
func (d *Daemon) lessOfGone(ctx context.Context, all []Finding) []Finding {
	away := d.away(ctx)
	return slices.DeleteFunc(all, func(f Finding) bool {
		return f.Severity == Warning && f.ID != "backup.gone" && isAbout(f.Message, away)
	})
}

// isGone tells whether a run found nothing there, and nothing was saved since.
func (r RepositoryStatus) isGone() bool {
	return slices.ContainsFunc([]RunStatus{r.Full, r.Dump, r.Check, r.Prune}, func(s RunStatus) bool {
		return s.LastError != nil && s.LastError.ID == "backup.gone" && s.failed.After(r.LastSuccess)
	})
}

// damageFindings tell of repositories with a check that failed and that no later
// one made good.
func (d *Daemon) damageFindings(ctx context.Context) (all []Finding) {
	for _, r := range d.repositories() {
		if health, err := d.health(ctx, r.Name); err == nil && !health.MayForget() {
			all = append(all, Finding{Severity: Failure, Message: MessageOf(damaged(r, backups.CheckReport{Errors: int64(len(health.Failed))}))})
		}
	}
	return all
}
