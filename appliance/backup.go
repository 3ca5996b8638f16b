// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
	"rochdale/backups"
)

// manifestSchema is the version of [BackupManifest].
const manifestSchema = 1

// manifestName is the file in a snapshot's stage that says what is in it.
const manifestName = "manifest.json"

// BackupManifest says what a snapshot of the box holds.
type BackupManifest struct {
	Schema  int        `json:"schema"`
	Kind    BackupKind `json:"kind"`
	Version string     `json:"version"` // of Rochdale
	Made    time.Time  `json:"made"`
	// Stacks are all that are here, by name, those that are stopped too.
	Stacks map[string]StackBackup `json:"stacks"`
}

// StackBackup is one stack in a snapshot. All paths are those of the box that
// made it.
type StackBackup struct {
	Release  Release  `json:"release"`
	User     int      `json:"user"`
	Data     Snapshot `json:"data"`      // of its databases, and the facts in the same view
	Bundle   string   `json:"bundle"`    // folder of the unpacked bundle
	Secrets  string   `json:"secrets"`   // folder
	Database string   `json:"databases"` // folder with Data.Files
	// Volumes are folders with plain files, by volume; only in a full snapshot.
	Volumes map[string]string `json:"volumes,omitempty"`
}

// The lanes of jobs that are about the whole box. A dump waits for nothing but a
// change of a stack; of the others there is one at a time.
const (
	dumpLane      = "box.dump"
	exclusiveLane = "box.exclusive"
)

// backupRequest is what a backup was begun with.
type backupRequest struct {
	Kind BackupKind `json:"kind"`
	// Only is a repository; empty: all of them.
	Only string `json:"only,omitempty"`
}

// Backup makes a snapshot now, in one repository or in all of them with "".
func (d *Daemon) Backup(ctx context.Context, kind BackupKind, only string, watch func(step.Event)) error {
	if only != "" {
		if _, err := d.repository(only); err != nil {
			return err
		}
	}
	var w *saving
	err := d.perform(ctx, laneOf(kind), func() operation {
		w = &saving{Daemon: d, backupRequest: backupRequest{Kind: kind, Only: only}}
		return w.operation()
	}, watch)
	if err != nil {
		return err
	}
	return w.onItsWay()
}

func laneOf(kind BackupKind) string {
	if kind == BackupDump {
		return dumpLane
	}
	return exclusiveLane
}

func (d *Daemon) backupOperation(r backupRequest) operation {
	return (&saving{Daemon: d, backupRequest: r}).operation()
}

func (w *saving) operation() operation {
	steps := []step.Step{
		{ID: "stage", Do: w.stageAll, Effects: writes(w.Paths.Stage(w.Kind)), Estimate: 5 * time.Second},
		{ID: "save", Do: w.saveAll, Estimate: 10 * time.Second},
	}
	plan := step.Plan{Name: "backup-full", Key: exclusiveLane, Steps: steps}
	if w.Kind == BackupDump {
		plan = step.Plan{Name: "backup-dump", Key: dumpLane, Steps: steps}
	}
	return operation{request: w.backupRequest, after: w.sweep, plan: plan}
}

// saving is the work of one backup.
type saving struct {
	*Daemon
	backupRequest
	made    staged
	saved   bool     // into one repository at least
	behind  []*load  // what goes on after the backup
	without bool     // a repository was left out
	late    []string // repositories that do not have it yet
}

// onItsWay tells whoever asked for a backup where it is not yet. The backup has not
// failed: what is late goes on by itself, and a finding tells of what stays behind.
func (w *saving) onItsWay() error {
	if len(w.late) == 0 {
		return nil
	}
	return Problem("backup.on-its-way", nil, "repositories", strings.Join(w.late, ", ")).WithCode(ExitWarnings)
}

func (w *saving) stageAll(ctx context.Context, _ step.Report) (err error) {
	w.made, err = w.stage(ctx, w.Kind)
	if IsProblem(err, "backup.no-room") && w.carrying.giveWay(ctx) {
		w.made, err = w.stage(ctx, w.Kind)
	}
	if err != nil && ctx.Err() == nil {
		err = errors.Join(err, w.failedAll(ctx, w.Kind, err))
	}
	return err
}

// saveAll saves into each repository, the box's own first. One that can not be
// reached, or that is slow, keeps nothing from the others.
func (w *saving) saveAll(ctx context.Context, report step.Report) error {
	all := slices.DeleteFunc(w.repositories(), func(r backups.Repository) bool { return w.Only != "" && r.Name != w.Only })
	var err error
	for _, r := range all {
		if r.Name == BoxRepository {
			run, saveErr := w.save(ctx, r, w.made)
			err = w.note(r, run, saveErr, report)
		}
	}
	patient, cancel := context.WithTimeout(ctx, grace(w.Kind))
	defer cancel()
	for _, r := range all {
		if r.Name != BoxRepository && ctx.Err() == nil {
			err = errors.Join(err, w.carryTo(patient, r, report))
		}
	}
	return errors.Join(err, ctx.Err())
}

