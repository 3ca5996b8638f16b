// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// prune removes images, ended containers, bundles and generations of data that no
// row, no request and none of the last releases speak of. It does nothing while
// a stack starts or changes.
func (d *Daemon) prune(ctx context.Context) (Pruned, error) { return d.pruneBeside(ctx, wholeBox) }

// pruneBeside is prune for an operation that holds the lane of a stack. Bundles and
// data of that stack are left to the daily clean-up: waiting for its lane would be
// waiting for itself.
func (d *Daemon) pruneBeside(ctx context.Context, held string) (Pruned, error) {
	if starting, err := d.starting(ctx); err != nil || starting {
		return Pruned{}, err
	}
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return Pruned{}, err
	}
	keep, err := d.needed(ctx, rows)
	if err != nil {
		return Pruned{}, err
	}
	done, err := d.Engine.Prune(ctx, keep)
	if err != nil {
		return done, err
	}
	d.Log.Info("cleaned up", "images", len(done.Images), "containers", len(done.Containers))
	rows = slices.DeleteFunc(rows, func(r Release) bool { return r.Stack == held })
	return done, d.pruneReleases(ctx, rows)
}

// starting tells whether a stack is being started or changed: its images are
// loaded before its row is there.
func (d *Daemon) starting(ctx context.Context) (bool, error) {
	open, err := d.Store.Requests(ctx)
	return slices.ContainsFunc(open, func(r Request) bool {
		return r.Plan == "stack-start" || r.Plan == "stack-recover" || isTransition(r.Plan)
	}), err
}

// keptReleases is how many releases are kept beside the one that runs.
const keptReleases = 2

// kept are the releases of a stack whose images, bundles and data stay: the one
// that runs and the last ones before it.
func (d *Daemon) kept(ctx context.Context, row Release) ([]Release, error) {
	changes, err := d.Store.Changes(ctx, row.Stack, KeptChanges)
	keep := []Release{row}
	for _, c := range changes {
		if c.Outcome != Committed {
			continue
		}
		for _, r := range []Release{c.To, c.From} {
			known := slices.ContainsFunc(keep, func(k Release) bool { return k.Digest == r.Digest && k.Generation == r.Generation })
			if !known && len(keep) <= keptReleases {
				keep = append(keep, r)
			}
		}
	}
	return keep, err
}

// needed is what the rows and the releases before them speak of.
func (d *Daemon) needed(ctx context.Context, rows []Release) (Keep, error) {
	var keep Keep
	for _, r := range rows {
		all, err := d.Engine.List(ctx, r.Stack)
		if err != nil {
			return keep, err
		}
		for _, x := range all {
			if x.Digest == r.Digest || x.Generation == 0 {
				keep.Containers = append(keep.Containers, x.ID)
			}
		}
		if r.Stopped {
			continue
		}
		if keep.Images, err = d.keepImages(ctx, r, keep.Images); err != nil {
			return keep, err
		}
	}
	return keep, nil
}

// keepImages adds the images of the releases that are kept. A release before
// whose bundle is gone has none.
func (d *Daemon) keepImages(ctx context.Context, row Release, images []string) ([]string, error) {
	releases, err := d.kept(ctx, row)
	if err != nil {
		return images, err
	}
	for i, r := range releases {
		b, err := d.openBundle(ctx, r)
		if err != nil && i > 0 {
			continue
		}
		if err != nil {
			return images, err
		}
		for _, img := range b.Images {
			ref, err := d.Engine.Load(ctx, img)
			if err != nil {
				return images, err
			}
			images = append(images, ref)
		}
	}
	return images, nil
}

// pruneReleases removes unpacked bundles and generations of data that nothing
// needs, unless an operation of their stack is under way for long.
func (d *Daemon) pruneReleases(ctx context.Context, rows []Release) (err error) {
	for _, r := range rows {
		visit, release, ok := d.visitSoon(ctx, r.Stack)
		if !ok {
			continue
		}
		keep, keepErr := d.kept(visit, r)
		if keepErr == nil {
			err = errors.Join(err, removeBundles(visit, d.Paths.Bundles(r.Stack), keep), d.removeGenerations(visit, r, keep))
		}
		release()
		err = errors.Join(err, keepErr)
	}
	return err
}

// visitSoon visits a lane as soon as it is free. What goes on each quarter of an
// hour would else be in the way of what is done once a day at the same minute.
func (d *Daemon) visitSoon(ctx context.Context, stack string) (visit context.Context, release func(), ok bool) {
	for range 120 {
		if visit, release, ok = d.lanes.visit(ctx, stack); ok {
			return visit, release, ok
		}
		if !sleep(ctx, time.Second) {
			break
		}
	}
	return nil, nil, false
}

// removeGenerations removes data that the history names and that no release which
// is kept runs on. Data that it does not name are left alone: they may be all that
// is left of a box whose memory was lost. Those of a stopped stack with a server wait
// until that runs again.
func (d *Daemon) removeGenerations(ctx context.Context, row Release, keep []Release) error {
	changes, err := d.Store.Changes(ctx, row.Stack, KeptChanges)
	if err != nil {
		return err
	}
	old := slices.DeleteFunc(generationsOf(changes), func(n int64) bool {
		_, err := os.Lstat(d.Paths.Generation(row.Stack, n))
		return errors.Is(err, fs.ErrNotExist) || slices.ContainsFunc(keep, func(r Release) bool { return r.Generation == n })
	})
	if len(old) == 0 {
		return nil
	}
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return err
	}
	c := &crew{release: row, bundle: b, paths: d.Paths}
	if row.Stopped && c.postgres() {
		return nil
	}
	for _, n := range old {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody wants the stack; the next time is soon enough
		}
		d.Log.Info("data of an old release are removed", "stack", row.Stack, "generation", n)
		if err := d.removeGeneration(ctx, c, n); err != nil {
			return err
		}
	}
	return nil
}

// generationsOf are the generations that changes speak of, each once.
func generationsOf(changes []Change) (all []int64) {
	for _, c := range changes {
		if c.Over() {
			all = append(all, c.From.Generation, c.To.Generation)
		}
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(n int64) bool { return n == 0 })
}

// removeGeneration removes the databases of a generation from their server, and
// then its folder.
func (d *Daemon) removeGeneration(ctx context.Context, c *crew, n int64) error {
	place, err := d.dataPlace(ctx, c)
	if err != nil {
		return err
	}
	place.Generation = n
	if err := d.Data.Drop(ctx, place); err != nil {
		return err
	}
	if err := os.RemoveAll(d.Paths.Generation(c.release.Stack, n)); err != nil {
		return fmt.Errorf("remove old data: %w", err)
	}
	return nil
}

func removeBundles(ctx context.Context, dir string, keep []Release) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old bundles: %w", err)
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody wants the stack; the next time is soon enough
		}
		if slices.ContainsFunc(keep, func(r Release) bool { return named(e.Name(), r.Digest) }) {
			continue
		}
		if fresh(e) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove an old bundle: %w", err)
		}
	}
	return nil
}

// freshBundle is how long a bundle that nothing speaks of is left alone: whoever
// unpacked it may be about to ask for it.
const freshBundle = time.Hour

func fresh(e fs.DirEntry) bool {
	info, err := e.Info()
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < freshBundle
}

// named tells whether an entry of a bundles folder belongs to the digest.
func named(entry, digest string) bool {
	_, hex, _ := strings.Cut(digest, ":")
	return entry == digest || hex != "" && strings.Contains(entry, hex)
}
