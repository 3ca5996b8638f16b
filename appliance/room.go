// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance/step"
	"rochdale/backups"
	"rochdale/stacks"
)

// spareDisk is what a change leaves free beside the copy of the data, in bytes:
// logs, state and the stack itself go on writing.
const spareDisk = 256 << 20

// LeastFree is where what already writes ends, in bytes: the stacks write to the same
// disk. It is less than what has to be free before it begins.
const LeastFree = 128 << 20

// dataDir is the folder of all generations of a stack.
func dataDir(p Paths, stack string) string { return filepath.Dir(p.Generation(stack, 1)) }

// room wants space for a second copy of the data, and memory for the new release,
// before anything is touched.
func (t *transition) room(ctx context.Context, _ step.Report) error {
	from, err := t.place(ctx, t.from)
	if err != nil {
		return err
	}
	size, err := t.Data.Size(ctx, from)
	if err != nil {
		return err
	}
	free, err := t.Space.Free(dataDir(t.Paths, t.Stack))
	if err != nil {
		return err
	}
	if free < size+spareDisk {
		return Problem("update.no-room", nil, "stack", t.Stack, "need", mebibytes(size+spareDisk), "free", mebibytes(free))
	}
	return t.memoryFor(t.to)
}

// memoryFor wants what the new release needs beyond what the old one gives back.
func (t *transition) memoryFor(c *crew) error {
	more := c.bundle.Stack.Manifest.Needs.Memory - t.from.bundle.Stack.Manifest.Needs.Memory
	if more <= 0 {
		return nil
	}
	free, err := t.Space.Memory()
	if err != nil {
		return err
	}
	if free < more {
		return Problem("update.no-memory", nil, "stack", t.Stack, "need", mebibytes(more), "free", mebibytes(free))
	}
	return nil
}

// roomToStage wants space for copies of the databases: the stacks write to the same
// disk.
func (d *Daemon) roomToStage(ctx context.Context, at DataPlace, into string) error {
	size, err := d.databaseSize(ctx, at)
	if err != nil {
		return err
	}
	free, err := d.Space.Free(into)
	if err == nil && free < size+spareDisk {
		err = Problem("backup.no-room", nil, "stack", at.Stack, "need", mebibytes(size+spareDisk), "free", mebibytes(free))
	}
	return err
}

// databaseSize is how many bytes copies of the databases take at most. Plain files
// beside them do not count: they are saved from where they lie.
func (d *Daemon) databaseSize(ctx context.Context, at DataPlace) (size int64, err error) {
	served := at
	served.Volumes, served.Databases = nil, map[string]stacks.Database{}
	for name, db := range at.Databases {
		if db.Volume == "" {
			served.Databases[name] = db
			continue
		}
		file := filepath.Join(at.Volumes[db.Volume], filepath.FromSlash(db.Path))
		for _, path := range []string{file, file + "-wal"} {
			info, err := os.Lstat(path)
			if err == nil {
				size += info.Size()
			} else if !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("look how large a database of stack %s is: %w", at.Stack, err)
			}
		}
	}
	if len(served.Databases) == 0 {
		return size, nil
	}
	more, err := d.Data.Size(ctx, served)
	return size + more, err
}

// roomToSave wants the repository on the box itself to leave the stacks some disk.
func (d *Daemon) roomToSave(r backups.Repository) error {
	if r.Name != BoxRepository {
		return nil
	}
	free, err := d.Space.Free(r.URL)
	if err == nil && free < spareDisk {
		err = Problem("backup.no-spare", nil, "repository", r.Name, "need", mebibytes(spareDisk), "free", mebibytes(free))
	}
	return err
}

// watchRoom is how often it is looked how much disk a backup has left.
const watchRoom = 2 * time.Second

// saveSparing ends a backup to the box itself that takes the disk from the stacks: how
// much it will take is not known before. What it has written by then is given back, unless
// a check of the repository found damage that is not made good yet.
func (d *Daemon) saveSparing(ctx context.Context, r backups.Repository, b backups.Backup) (backups.Saved, error) {
	if r.Name != BoxRepository {
		return d.Vault.Backup(ctx, r, b)
	}
	watched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		for sleep(watched, watchRoom) {
			if free, err := d.Space.Free(r.URL); err == nil && free < LeastFree {
				stop(Problem("backup.no-spare", nil, "repository", r.Name, "need", mebibytes(spareDisk), "free", mebibytes(free)))
			}
		}
	}()
	saved, err := d.Vault.Backup(watched, r, b)
	if why := context.Cause(watched); err != nil && IsProblem(why, "backup.no-spare") && ctx.Err() == nil {
		if passesForGood(err) {
			why = errors.Join(readable(err), why)
		}
		return backups.Saved{}, errors.Join(why, d.giveBack(ctx, r, b.Force))
	}
	return saved, err
}

// giveBack removes what a backup that was ended has written, unless a failed check is
// open: a prune drops all but one of the places in which the same bytes lie, and it does
// not know which of them is the broken one. healing is for the backup in the middle of a
// repair, whose check is not kept before the repair has ended.
func (d *Daemon) giveBack(ctx context.Context, r backups.Repository, healing bool) error {
	health, err := d.health(ctx, r.Name)
	if err != nil || healing || !health.MayForget() {
		return err
	}
	return d.Vault.Prune(ctx, r)
}

func mebibytes(n int64) int64 { return (n + 1<<20 - 1) >> 20 }