func (w *saving) note(r backups.Repository, run BackupRun, err error, report step.Report) error {
	if err == nil {
		w.saved = true
		report(fmt.Sprintf("%s: %d bytes", r.Name, run.Bytes))
	}
	return err
}

// carryTo saves into a repository, as long as patience lasts. What takes longer goes on
// by itself: that fails nothing, see onItsWay, unless this repository alone was asked for.
// One that is being checked or pruned would refuse a snapshot, and gets the next one.
func (w *saving) carryTo(patient context.Context, r backups.Repository, report step.Report) error {
	l, fresh := w.carry(r, w.made) //nolint:contextcheck // it outlives whoever began it
	if fresh {
		select {
		case <-l.over:
			return w.note(r, l.run, l.err, report)
		case <-patient.Done():
			w.carrying.leaveAlone(l)
			w.behind = append(w.behind, l)
		}
	}
	w.without = w.without || !fresh
	switch {
	case w.Only == "":
		w.late = append(w.late, r.Name)
		report(r.Name + ": ...")
		return nil
	case l.upkeep != "":
		return Problem("daemon.busy", nil, "stack", dumpLane, "plan", l.upkeep).WithCode(ExitLocked)
	default:
		return Problem("backup.goes-on", nil, "repository", r.Name, "minutes", int(time.Since(l.began).Minutes())).WithCode(ExitWarnings)
	}
}

// sweep removes the copies of databases, whichever way the backup ended, unless a slow
// repository still takes them.
func (w *saving) sweep(_ context.Context, failed error) error {
	if failed == nil && w.Only == "" && !w.without {
		w.remember()
	}
	if w.saved {
		w.kits.poke(w.Kind == BackupFull)
	}
	return w.carrying.leave(w.made.dir)
}

// remember what was saved, once it is in every repository.
func (w *saving) remember() {
	if len(w.behind) == 0 {
		w.dumped.remember(w.made.prints)
		return
	}
	w.jobs.Go(func() {
		for _, l := range w.behind {
			if <-l.over; l.err != nil {
				return
			}
		}
		w.dumped.remember(w.made.prints)
	})
}

// waitForSwitch is how long a backup waits while a stack is being changed.
const waitForSwitch = 2 * time.Minute

// copiesAgain is how often a copy that failed is made again because an operation on
// the stack came in between.
const copiesAgain = 2

// staged is a snapshot that is ready to be taken.
type staged struct {
	dir      string // its stage; whoever is done with it says so to carrying
	manifest BackupManifest
	paths    []string
	excludes []string
	force    bool              // read every file again
	prints   map[string]string // of the databases, by stack, before they were copied
	// without are stopped stacks that could not be put into the snapshot, and why.
	without map[string]Message
}

// stage lays out everything that a snapshot needs and that can not be read where
// it lies: copies of databases, each in one consistent view, and the box's state.
func (d *Daemon) stage(ctx context.Context, kind BackupKind) (staged, error) {
	dir := d.carrying.stage(d.Paths, kind)
	s, err := d.stageIn(ctx, kind, dir)
	if err != nil {
		return staged{}, errors.Join(err, d.carrying.leave(dir))
	}
	return s, nil
}

