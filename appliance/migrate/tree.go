// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Files are copied with what they are: folders, links as links, modes and times.
// A file that has the size and the time of its original is not copied again, and
// so the time is given to a copy only after its content is on the disk: whatever
// happens before, the next pass takes the file anew.

const (
	maxDepth = 200 // of folders in each other
	batch    = 256 // names that are read at a time
	// unsettled is how many files wait for their times.
	unsettled = 512
	// restFor is for how long a file of a stack in use must not have changed
	// before its time is believed: clocks of file systems tick slowly.
	restFor    = 2 * time.Second
	maxSkipped = 20 // names of them that are told
)

// unfinished is the time of a copy that is not known to be on the disk. No file
// has it by itself.
func unfinished() time.Time { return time.Unix(1, 7) }

// tree copies the files of one volume.
type tree struct {
	from, to *os.Root
	// keep tells which paths belong to databases.
	keep func(rel string) bool
	// live is true while the stack is in use: what changes or goes meanwhile is
	// left to the next pass.
	live bool
	// mend keeps what only the copy has: it is added to, while somebody uses it.
	mend bool
	// once replaces nothing of the copy.
	once bool
	done *outcome
	wait []settling
}

// settling is a copy that waits until it is on the disk: for its time, or, with its
// time, for its place.
type settling struct {
	rel  string
	time time.Time
	temp string // where it is until then; empty: in its place
}

// copyTree makes the folder to hold what from holds, the files of databases left
// out on both sides.
func copyTree(ctx context.Context, from, to string, t tree) (err error) {
	if t.from, err = os.OpenRoot(from); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.from.Close()) }()
	if t.to, err = os.OpenRoot(to); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.to.Close()) }()
	defer func() {
		if err != nil {
			err = errors.Join(err, t.discard())
		}
	}()
	if err := t.inside(ctx, ".", 0); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	return t.flush() // the times too
}

// inside copies what is in a folder that is there on both sides.
func (t *tree) inside(ctx context.Context, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d folders in each other", shown(dir), maxDepth)
	}
	err := names(t.from, dir, func(name string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return t.entry(ctx, path.Join(dir, name), depth)
	})
	if err := t.later(ctx, err); err != nil {
		return err
	}
	if t.mend {
		return nil
	}
	return names(t.to, dir, func(name string) error { return t.later(ctx, t.prune(path.Join(dir, name))) })
}

// later leaves to the next pass what can not be copied while the stack is in use.
func (t *tree) later(ctx context.Context, err error) error {
	if t.live && ctx.Err() == nil && !noRoom(err) {
		return nil
	}
	return err
}

// names calls back with what is in a folder, a batch at a time.
func names(root *os.Root, dir string, each func(name string) error) (err error) {
	folder, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	for {
		list, end := folder.Readdirnames(batch)
		for _, name := range list {
			if err := each(name); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(end, io.EOF):
			return nil
		case end != nil:
			return end
		}
	}
}

func (t *tree) entry(ctx context.Context, rel string, depth int) error {
	if t.keep(rel) {
		return nil
	}
	info, err := t.from.Lstat(rel)
	if err != nil {
		return t.later(ctx, err)
	}
	switch info.Mode().Type() {
	case 0:
		err = t.file(ctx, rel, info)
	case fs.ModeDir:
		err = t.folder(ctx, rel, info, depth)
	case fs.ModeSymlink:
		err = t.link(rel, info)
	default:
		t.skip(rel)
		return nil
	}
	return t.later(ctx, err)
}

// skip notes what is neither file nor folder nor link: whoever made it makes it
// again.
func (t *tree) skip(rel string) {
	t.done.Skips++
	if len(t.done.Skipped) < maxSkipped {
		t.done.Skipped = append(t.done.Skipped, shown(rel))
	}
}

// shown is a path for people, whatever is in it.
func shown(rel string) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(rel, "?"))
	if len(s) > 200 {
		s = "..." + strings.ToValidUTF8(s[len(s)-200:], "")
	}
	return s
}

