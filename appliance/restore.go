// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rochdale/appliance/step"
	"rochdale/backups"
)

// RestoreRequest asks for the data of a snapshot.
type RestoreRequest struct {
	Stack string `json:"stack"`
	// Repository is where the snapshot is; empty: the box's own.
	Repository string `json:"repository,omitempty"`
	// At is the beginning of a snapshot's id (4 characters or more), or a time: then it
	// is the newest snapshot that was made before the end of that minute or day. Empty:
	// the newest. One from the future is taken when it is named by its id, or when there
	// is no other.
	At string `json:"at,omitempty"`
	// Window is how long visitors may see the maintenance page at most.
	Window time.Duration `json:"window_ns,omitempty"`
}

// Restorable is a snapshot as it is chosen for a restore.
type Restorable struct {
	Schema     int        `json:"schema"`
	Repository string     `json:"repository"`
	Snapshot   string     `json:"snapshot"`
	Made       time.Time  `json:"made"`
	Kind       BackupKind `json:"kind"`
	// Files is the snapshot that plain files come from, those of the stack where one is
	// asked for; empty when none has them.
	Files string `json:"files,omitempty"`
	// Version is the release that ran then and would run again, and Now the one that
	// runs; only where one snapshot was asked for, and it could be looked into in time.
	Version string `json:"version,omitempty"`
	Now     string `json:"now,omitempty"`
	// Facts are those that changed since then, as far as they could be measured in time.
	Facts []FactChange `json:"facts,omitempty"`
}

// Snapshots lists what can be restored from a repository, the newest first and those
// from the future last; "" is the box's own.
func (d *Daemon) Snapshots(ctx context.Context, repository string) ([]Restorable, error) {
	r, err := d.repository(cmp.Or(repository, BoxRepository))
	if err != nil {
		return nil, err
	}
	return d.restorables(ctx, r, "")
}

// unmade tells whether a repository waits for its first backup, which makes it. A password
// of the box's own says nothing of that: a recovery brings the one of the lost machine. One
// that is gone, or has lost its config, is told of by whoever asks it.
func (d *Daemon) unmade(ctx context.Context, r backups.Repository) (bool, error) {
	if r.Name != BoxRepository {
		return d.unmadeBeside(ctx, r)
	}
	if isFile(filepath.Join(r.URL, "config")) {
		return false, nil
	}
	left, err := os.ReadDir(filepath.Join(r.URL, "snapshots"))
	if len(left) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, nil // asking it says what is wrong
	}
	had, err := d.hadSnapshots(ctx, r.Name)
	return !had, err
}

// unmadeBeside is unmade for a repository beside the box's own. Its password is made with
// it: one that is missing was lost only where the repository was there before. A bare
// machine that is being recovered remembers nothing of that.
func (d *Daemon) unmadeBeside(ctx context.Context, r backups.Repository) (bool, error) {
	if d.Store == nil || r.Kind() == backups.Local && isFile(filepath.Join(r.URL, "config")) {
		return false, nil
	}
	for _, path := range []string{r.PasswordFile, d.Paths.Proven(r.Name)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return false, nil // who reads it says what is wrong
		}
	}
	if renamed, err := d.maybeRenamed(r); renamed || err != nil {
		return false, err
	}
	made, err := d.wasMade(ctx, r.Name)
	return !made, err
}

// maybeRenamed tells whether there is a password of a repository that is not configured:
// it may be this one's, under the name that it had before.
func (d *Daemon) maybeRenamed(r backups.Repository) (bool, error) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(r.PasswordFile), "*.password"))
	if err != nil {
		return false, err
	}
	known := d.repositories()
	return slices.ContainsFunc(files, func(file string) bool {
		return !slices.ContainsFunc(known, func(k backups.Repository) bool { return k.PasswordFile == file })
	}), nil
}

// restorables are all snapshots of a repository, each with the whole one that its
// plain files come from: the newest that is not younger, and not without the stack if
// one is named. Those from the future come last: the clock was wrong, and any of the
// others may be newer in truth.
func (d *Daemon) restorables(ctx context.Context, r backups.Repository, stack string) ([]Restorable, error) {
	list := []Restorable{}
	if unmade, err := d.unmade(ctx, r); unmade || err != nil {
		return list, err
	}
	has := map[string]bool{} // the whole ones that have plain files of the stack
	for _, kind := range []BackupKind{BackupDump, BackupFull} {
		some, err := d.Vault.Snapshots(ctx, r, kindTag(kind))
		if err != nil {
			return nil, d.gone(ctx, r, err)
		}
		for _, s := range some {
			has[s.ID] = kind == BackupFull && !slices.Contains(s.Tags, withoutTag(stack))
			list = append(list, Restorable{Schema: 1, Repository: r.Name, Snapshot: s.ID, Made: s.Time.UTC(), Kind: kind})
		}
	}
	slices.SortStableFunc(list, func(a, b Restorable) int { return b.Made.Compare(a.Made) })
	files := ""
	for i := range slices.Backward(list) {
		if has[list[i].Snapshot] {
			files = list[i].Snapshot
		}
		list[i].Files = files
	}
	slices.SortStableFunc(list, lateLast)
	return list, nil
}

// late tells whether a snapshot is from the future.
func (s Restorable) late() bool { return backups.FromFuture(s.Made) }

// lateLast puts snapshots from the future behind the others.
func lateLast(a, b Restorable) int {
	switch {
	case a.late() == b.late():
		return 0
	case a.late():
		return 1
	default:
		return -1
	}
}