func (d *Daemon) stageIn(ctx context.Context, kind BackupKind, dir string) (staged, error) {
	if err := errors.Join(os.RemoveAll(dir), d.files.MkdirAll(dir, rootOnly())); err != nil {
		return staged{}, err
	}
	s := staged{
		dir:      dir,
		manifest: BackupManifest{Schema: manifestSchema, Kind: kind, Version: Version(), Made: time.Now().UTC(), Stacks: map[string]StackBackup{}},
		paths:    []string{dir, d.Paths.ConfigDir(), d.Paths.Edge()}, prints: map[string]string{}, without: map[string]Message{},
	}
	if err := d.Store.CopyTo(ctx, filepath.Join(dir, "state.db")); err != nil {
		return s, err
	}
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return s, err
	}
	for _, row := range rows {
		if err := d.stageStack(ctx, &s, row); err != nil {
			return s, fmt.Errorf("stack %s: %w", row.Stack, err)
		}
	}
	body, err := json.MarshalIndent(s.manifest, "", "  ")
	if err != nil {
		return s, fmt.Errorf("write what the snapshot holds: %w", err)
	}
	s.paths = slices.DeleteFunc(s.paths, func(p string) bool { _, err := os.Lstat(p); return err != nil })
	return s, d.files.Write(filepath.Join(dir, manifestName), body, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// stageStack adds one stack. A stack that was changed while its databases were
// copied is copied again: its snapshot must be of what its row says. One that is
// stopped and can not be copied keeps no other from being saved, and is told of.
func (d *Daemon) stageStack(ctx context.Context, s *staged, row Release) error {
	for again := copiesAgain; ; {
		takes := d.lanes.takes(row.Stack)
		if err := d.lanes.settled(ctx, row.Stack, waitForSwitch); err != nil {
			return err
		}
		if row.Stopped {
			s.prints[row.Stack] = d.stoppedPrint(row)
		}
		one, err := d.snapshotStack(ctx, s, row)
		now, ok, rowErr := d.Store.Release(ctx, row.Stack)
		switch {
		case rowErr != nil:
			return rowErr
		case !ok:
			return nil
		case now.Digest != row.Digest || now.Generation != row.Generation || now.Stopped != row.Stopped:
			row = now
			continue
		case err != nil && again > 0 && d.lanes.takes(row.Stack) != takes && ctx.Err() == nil:
			// An operation ended the copy, or took the server away, and put all back.
			again--
			continue
		case err != nil && row.Stopped && ctx.Err() == nil:
			d.Log.Warn("a stopped stack is not in the snapshot", "stack", row.Stack, "error", err)
			s.without[row.Stack] = MessageOf(err)
			return nil
		case err != nil:
			return err
		}
		s.manifest.Stacks[row.Stack] = one
		return nil
	}
}

func (d *Daemon) snapshotStack(ctx context.Context, s *staged, row Release) (one StackBackup, err error) {
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return one, err
	}
	c, user := &crew{release: row, bundle: b, paths: d.Paths}, b.Stack.Manifest.User
	frame := filepath.Join(s.dir, "stacks", row.Stack)
	into := filepath.Join(frame, "databases")
	if err := errors.Join(os.RemoveAll(into), d.files.MkdirAll(frame, rootOnly()), d.files.MkdirAll(into, stackOnly(user))); err != nil {
		return one, err
	}
	one = StackBackup{Release: row, User: user, Bundle: b.Folder, Secrets: d.Paths.Secrets(row.Stack), Database: into}
	if one.Data, err = d.snapshotDatabases(ctx, s, c, into); err != nil {
		return one, err
	}
	s.paths = append(s.paths, one.Bundle, one.Secrets)
	if s.manifest.Kind == BackupFull {
		one.Volumes = s.addVolumes(c)
	}
	return one, nil
}

// snapshotDatabases copies the databases of a stack into a folder of the stage.
func (d *Daemon) snapshotDatabases(ctx context.Context, s *staged, c *crew, into string) (Snapshot, error) {
	row := c.release
	if row.Stopped && c.postgres() {
		return d.stageParked(row, into)
	}
	place, err := d.dataPlace(ctx, c)
	if err != nil {
		return Snapshot{}, err
	}
	if !row.Stopped {
		s.prints[row.Stack] = fingerprint(row, place)
	}
	if err := d.roomToStage(ctx, place, into); err != nil {
		return Snapshot{}, err
	}
	return d.Data.Snapshot(ctx, place, into, c.bundle.Stack.Manifest.Facts)
}

// addVolumes adds the plain files of a stack: everything in its volumes but the
// databases, which are in the stage, and the volumes of a database server.
func (s *staged) addVolumes(c *crew) map[string]string {
	volumes := map[string]string{}
	for name := range c.volumes() {
		if c.servers(name) {
			continue
		}
		volumes[name] = c.volume(name)
		s.paths = append(s.paths, c.volume(name))
	}
	for _, db := range c.bundle.Stack.Manifest.Databases {
		if db.Volume == "" {
			continue
		}
		file := filepath.Join(c.volume(db.Volume), filepath.FromSlash(db.Path))
		s.excludes = append(s.excludes, file, file+"-wal", file+"-shm", file+"-journal")
	}
	return volumes
}

// servers tells whether a volume is a database server's own.
func (c *crew) servers(volume string) bool {
	for _, s := range c.services() {
		for _, m := range s.Mounts {
			if s.Shared && m.Volume == volume {
				return true
			}
		}
	}
	return false
}

// save takes a staged snapshot into one repository, and keeps how it went.
func (d *Daemon) save(ctx context.Context, r backups.Repository, s staged) (BackupRun, error) {
	return d.ran(ctx, r.Name, s.manifest.Kind, func(run *BackupRun) error { return d.saveInto(ctx, r, s, run) })
}

