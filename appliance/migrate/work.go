// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"rochdale/stacks"
)

// work carries out a request about the data of a stack.
func (q request) work(ctx context.Context) (*outcome, error) {
	switch q.Verb {
	case verbCopy:
		return q.copy(ctx)
	case verbFiles:
		done := &outcome{}
		return done, q.files(ctx, true, done)
	case verbSize:
		return q.size(ctx)
	case verbFacts:
		return q.facts(ctx)
	case verbSnapshot:
		return q.snapshot(ctx)
	case verbLoad:
		return q.load(ctx)
	case verbMend:
		return q.mend(ctx)
	case verbDrop:
		return &outcome{}, q.drop(ctx)
	default:
		return nil, fmt.Errorf("unknown request %q", q.Verb)
	}
}

// eachDatabase goes through the databases of a place, by name.
func (p place) eachDatabase(do func(name string, d database) error) error {
	for _, name := range slices.Sorted(maps.Keys(p.Databases)) {
		if err := do(name, p.Databases[name]); err != nil {
			return err
		}
	}
	return nil
}

// copy brings over files first, and databases into what is then there. Facts are
// measured before: what can not be measured need not be copied.
func (q request) copy(ctx context.Context) (*outcome, error) {
	done, err := q.facts(ctx)
	if err != nil {
		return nil, err
	}
	if err := q.files(ctx, false, done); err != nil {
		return nil, err
	}
	return done, q.From.eachDatabase(func(name string, from database) error {
		to, ok := q.To.Databases[name]
		if !ok {
			return nil // the new release does not have it
		}
		n, err := copyDatabase(ctx, from, to)
		done.Bytes += n
		return because(ctx, NoDatabase, name, err)
	})
}

func copyDatabase(ctx context.Context, from, to database) (int64, error) {
	if from.Engine == stacks.Postgres {
		return clone(ctx, from, to)
	}
	return copySQLite(ctx, from.File, to.File)
}

// files copies the plain files of all volumes. A volume that only the new release
// has is emptied.
func (q request) files(ctx context.Context, live bool, done *outcome) error {
	for _, volume := range slices.Sorted(slices.Values(q.To.Volumes)) {
		t := tree{keep: q.databaseFiles(volume), live: live, done: done}
		to := filepath.Join(q.To.Root, volume)
		var err error
		if slices.Contains(q.From.Volumes, volume) {
			err = copyTree(ctx, filepath.Join(q.From.Root, volume), to, t)
		} else {
			err = wipeInside(to)
		}
		if err := because(ctx, NoCopy, volume, err); err != nil {
			return err
		}
	}
	return nil
}

// databaseFiles tells which files of a volume SQLite has, here or there, and
// which we make beside them.
func (q request) databaseFiles(volume string) func(rel string) bool {
	files := map[string]bool{}
	for _, p := range []place{q.From, q.To} {
		for _, d := range p.Databases {
			in, rel, _ := strings.Cut(p.inside(d.File), "/")
			if d.Engine == stacks.Postgres || in != volume {
				continue
			}
			for _, file := range []string{rel, tempOf(rel)} {
				files[file] = true
				for _, beside := range companions(file) {
					files[beside] = true
				}
			}
		}
	}
	return func(rel string) bool { return files[rel] }
}

// wipeInside empties a folder, and follows nothing.
func wipeInside(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	t := tree{to: root}
	return names(root, ".", t.wipe)
}

// size adds up what a copy would take: files without their holes, a database with
// its log.
func (q request) size(ctx context.Context) (*outcome, error) {
	done := &outcome{}
	for _, volume := range q.From.Volumes {
		n, err := diskUse(ctx, filepath.Join(q.From.Root, volume))
		if err != nil {
			return nil, because(ctx, NoCopy, volume, err)
		}
		done.Bytes += n
	}
	return done, q.From.eachDatabase(func(name string, d database) error {
		if d.Engine != stacks.Postgres {
			return nil // it is in a volume
		}
		n, err := d.size(ctx)
		done.Bytes += n
		return because(ctx, NoDatabase, name, err)
	})
}

// diskUse is what the files below a folder take on the disk. The stack may be in
// use, so that some of them go while they are counted.
func diskUse(ctx context.Context, dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			n += s.Blocks * 512
		}
		return nil
	})
	return n, err
}

// drop removes the databases that are in a server.
func (q request) drop(ctx context.Context) error {
	return q.To.eachDatabase(func(name string, d database) error {
		if d.Engine != stacks.Postgres {
			return nil
		}
		return because(ctx, NoDatabase, name, d.drop(ctx))
	})
}