// choose finds a snapshot by id or time, with the one that has the plain files of a
// stack; "" is any.
func (d *Daemon) choose(ctx context.Context, r backups.Repository, stack, at string) (Restorable, error) {
	all, err := d.restorables(ctx, r, stack)
	if err != nil {
		return Restorable{}, err
	}
	if len(all) == 0 {
		unmade, err := d.unmade(ctx, r)
		if err == nil && unmade {
			err = Problem("restore.nothing-saved", nil, "repository", r.Name).WithCode(ExitUsage)
		}
		if err != nil {
			return Restorable{}, err
		}
	}
	one, ok, err := chosen(all, at, time.Now())
	if err == nil && !ok {
		err = Problem("restore.no-snapshot", nil, "repository", r.Name, "at", cmp.Or(at, "-"), "count", len(all)).WithCode(ExitUsage)
	}
	return one, err
}

// Restore takes a stack to the data of a snapshot, and to the release that ran
// then. The present data stay for a while: [Daemon.Rollback] returns to them.
func (d *Daemon) Restore(ctx context.Context, q RestoreRequest, watch func(step.Event)) (Change, error) {
	if err := d.mustRun(ctx, q.Stack); err != nil {
		return Change{}, err
	}
	r, err := d.repository(cmp.Or(q.Repository, BoxRepository))
	if err != nil {
		return Change{}, err
	}
	chosen, err := d.choose(ctx, r, q.Stack, q.At)
	if err != nil {
		return Change{}, err
	}
	t := newTransition(KindRestore, q.Stack)
	t.Snapshot, t.Files, t.Repository, t.Window = chosen.Snapshot, chosen.Files, chosen.Repository, q.Window
	return d.change(ctx, t, watch)
}

func (t *transition) restorePlan() step.Plan {
	first := []step.Step{
		{ID: "fetch", Do: t.fetch, Effects: writes(t.restored()), Estimate: 10 * time.Second},
		{ID: "unpack", Do: t.unpackRestored},
		{ID: "images", Do: t.loadNew, Estimate: 2 * time.Second},
		{ID: "data", Do: t.fill, Effects: writes(t.Paths.Stack(t.Stack)), Estimate: 2 * time.Second},
		{ID: "facts", Do: t.compareRestored},
	}
	for i := range first {
		first[i].Done = t.committed
	}
	return step.Plan{Name: "stack-restore", Key: t.Stack, Steps: append(first, t.steps()...)}
}

// restored is where this transition lays a snapshot out.
func (t *transition) restored() string { return t.Paths.Restored(t.Stack, t.ID) }

// fetch lays out what the snapshot has of the stack, while the old data serve, and
// waits until it is on the disk: what is moved away from here later is taken for whole
// after a power cut.
func (t *transition) fetch(ctx context.Context, _ step.Report) error {
	if _, err := t.begun(ctx); err != nil {
		return err
	}
	r, err := t.repository(t.Repository)
	if err != nil {
		return err
	}
	t.took, err = t.layOut(ctx, r, layout{Snapshot: t.Snapshot, Files: t.Files, Stack: t.Stack, Into: t.restored(), NoRoom: noRestoreRoom})
	if err != nil {
		return err
	}
	return t.files.SyncAll(t.restored())
}

// unpackRestored opens the release that ran when the snapshot was made: the one
// that is here, or the one in the snapshot.
func (t *transition) unpackRestored(ctx context.Context, _ step.Report) error {
	to := Release{Stack: t.Stack, Digest: t.took.Release.Digest, Version: t.took.Release.Version}
	b, err := t.openBundle(ctx, to)
	if err != nil {
		from, err := inside(t.restored(), t.took.Bundle)
		if err != nil {
			return fmt.Errorf("take the release out of the snapshot: %w", err)
		}
		// One that is there can not be opened: it is damaged.
		place := filepath.Join(t.Paths.Bundles(t.Stack), filepath.Base(t.took.Bundle))
		if err := errors.Join(os.RemoveAll(place), os.Rename(from, place)); err != nil {
			return fmt.Errorf("take the release out of the snapshot: %w", err)
		}
		if b, err = t.openBundle(ctx, to); err != nil {
			return err
		}
	}
	row, _, err := t.Store.Release(ctx, t.Stack)
	if err != nil {
		return err
	}
	return t.note(ctx, row, b, to)
}

// fill makes the new generation of what the snapshot has, and waits until all of it
// is on the disk: who laid the snapshot out did not.
func (t *transition) fill(ctx context.Context, report step.Report) error {
	if err := t.reserve(ctx); err != nil {
		return err
	}
	to, err := t.place(ctx, t.to)
	if err != nil {
		return err
	}
	if err := t.roomToFill(ctx); err != nil {
		return err
	}
	if err := t.placeFiles(ctx, t.restored(), t.took, t.to, t.ID, report); err != nil {
		return err
	}
	from, err := inside(t.restored(), t.took.Database)
	if err != nil {
		return err
	}
	if err := t.Data.Load(ctx, from, to); err != nil {
		return err
	}
	return t.files.SyncAll(t.Paths.Stack(t.Stack))
}

// compareRestored holds the data against what was measured when they were saved.
func (t *transition) compareRestored(ctx context.Context, _ step.Report) error {
	to, err := t.place(ctx, t.to)
	if err != nil {
		return err
	}
	facts := factsFor(t.to, "drill")
	after, err := t.Data.Facts(ctx, to, facts)
	if err != nil {
		return err
	}
	t.before, t.change.Facts = t.took.Data.Facts, after
	return errors.Join(t.judgeFacts(asMeasured(facts), after), os.RemoveAll(t.restored()))
}