func (t *tree) folder(ctx context.Context, rel string, info fs.FileInfo, depth int) error {
	have, err := t.to.Lstat(rel)
	switch {
	case err == nil && have.IsDir():
		err = t.to.Chmod(rel, have.Mode().Perm()|0o700) // to be worked in
	case err == nil || gone(err):
		if err = t.wipe(rel); err == nil {
			err = t.to.Mkdir(rel, 0o700)
		}
	}
	if err != nil {
		return err
	}
	if err := t.inside(ctx, rel, depth+1); err != nil {
		return err
	}
	perm := info.Mode().Perm()
	if perm&0o700 != 0o700 { // what is in it can not be reached later
		if err := t.settle(); err != nil {
			return err
		}
	}
	if t.mend && len(t.wait) > 0 { // what takes its place in it changes its time
		return errors.Join(t.to.Chmod(rel, perm), t.await(settling{rel: rel, time: info.ModTime()}))
	}
	return errors.Join(t.to.Chtimes(rel, info.ModTime(), info.ModTime()), t.to.Chmod(rel, perm))
}

func (t *tree) link(rel string, info fs.FileInfo) error {
	target, err := t.from.Readlink(rel)
	if err != nil {
		return err
	}
	if have, err := t.to.Readlink(rel); err == nil && have == target {
		return nil
	}
	if t.mend {
		return t.linkBeside(target, rel, info.ModTime())
	}
	if err := t.wipe(rel); err != nil {
		return err
	}
	if err := t.to.Symlink(target, rel); err != nil {
		return err
	}
	t.done.Back++
	return linkTime(t.to, rel, info.ModTime())
}

// linkTime gives a link a time of its own.
func linkTime(root *os.Root, rel string, at time.Time) (err error) {
	dir, err := root.Open(path.Dir(rel))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	stamp, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), path.Base(rel), []unix.Timespec{stamp, stamp}, unix.AT_SYMLINK_NOFOLLOW)
}

// prune removes what the original does not have any more.
func (t *tree) prune(rel string) error {
	if t.keep(rel) {
		return nil
	}
	if _, err := t.from.Lstat(rel); !gone(err) {
		return err
	}
	return t.wipe(rel)
}

// wipe removes what is there, and waits no more for what is in it.
func (t *tree) wipe(rel string) error {
	t.wait = slices.DeleteFunc(t.wait, func(s settling) bool { return s.rel == rel || strings.HasPrefix(s.rel, rel+"/") })
	return t.remove(rel)
}

// remove removes a file, or a folder with all in it, also where the folder may not
// be written to. What is not there is no error.
func (t *tree) remove(rel string) error {
	err := t.to.RemoveAll(rel)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := t.unlock(rel, 0); err != nil {
		return err
	}
	return t.to.RemoveAll(rel)
}

func (t *tree) unlock(rel string, depth int) error {
	info, err := t.to.Lstat(rel)
	if err != nil || !info.IsDir() || depth > 2*maxDepth {
		return err
	}
	if err := t.to.Chmod(rel, 0o700); err != nil {
		return err
	}
	return names(t.to, rel, func(name string) error { return t.unlock(path.Join(rel, name), depth+1) })
}

// await settles when many wait.
func (t *tree) await(s settling) error {
	if t.wait = append(t.wait, s); len(t.wait) < unsettled {
		return nil
	}
	return t.settle()
}

// settle writes what was copied to the disk and then gives it its times, or its place.
func (t *tree) settle() error {
	if len(t.wait) == 0 {
		return nil
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, s := range t.wait {
		if err := t.settled(s); err != nil {
			return err
		}
	}
	t.wait = t.wait[:0]
	return nil
}

func (t *tree) settled(s settling) error {
	if s.temp != "" {
		return t.appear(s)
	}
	err := t.to.Chtimes(s.rel, s.time, s.time)
	if t.mend && gone(err) {
		return nil // a folder that the stack itself removed meanwhile
	}
	return err
}

// flush writes the whole file system to the disk.
func (t *tree) flush() (err error) {
	dir, err := t.to.Open(".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return unix.Syncfs(int(dir.Fd()))
}
