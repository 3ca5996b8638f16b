// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"rochdale/backups"
)

// noRestoreRoom is the problem of a machine that runs, noRecoveryRoom that of a new one.
const (
	noRestoreRoom  = "restore.no-room"
	noRecoveryRoom = "recover.no-room"
)

// roomFor wants room for all that the snapshots have: what belongs to one stack is
// known only when it is there.
func (d *Daemon) roomFor(ctx context.Context, r backups.Repository, l layout) error {
	all, err := d.Vault.Snapshots(ctx, r)
	if err != nil {
		return readable(err)
	}
	need := int64(0)
	for _, s := range all {
		if s.ID == l.Snapshot || s.ID == l.Files {
			need += s.Bytes
		}
	}
	return d.wantRoom(l.NoRoom, l.Stack, l.Into, need)
}

// wantRoom wants room for so many bytes on the disk of a folder, and the spare. id is
// the problem that there is none.
func (d *Daemon) wantRoom(id, stack, folder string, bytes int64) error {
	need := bytes + spareDisk
	free, err := d.Space.Free(folder)
	if err == nil && free < need {
		err = Problem(id, nil, "stack", stack, "need", mebibytes(need), "free", mebibytes(free))
	}
	return err
}

// loadBytes is what loading the databases of a snapshot is to take on the disk, in bytes,
// before anything of it is laid out, and what the running stack has if that is more: what
// a snapshot says of its size is not all that is believed.
func (d *Daemon) loadBytes(ctx context.Context, stack string, took StackBackup) int64 {
	return max(took.Data.Bytes, d.liveBytes(ctx, stack))
}

// liveBytes is how large the databases of the running stack are, 0 if nobody can tell.
func (d *Daemon) liveBytes(ctx context.Context, stack string) int64 {
	row, ok, err := d.Store.Release(ctx, stack)
	if err != nil || !ok {
		return 0
	}
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return 0
	}
	place, err := d.dataPlace(ctx, &crew{release: row, bundle: b, paths: d.Paths})
	if err != nil {
		return 0
	}
	size, err := d.databaseSize(ctx, place)
	if err != nil {
		return 0
	}
	return size
}

// roomToFill wants room for what is copied out of what is laid out: the databases, and
// files that a shared volume lacks, with those that make way for them. All else is moved.
func (t *transition) roomToFill(ctx context.Context) error {
	files, err := mendBytes(ctx, t.restored(), t.took, t.to)
	if err != nil {
		return err
	}
	laid, err := laidBytes(ctx, t.restored(), t.took)
	if err != nil {
		return err
	}
	return t.wantRoom(noRestoreRoom, t.Stack, dataDir(t.Paths, t.Stack), max(t.took.Data.Bytes, laid)+files)
}

// laidBytes is what the databases that are laid out take on the disk, in bytes: a snapshot
// may say less of its size. How large the live ones became says nothing of them.
func laidBytes(ctx context.Context, restored string, took StackBackup) (n int64, err error) {
	dir, err := inside(restored, took.Database)
	if err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	return folderBytes(ctx, root, "."), root.Close()
}

// mendBytes is what mending the shared volumes of a crew that are in use takes on the
// disk at most, in bytes.
func mendBytes(ctx context.Context, restored string, took StackBackup, c *crew) (n int64, err error) {
	for _, name := range slices.Sorted(maps.Keys(took.Volumes)) {
		if !c.volumes()[name] || c.servers(name) {
			continue
		}
		from, err := inside(restored, took.Volumes[name])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		used, unknown := c.inUse(name)
		if err := errors.Join(err, unknown); err != nil {
			return n, fmt.Errorf("look what volume %s lacks: %w", name, err)
		}
		if !used {
			continue
		}
		more, err := differingBytes(ctx, from, c.volume(name))
		if err != nil {
			return n, fmt.Errorf("look what volume %s lacks: %w", name, err)
		}
		n += more
	}
	return n, nil
}

// differingBytes is what the files of from take on the disk that are not the same in to,
// and what stands there in their place. Whoever writes to that folder may put links into
// it meanwhile: none is followed out of it.
func differingBytes(ctx context.Context, from, to string) (n int64, err error) {
	volume, err := os.OpenRoot(to)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, volume.Close()) }()
	err = filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err := errors.Join(err, context.Cause(ctx)); err != nil {
			return err
		}
		want, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		have, err := volume.Lstat(rel)
		switch {
		case err != nil: // it is missing, or will be
		case want.IsDir() && have.IsDir():
			return nil
		case want.Mode().IsRegular() && have.Mode().IsRegular() && want.Size() == have.Size() && want.ModTime().Equal(have.ModTime()):
			return nil
		case have.IsDir():
			n += folderBytes(ctx, volume, rel)
		default:
			n += bytesOnDisk(have)
		}
		n += bytesOnDisk(want)
		return nil //nolint:nilerr // what is not there is what is counted
	})
	return n, err
}

// folderBytes is what the files in a folder take on the disk, as far as they can be seen.
func folderBytes(ctx context.Context, in *os.Root, rel string) (n int64) {
	dir, err := in.OpenRoot(rel)
	if err != nil {
		return 0
	}
	defer func() { _ = dir.Close() }()
	_ = fs.WalkDir(dir.FS(), ".", func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil //nolint:nilerr // the rest counts all the same
		}
		if info, err := e.Info(); err == nil {
			n += bytesOnDisk(info)
		}
		return nil
	})
	return n
}

// bytesOnDisk is what a file takes there: holes in it take nothing.
func bytesOnDisk(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
