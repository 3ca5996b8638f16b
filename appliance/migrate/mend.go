// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"rochdale/appliance"
)

// A volume whose files never change is one for all generations, and in use while a
// snapshot is restored. What it lost comes back, and what became another file makes way
// for the one of the snapshot. Nothing that is new since then is touched.

// Mend implements [appliance.Data].
func (d Data) Mend(ctx context.Context, from string, at appliance.DataPlace, aside string) (appliance.Mended, error) {
	o := work(verbMend, at)
	o.limit = filesLimit
	at.Databases = nil
	if err := o.to(at); err != nil {
		return appliance.Mended{}, err
	}
	o.request.Folder, o.request.Aside = inFolder, inAside
	o.binds = append(o.binds, bind{path: from, inside: inFolder}, bind{aside, inAside, true})
	done, err := d.do(ctx, o)
	return appliance.Mended{Back: done.Back, Aside: done.Aside}, err
}

func (q request) mend(ctx context.Context) (*outcome, error) {
	if len(q.To.Volumes) != 1 {
		return nil, fmt.Errorf("asked to mend %d volumes", len(q.To.Volumes))
	}
	volume := q.To.Volumes[0]
	done := &outcome{}
	err := mendTree(ctx, q.Folder, path.Join(q.To.Root, volume), q.Aside, done)
	return done, because(ctx, NoCopy, volume, err)
}

// mendTree first copies what is to make way, and when that is on the disk brings back
// what the snapshot has, each file of it whole. It may be called again after it was
// interrupted: it removes what was not whole then, and leaves what is aside already.
func mendTree(ctx context.Context, from, to, aside string, done *outcome) error {
	way := &outcome{}
	if err := makeWay(ctx, from, to, aside, way); err != nil {
		return err
	}
	done.Aside = way.Aside
	return copyTree(ctx, from, to, tree{mend: true, done: done, keep: isBeside})
}

// way is what stands where a snapshot has something else.
type way struct {
	snapshot *os.Root
	tree     // from the volume to the folder beside
}

func makeWay(ctx context.Context, from, to, aside string, done *outcome) (err error) {
	w := way{tree: tree{done: done, keep: isBeside, once: true}}
	for _, open := range []struct {
		root **os.Root
		dir  string
	}{{&w.snapshot, from}, {&w.from, to}, {&w.to, aside}} {
		if *open.root, err = os.OpenRoot(open.dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*open.root).Close()) }()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard())
		}
	}()
	volume := tree{to: w.from}
	if err := errors.Join(w.sweep(ctx, ".", 0), volume.sweep(ctx, ".", 0)); err != nil {
		return err
	}
	if err := w.look(ctx, ".", 0); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.flush() // the names too
}

func (w *way) look(ctx context.Context, dir string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s: more than %d folders in each other", shown(dir), maxDepth)
	}
	return names(w.snapshot, dir, func(name string) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel := path.Join(dir, name)
		if w.keep(rel) {
			return nil
		}
		want, err := w.snapshot.Lstat(rel)
		if err != nil {
			return err
		}
		have, err := w.from.Lstat(rel)
		switch {
		case gone(err):
			return nil
		case err != nil:
			return err
		case want.IsDir() && have.IsDir():
			return w.look(ctx, rel, depth+1)
		case w.alike(rel, have, want):
			return nil
		}
		return w.put(ctx, rel, have, depth)
	})
}

// put copies what is to make way. What is aside from an earlier pass is not copied
// again.
func (w *way) put(ctx context.Context, rel string, have fs.FileInfo, depth int) error {
	at, kept, err := w.room(rel, have)
	if err != nil {
		return err
	}
	if kept {
		w.done.Aside++
		return nil
	}
	temp := beside(".")
	switch have.Mode().Type() {
	case 0:
		err = w.copyTo(ctx, rel, have, temp)
	case fs.ModeDir:
		err = w.copyFolder(ctx, rel, have, temp, depth)
	case fs.ModeSymlink:
		var target string
		if target, err = w.from.Readlink(rel); err == nil {
			err = w.linkTo(target, temp, have.ModTime())
		}
	default:
		w.skip(rel)
		return nil
	}
	if err != nil {
		return err
	}
	w.done.Aside++
	return w.await(settling{rel: at, temp: temp})
}

// copyFolder makes a copy of a folder with all in it under a name that nothing has. One
// that can not be made whole is removed.
func (w *way) copyFolder(ctx context.Context, rel string, info fs.FileInfo, temp string, depth int) (err error) {
	if err := w.to.Mkdir(temp, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.remove(temp))
		}
	}()
	t := tree{keep: w.keep, done: w.done}
	if t.from, err = w.from.OpenRoot(rel); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.from.Close()) }()
	if t.to, err = w.to.OpenRoot(temp); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.to.Close()) }()
	if err := t.inside(ctx, ".", depth+1); err != nil {
		return err
	}
	if err := t.settle(); err != nil {
		return err
	}
	// One that may not be written to can not be moved either.
	return errors.Join(linkTime(w.to, temp, info.ModTime()), w.to.Chmod(temp, info.Mode().Perm()|0o700))
}

// maxAgain bounds how often something else may make way for the same file of a snapshot.
const maxAgain = 100

// room is where something can be put that makes way: below a folder of its own if
// something else was put aside from there before. kept is true if it is there already.
func (w *way) room(rel string, have fs.FileInfo) (at string, kept bool, err error) {
	for n := 1; n <= maxAgain; n++ {
		if at = rel; n > 1 {
			at = path.Join(fmt.Sprintf("again-%d", n), rel)
		}
		if !w.open(path.Dir(at)) {
			continue
		}
		before, err := w.to.Lstat(at)
		switch {
		case gone(err):
			return at, false, w.to.MkdirAll(path.Dir(at), 0o700)
		case err != nil:
			return "", false, err
		case w.equal(rel, have, at, before):
			return at, true, nil
		}
	}
	return "", false, fmt.Errorf("%s made way %d times already", shown(rel), maxAgain)
}

// open tells whether all that is there of a folder, and of those above it, is a folder
// that can be written to.
func (w *way) open(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		info, err := w.to.Lstat(dir)
		if !gone(err) && (err != nil || !info.IsDir() || info.Mode().Perm()&0o700 != 0o700) {
			return false
		}
	}
	return true
}

// equal tells whether a file or link that makes way was put aside before.
func (w *way) equal(rel string, have fs.FileInfo, at string, before fs.FileInfo) bool {
	if have.Mode().Type() == fs.ModeSymlink && before.Mode().Type() == fs.ModeSymlink {
		a, errA := w.from.Readlink(rel)
		b, errB := w.to.Readlink(at)
		return errA == nil && errB == nil && a == b
	}
	return same(before, have)
}

// alike tells whether nothing has to make way: both are the same.
func (w *way) alike(rel string, have, want fs.FileInfo) bool {
	switch {
	case want.Mode().Type() == fs.ModeSymlink && have.Mode().Type() == fs.ModeSymlink:
		a, errA := w.from.Readlink(rel)
		b, errB := w.snapshot.Readlink(rel)
		return errA == nil && errB == nil && a == b
	case want.Mode().IsRegular():
		return same(have, want)
	default:
		return !want.IsDir() && want.Mode().Type() != fs.ModeSymlink // it is not brought
	}
}

// same tells whether two files have the same size and time: those of a volume that never
// change are the same then, whoever may read them.
func same(have, want fs.FileInfo) bool {
	return have.Mode().IsRegular() && want.Mode().IsRegular() && have.Size() == want.Size() && have.ModTime().Equal(want.ModTime())
}
