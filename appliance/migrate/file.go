// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// step is how many bytes are copied between two looks at the context.
const step = 64 << 20

// file copies one file unless its copy is the same.
func (t *tree) file(ctx context.Context, rel string, info fs.FileInfo) error {
	have, err := t.to.Lstat(rel)
	if err == nil && (alike(have, info) || t.mend && same(have, info)) {
		return nil
	}
	if t.mend {
		return t.fileBeside(ctx, rel, info)
	}
	if err := t.wipe(rel); err != nil {
		return err
	}
	// Somebody may put something else in its place while the stack is in use.
	from, err := t.from.OpenFile(rel, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	now, err := t.still(from, info)
	if err != nil || now == nil {
		return err
	}
	if err := t.write(ctx, rel, from, now); err != nil {
		return err
	}
	if err := t.to.Chtimes(rel, unfinished(), unfinished()); err != nil {
		return err
	}
	t.done.Back++
	if t.live && time.Since(now.ModTime()) < restFor {
		return nil // it may have changed again in the same tick of the clock
	}
	return t.await(settling{rel: rel, time: now.ModTime()})
}

// alike tells whether a copy needs no second look.
func alike(copied, original fs.FileInfo) bool {
	return copied.Mode().IsRegular() && copied.Mode().Perm() == original.Mode().Perm() &&
		copied.Size() == original.Size() && copied.ModTime().Equal(original.ModTime())
}

// still gives the open file's data, nil for one that is left to the next pass. In
// a stack in use, pages that a program changes in its memory are flushed first:
// from then on a change shows in the file's time.
func (t *tree) still(from *os.File, seen fs.FileInfo) (fs.FileInfo, error) {
	if t.live {
		const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		if err := unix.SyncFileRange(int(from.Fd()), 0, 0, all); err != nil && !errors.Is(err, unix.ESPIPE) {
			return nil, err
		}
	}
	now, err := from.Stat()
	if err != nil {
		return nil, err
	}
	same := now.Mode().IsRegular() && os.SameFile(seen, now)
	switch {
	case same:
		return now, nil
	case t.live:
		return nil, nil
	}
	return nil, fmt.Errorf("%s was replaced while it was copied", shown(seen.Name()))
}

// write makes a file with the content of another one and its mode. Its time is its own.
func (t *tree) write(ctx context.Context, rel string, from *os.File, info fs.FileInfo) (err error) {
	to, err := t.to.OpenFile(rel, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	n, err := copyContent(ctx, to, from, info.Size())
	t.done.Bytes += n
	if err != nil {
		return fmt.Errorf("%s: %w", shown(rel), err)
	}
	return to.Chmod(info.Mode().Perm())
}

// copyContent copies size bytes of a file into an empty one and leaves holes
// where the original has them. It gives how many bytes were no hole.
func copyContent(ctx context.Context, to, from *os.File, size int64) (written int64, err error) {
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return written, context.Cause(ctx)
		}
		start, end, err := data(from, at, size)
		if err != nil {
			return written, err
		}
		if start >= size {
			break
		}
		n, err := copyRange(to, from, start, min(end-start, step))
		written += n
		if err != nil {
			return written, err
		}
		if n == 0 { // it became shorter
			break
		}
		at = start + n
	}
	return written, to.Truncate(size)
}

// data finds the next part of a file that is no hole.
func data(f *os.File, at, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // the rest is a hole
		return size, size, nil
	case errors.Is(err, unix.EINVAL): // this file system knows no holes
		return at, size, nil
	case err != nil:
		return 0, 0, err
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	return start, min(end, size), err
}

func copyRange(to, from *os.File, at, n int64) (int64, error) {
	if _, err := from.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	written, err := io.CopyN(to, from, n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return written, err
}
