// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"crypto/rand"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"

	"rochdale/backups"
)

// FindSnapshot tells which snapshot a restore would take, and what that changes for
// the stack that is named. It refuses what [Daemon.Restore] refuses.
func (d *Daemon) FindSnapshot(ctx context.Context, q RestoreRequest) (Restorable, error) {
	r, err := d.repository(cmp.Or(q.Repository, BoxRepository))
	if err != nil {
		return Restorable{}, err
	}
	if q.Stack == "" {
		return d.choose(ctx, r, "", q.At)
	}
	if err := d.mustRun(ctx, q.Stack); err != nil {
		return Restorable{}, err
	}
	one, err := d.choose(ctx, r, q.Stack, q.At)
	if err != nil {
		return one, err
	}
	return d.withEvidence(ctx, r, q.Stack, one)
}

// evidenceFor is how long each part of the evidence is waited for: somebody waits for
// the question, and a machine in trouble is slow.
const evidenceFor = 15 * time.Second

// inTime does what nobody has to wait for. ok is false if it was not ready; it takes at
// most a third of the time that the caller has left, so that he gets what is. An error
// is that of the work, or that the caller left.
func inTime[T any](ctx context.Context, do func(context.Context) (T, error)) (v T, ok bool, err error) {
	most := evidenceFor
	if end, bounded := ctx.Deadline(); bounded {
		most = min(most, time.Until(end)/3)
	}
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	v, err = do(bounded)
	switch {
	case ctx.Err() != nil:
		return v, false, context.Cause(ctx)
	case err != nil && bounded.Err() != nil:
		return v, false, nil
	}
	return v, err == nil, err
}

// withEvidence adds what a snapshot says of a stack, held against what is so now. What
// can not be measured, as when the stack is what is to be repaired, is left out, and so
// is what takes long.
func (d *Daemon) withEvidence(ctx context.Context, r backups.Repository, stack string, one Restorable) (Restorable, error) {
	one, err := d.withFiles(ctx, r, stack, one)
	if err != nil {
		return one, err
	}
	m, ok, err := d.glance(ctx, r, one.Snapshot)
	if err != nil || !ok {
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
	now, ok, err := inTime(ctx, func(ctx context.Context) (map[string]int64, error) { return d.factsNow(ctx, row) })
	if ctx.Err() != nil {
		return one, err
	}
	if ok {
		one.Facts = changedFacts(then.Data.Facts, now)
	}
	return one, nil
}

// withFiles looks whether the snapshot that plain files would come from is older than
// the stack: then there are none.
func (d *Daemon) withFiles(ctx context.Context, r backups.Repository, stack string, one Restorable) (Restorable, error) {
	if one.Files == "" || one.Files == one.Snapshot {
		return one, nil
	}
	m, ok, err := d.glance(ctx, r, one.Files)
	if err != nil || !ok {
		return one, err
	}
	if _, there := m.Stacks[stack]; !there {
		one.Files = ""
	}
	return one, nil
}

// glance reads what a snapshot holds, if it is ready in time.
func (d *Daemon) glance(ctx context.Context, r backups.Repository, snapshot string) (m BackupManifest, ok bool, err error) {
	// Where a daemon that was killed leaves nothing.
	by := filepath.Join(d.Paths.Stages(), "look-"+ulid.MustNew(ulid.Now(), rand.Reader).String())
	return inTime(ctx, func(ctx context.Context) (BackupManifest, error) { return d.manifestOf(ctx, r, snapshot, by) })
}
