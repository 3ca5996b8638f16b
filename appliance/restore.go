// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

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
	// Files is the snapshot that plain files come from; empty when none has them.
	Files string `json:"files,omitempty"`
	// Version is the release that ran then and would run again, and Now the one that
	// runs; only where one snapshot was asked for, and it could be looked into.
	Version string `json:"version,omitempty"`
	Now     string `json:"now,omitempty"`
	// Facts are those that changed since then.
	Facts []FactChange `json:"facts,omitempty"`
}

// FindSnapshot tells which snapshot a restore would take, and what that changes for
// the stack that is named. It refuses what [Daemon.Restore] refuses.
func (d *Daemon) FindSnapshot(ctx context.Context, q RestoreRequest) (Restorable, error) {
	r, err := d.repository(cmp.Or(q.Repository, BoxRepository))
	if err != nil {
		return Restorable{}, err
	}
	if q.Stack == "" {
		return d.choose(ctx, r, q.At)
	}
	if err := d.mustRun(ctx, q.Stack); err != nil {
		return Restorable{}, err
	}
	one, err := d.choose(ctx, r, q.At)
	if err != nil {
		return one, err
	}
	return d.withEvidence(ctx, r, q.Stack, one)
}

// withEvidence adds what a snapshot says of a stack, held against what is so now. What
// can not be measured, as when the stack is what is to be repaired, is left out.
func (d *Daemon) withEvidence(ctx context.Context, r backups.Repository, stack string, one Restorable) (Restorable, error) {
	// Where a daemon that was killed leaves nothing.
	by := filepath.Join(d.Paths.Stages(), "look-"+ulid.MustNew(ulid.Now(), rand.Reader).String())
	m, err := d.manifestOf(ctx, r, one.Snapshot, by)
	if err != nil {
		return one, err
	}
	then, ok := m.Stacks[stack]
	if !ok {
		return one, Problem("restore.no-stack", nil, "stack", stack, "made", m.Made.Format(time.RFC3339)).WithCode(ExitUsage)
	}
	row, _, err := d.Store.Release(ctx, stack)
	if err != nil {
		return one, err
	}
	one.Version, one.Now = then.Release.Version, row.Version
	now, err := d.factsNow(ctx, row)
	if ctx.Err() != nil {
		return one, context.Cause(ctx)
	}
	if err == nil {
		one.Facts = changedFacts(then.Data.Facts, now)
	}
	return one, nil
}

// Snapshots lists what can be restored from a repository, the newest first and those
// from the future last; "" is the box's own.
func (d *Daemon) Snapshots(ctx context.Context, repository string) ([]Restorable, error) {
	r, err := d.repository(cmp.Or(repository, BoxRepository))
	if err != nil {
		return nil, err
	}
	return d.restorables(ctx, r)
}

// unmade tells whether the box's own repository waits for its first backup, which makes
// it and its password.
func (d *Daemon) unmade(ctx context.Context, r backups.Repository) (bool, error) {
	if r.Name != BoxRepository || isFile(r.PasswordFile) || isFile(filepath.Join(r.URL, "config")) {
		return false, nil
	}
	had, err := d.hadSnapshots(ctx, r.Name)
	return !had, err
}

