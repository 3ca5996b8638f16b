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
// what the snapshot has. It may be called again after it was interrupted.
func mendTree(ctx context.Context, from, to, aside string, done *outcome) (err error) {
	way := &outcome{}
	if err := makeWay(ctx, from, to, aside, way); err != nil {
		return err
	}
	done.Aside = way.Aside
	return copyTree(ctx, from, to, tree{mend: true, done: done, keep: func(string) bool { return false }})
}

// way is what stands where a snapshot has something else.
type way struct {
	snapshot *os.Root
	tree     // from the volume to the folder beside
}

func makeWay(ctx context.Context, from, to, aside string, done *outcome) (err error) {
	w := way{tree: tree{done: done, keep: func(string) bool { return false }}}
	for _, open := range []struct {
		root **os.Root
		dir  string
	}{{&w.snapshot, from}, {&w.from, to}, {&w.to, aside}} {
		if *open.root, err = os.OpenRoot(open.dir); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, (*open.root).Close()) }()
	}
	if err := w.look(ctx, ".", 0); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	return w.flush()
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
		w.done.Aside++
		if err := w.to.MkdirAll(path.Dir(rel), 0o700); err != nil {
			return err
		}
		return w.entry(ctx, rel, depth)
	})
}

// alike tells whether nothing has to make way: both are the same, or what is there is a
// part of what an earlier pass brought.
func (w *way) alike(rel string, have, want fs.FileInfo) bool {
	switch {
	case want.Mode().Type() == fs.ModeSymlink && have.Mode().Type() == fs.ModeSymlink:
		a, errA := w.from.Readlink(rel)
		b, errB := w.snapshot.Readlink(rel)
		return errA == nil && errB == nil && a == b
	case want.Mode().IsRegular():
		return same(have, want) || have.Mode().IsRegular() && have.ModTime().Equal(unfinished())
	default:
		return !want.IsDir() && want.Mode().Type() != fs.ModeSymlink // it is not brought
	}
}

// same tells whether two files have the same size and time: those of a volume that never
// change are the same then, whoever may read them.
func same(have, want fs.FileInfo) bool {
	return have.Mode().IsRegular() && want.Mode().IsRegular() && have.Size() == want.Size() && have.ModTime().Equal(want.ModTime())
}