// saveInto takes a staged snapshot into one repository, if that can be done in time.
func (d *Daemon) saveInto(ctx context.Context, r backups.Repository, s staged, run *BackupRun) error {
	return within(ctx, limitOf(s.manifest.Kind), r.Name, func(ctx context.Context) error {
		if err := d.unlockable(ctx, r); err != nil {
			return err
		}
		id, err := d.reached(ctx, r)
		if err != nil {
			return err
		}
		d.met(r, id)
		if err := errors.Join(d.mayWrite(ctx, r), d.roomToSave(r)); err != nil {
			return err
		}
		run.Without = s.without
		saved, err := d.saveSparing(ctx, r, backups.Backup{
			Paths: s.paths, Excludes: s.excludes, Tags: s.tags(), Time: s.manifest.Made, Force: s.force,
		})
		run.Snapshot, run.Bytes = saved.SnapshotID, saved.BytesAdded
		return err
	})
}

// reached gives the id of a repository, and makes it the first time. One beside the
// box's own that had snapshots and is gone is not made anew behind anybody's back: years
// of history would be lost, or lie on a disk that is not mounted, and everything would
// look well.
func (d *Daemon) reached(ctx context.Context, r backups.Repository) (string, error) {
	if r.Name == BoxRepository {
		return d.makeRepository(ctx, r)
	}
	had, err := d.hadSnapshots(ctx, r.Name)
	if err != nil {
		return "", err
	}
	if !had {
		return d.makeRepository(ctx, r)
	}
	id, err := d.Vault.Identify(ctx, r)
	if err != nil {
		return "", d.gone(ctx, r, err)
	}
	return id, nil
}

// gone gives the words for a repository that is not there: one that had snapshots is not
// made anew, so nobody is told that it would be.
func (d *Daemon) gone(ctx context.Context, r backups.Repository, err error) error {
	var p *backups.Problem
	if r.Name == BoxRepository || !errors.As(err, &p) || p.ID != "backups.no-repository" {
		return readable(err)
	}
	had, failed := d.hadSnapshots(ctx, r.Name)
	if failed != nil || !had {
		return readable(errors.Join(err, failed))
	}
	return Problem("backup.gone", err, "repository", r.Name)
}

// hadSnapshots tells whether a snapshot was ever put into a repository, as far as
// anybody here remembers: a bare machine that is being recovered has no store.
func (d *Daemon) hadSnapshots(ctx context.Context, repository string) (bool, error) {
	if d.Store == nil {
		return false, nil
	}
	for _, kind := range []BackupKind{BackupDump, BackupFull} {
		runs, err := d.Store.Runs(ctx, repository, kind, KeptRuns+1) // with the last one that went well
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(runs, func(run BackupRun) bool { return run.OK }) {
			return true, nil
		}
	}
	return false, nil
}

// kindTag marks a snapshot with its kind.
func kindTag(k BackupKind) string { return "kind:" + string(k) }

// withoutTag marks a snapshot that a stack should be in and is not.
func withoutTag(stack string) string { return "without:" + stack }

// tags are the kind, and each stack that should be in the snapshot and is not. Old
// snapshots are forgotten among those with the same tags: while a stack is in no new
// snapshot none with it comes after the last ones that have it, and so those stay.
func (s staged) tags() []string {
	all := []string{kindTag(s.manifest.Kind)}
	for _, stack := range slices.Sorted(maps.Keys(s.without)) {
		all = append(all, withoutTag(stack))
	}
	return all
}

// ran does something to a repository and keeps how it ended. What the daemon's
// own end interrupted has not ended, unless it left a snapshot that a person has to mark.
func (d *Daemon) ran(ctx context.Context, repository string, kind BackupKind, do func(*BackupRun) error) (BackupRun, error) {
	run := BackupRun{ID: ulid.MustNew(ulid.Now(), rand.Reader).String(), Repository: repository, Kind: kind, Began: time.Now().UTC()}
	err := readable(do(&run))
	if err != nil && ctx.Err() != nil {
		if !passesForGood(err) {
			return run, err
		}
		ctx = context.WithoutCancel(ctx)
	}
	run.Ended, run.OK = time.Now().UTC(), err == nil
	if err != nil {
		m := MessageOf(err)
		run.Error = &m
		d.Log.Warn("backup", "kind", kind, "repository", repository, "error", err)
	}
	return run, errors.Join(err, d.Store.KeepRun(ctx, run))
}

// failedAll keeps that no repository got a snapshot, because none could be made.
func (d *Daemon) failedAll(ctx context.Context, kind BackupKind, cause error) (err error) {
	for _, r := range d.repositories() {
		_, one := d.ran(ctx, r.Name, kind, func(*BackupRun) error { return cause })
		if !errors.Is(one, cause) {
			err = errors.Join(err, one)
		}
	}
	return err
}

// readable makes an error for people of what room backups says.
func readable(err error) error {
	var p *backups.Problem
	var known *Error
	if errors.As(err, &p) && !errors.As(err, &known) {
		return &Error{Message: Message{ID: p.ID, Args: p.Args}, Code: ExitCheckFailed, Err: err}
	}
	return err
}