// restorables are all snapshots of a repository, each with the whole one that its
// plain files come from: the newest that is not younger. Those from the future come
// last: the clock was wrong, and any of the others may be newer in truth.
func (d *Daemon) restorables(ctx context.Context, r backups.Repository) ([]Restorable, error) {
	list := []Restorable{}
	if unmade, err := d.unmade(ctx, r); unmade || err != nil {
		return list, err
	}
	for _, kind := range []BackupKind{BackupDump, BackupFull} {
		some, err := d.Vault.Snapshots(ctx, r, kindTag(kind))
		if err != nil {
			return nil, d.gone(ctx, r, err)
		}
		for _, s := range some {
			list = append(list, Restorable{Schema: 1, Repository: r.Name, Snapshot: s.ID, Made: s.Time.UTC(), Kind: kind})
		}
	}
	slices.SortStableFunc(list, func(a, b Restorable) int { return b.Made.Compare(a.Made) })
	files := ""
	for i := range slices.Backward(list) {
		if list[i].Kind == BackupFull {
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

// choose finds a snapshot by id or time.
func (d *Daemon) choose(ctx context.Context, r backups.Repository, at string) (Restorable, error) {
	all, err := d.restorables(ctx, r)
	if err != nil {
		return Restorable{}, err
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
	chosen, err := d.choose(ctx, r, q.At)
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
	t.took, err = t.layOut(ctx, r, layout{Snapshot: t.Snapshot, Files: t.Files, Stack: t.Stack, Into: t.restored()})
	if err != nil {
		return err
	}
	return t.files.SyncAll(t.restored())
}

// layout says what of a repository is wanted where.
type layout struct {
	Snapshot string // of the databases
	Files    string // of the plain files; may be the same, or empty for none
	Stack    string
	Into     string
}

// laidOutFiles ends the name of the folder beside [layout.Into] in which the
// snapshot of the plain files is looked into.
const laidOutFiles = ".files"

// roomFor wants room for all that the snapshots have: what belongs to one stack is
// known only when it is there.
func (d *Daemon) roomFor(ctx context.Context, r backups.Repository, l layout) error {
	all, err := d.Vault.Snapshots(ctx, r)
	if err != nil {
		return readable(err)
	}
	need := int64(spareDisk)
	for _, s := range all {
		if s.ID == l.Snapshot || s.ID == l.Files {
			need += s.Bytes
		}
	}
	free, err := d.Space.Free(l.Into)
	if err != nil {
		return err
	}
	if free < need {
		return Problem("restore.no-room", nil, "stack", l.Stack, "need", mebibytes(need), "free", mebibytes(free))
	}
	return nil
}

// layOut restores the parts of a snapshot that belong to one stack. Everything
// lies below Into under the path that it had.
func (d *Daemon) layOut(ctx context.Context, r backups.Repository, l layout) (StackBackup, error) {
	if err := errors.Join(os.RemoveAll(l.Into), d.files.MkdirAll(l.Into, rootOnly())); err != nil {
		return StackBackup{}, err
	}
	if err := d.roomFor(ctx, r, l); err != nil {
		return StackBackup{}, err
	}
	stages := d.Paths.Stages()
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Snapshot, Target: l.Into, Include: []string{stages}}); err != nil {
		return StackBackup{}, readable(err)
	}
	m, err := readManifest(l.Into, stages)
	if err != nil {
		return StackBackup{}, err
	}
	one, ok := m.Stacks[l.Stack]
	if !ok {
		return one, Problem("restore.no-stack", nil, "stack", l.Stack, "made", m.Made.Format(time.RFC3339))
	}
	if err := one.plain(l.Stack); err != nil {
		return one, err
	}
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Snapshot, Target: l.Into, Include: []string{one.Bundle}}); err != nil {
		return one, readable(err)
	}
	return one, d.layOutFiles(ctx, r, l, &one)
}

// layOutFiles restores the plain files of a stack from the whole snapshot, which
// says where they were then.
func (d *Daemon) layOutFiles(ctx context.Context, r backups.Repository, l layout, one *StackBackup) error {
	if l.Files == "" {
		return nil
	}
	if l.Files != l.Snapshot {
		var err error
		if l.Files, err = d.filesWith(ctx, r, l); err != nil || l.Files == "" {
			return err
		}
		m, err := d.manifestOf(ctx, r, l.Files, l.Into+laidOutFiles)
		if err != nil {
			return err
		}
		one.Volumes = m.Stacks[l.Stack].Volumes
		if err := one.plain(l.Stack); err != nil {
			return err
		}
	}
	include := slices.Sorted(maps.Values(one.Volumes))
	if len(include) == 0 {
		return nil
	}
	_, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Files, Target: l.Into, Include: include})
	return readable(err)
}

// filesWith is the whole snapshot that the plain files of the stack come from: of those
// that are not younger than the one that was chosen, the newest that is not without it.
func (d *Daemon) filesWith(ctx context.Context, r backups.Repository, l layout) (string, error) {
	all, err := d.Vault.Snapshots(ctx, r, kindTag(BackupFull))
	if err != nil {
		return "", readable(err)
	}
	i := slices.IndexFunc(all, func(s backups.Snapshot) bool { return s.ID == l.Files })
	if i < 0 {
		return l.Files, nil // asking for it says what is wrong
	}
	for _, s := range all[i:] {
		if !slices.Contains(s.Tags, withoutTag(l.Stack)) {
			return s.ID, nil
		}
	}
	return "", nil
}

// manifestOf reads what a snapshot holds, by way of a folder that it leaves gone.
func (d *Daemon) manifestOf(ctx context.Context, r backups.Repository, snapshot, by string) (m BackupManifest, err error) {
	if err := d.files.MkdirAll(by, rootOnly()); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(by)) }()
	// The databases lie beside it, and are not needed.
	only := filepath.Join(d.Paths.Stages(), "*", manifestName)
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: snapshot, Target: by, Include: []string{only}}); err != nil {
		return m, readable(err)
	}
	return readManifest(by, d.Paths.Stages())
}

// maxManifest bounds what is read of a manifest, in bytes.
const maxManifest = 4 << 20

func readManifest(into, stages string) (BackupManifest, error) {
	m, _, err := findManifest(into, stages)
	return m, err
}

// findManifest reads what a snapshot holds, and tells in which stage it was.
func findManifest(into, stages string) (m BackupManifest, stage string, err error) {
	found, err := filepath.Glob(filepath.Join(into, stages, "*", manifestName))
	if err != nil || len(found) != 1 {
		return m, "", Problem("restore.no-manifest", err, "count", len(found))
	}
	info, err := os.Lstat(found[0])
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxManifest {
		return m, "", Problem("restore.no-manifest", err, "count", 0)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return m, "", err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, "", Problem("restore.no-manifest", err, "count", 1)
	}
	if m.Schema > manifestSchema {
		return m, "", Problem("restore.newer", nil, "schema", m.Schema, "known", manifestSchema)
	}
	return m, filepath.Dir(found[0]), m.sane()
}

// maxGeneration bounds what is believed of another machine: no stack has so many, and
// there must be numbers above it.
const maxGeneration = 1 << 40

// sane wants what nobody but a damaged or a forged snapshot says otherwise.
func (m BackupManifest) sane() error {
	if m.Kind != BackupDump && m.Kind != BackupFull {
		return Problem("restore.no-manifest", fmt.Errorf("it is of the kind %q", m.Kind), "count", 1)
	}
	for name, one := range m.Stacks {
		if g := one.Release.Generation; g < 0 || g > maxGeneration {
			return Problem("restore.no-manifest", fmt.Errorf("stack %s is at generation %d", name, g), "count", 1)
		}
	}
	return nil
}

// A snapshot says itself where its parts were. Whoever has the password of its
// repository can write one that says anything, and root moves what it names.

// plain wants all parts of the stack to have been somewhere on a machine.
func (b StackBackup) plain(stack string) error {
	for _, path := range append(slices.Collect(maps.Values(b.Volumes)), b.Bundle, b.Secrets, b.Database) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return Problem("restore.outside", nil, "stack", stack, "path", path)
		}
	}
	return nil
}

// inside is the folder that a part of a snapshot was laid out in. One that is not
// below restored, by its name or by a link on the way, is refused.
func inside(restored, path string) (_ string, err error) {
	root, err := os.OpenRoot(restored)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	rel := strings.TrimPrefix(path, "/")
	info, err := root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err != nil || !info.IsDir() {
		return "", Problem("restore.outside", err, "stack", "-", "path", path)
	}
	return filepath.Join(restored, rel), nil
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

// placeFiles brings the plain files of a snapshot into the volumes of a crew. id names
// the folder for what makes way.
func (d *Daemon) placeFiles(ctx context.Context, restored string, took StackBackup, c *crew, id string, report step.Report) error {
	used, err := moveFiles(restored, took, c)
	if err != nil {
		return err
	}
	if err := d.settle(c); err != nil {
		return err
	}
	for _, name := range used {
		if err := d.mend(ctx, restored, took.Volumes[name], c, mending{name, id}, report); err != nil {
			return fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
	}
	return nil
}

// mending is the volume that is mended, and the name of the folder for what makes way.
type mending struct{ volume, id string }

// mend adds what a shared volume lacks of a snapshot. Its files are the stack's own and
// in use: a child with the stack's uid does it.
func (d *Daemon) mend(ctx context.Context, restored, path string, c *crew, m mending, report step.Report) (err error) {
	from, err := inside(restored, path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(restored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	mine := stackOnly(c.bundle.Stack.Manifest.User)
	if err := give(root, strings.TrimPrefix(path, "/"), mine); err != nil {
		return err
	}
	frame := d.Paths.Replaced(c.release.Stack, m.id)
	aside := filepath.Join(frame, m.volume)
	if err := errors.Join(d.files.MkdirAll(frame, rootOnly()), d.files.MkdirAll(aside, mine)); err != nil {
		return err
	}
	done, err := d.Data.Mend(ctx, from, DataPlace{
		Stack: c.release.Stack, User: c.bundle.Stack.Manifest.User, Volumes: map[string]string{m.volume: c.volume(m.volume)},
	}, aside)
	if err != nil {
		return err
	}
	if done.Aside == 0 { // these go only where nothing is in them
		_, _, _ = os.Remove(aside), os.Remove(frame), os.Remove(filepath.Dir(frame))
		report(fmt.Sprintf("%s: %d files came back", m.volume, done.Back))
		return nil
	}
	report(fmt.Sprintf("%s: %d files came back; %d that differed are in %s now", m.volume, done.Back, done.Aside, aside))
	return nil
}

// moveFiles moves the plain files of a snapshot into the volumes of a crew. Files
// that never change are shared by all generations: where some are there they stay, and
// the volume is among those that are used.
func moveFiles(restored string, took StackBackup, c *crew) (used []string, err error) {
	volumes := c.volumes()
	for _, name := range slices.Sorted(maps.Keys(took.Volumes)) {
		if !volumes[name] || c.servers(name) {
			continue
		}
		from, err := inside(restored, took.Volumes[name])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
		to := c.volume(name)
		if c.shared(name) {
			there, err := os.ReadDir(to)
			if len(there) > 0 {
				used = append(used, name)
				continue
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("look into volume %s: %w", name, err)
			}
		}
		if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o711), os.Rename(from, to)); err != nil {
			return nil, fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
	}
	return used, nil
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
