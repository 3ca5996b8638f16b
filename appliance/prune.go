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
)

// prune removes images, ended containers and bundles that no row and no
// request speaks of. Data is never touched. It does nothing while a stack starts
// for the first time.
func (d *Daemon) prune(ctx context.Context) (Pruned, error) {
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
	return done, d.pruneBundles(ctx, rows)
}

// starting tells whether a stack is being started: its images are loaded before
// its row is there.
func (d *Daemon) starting(ctx context.Context) (bool, error) {
	open, err := d.Store.Requests(ctx)
	return slices.ContainsFunc(open, func(r Request) bool { return r.Plan == "stack-start" }), err
}

// needed is what the rows speak of.
func (d *Daemon) needed(ctx context.Context, rows []Release) (Keep, error) {
	var keep Keep
	for _, r := range rows {
		all, err := d.Engine.List(ctx, r.Stack)
		if err != nil {
			return keep, err
		}
		for _, x := range all {
			if x.Digest == r.Digest {
				keep.Containers = append(keep.Containers, x.ID)
			}
		}
		if r.Stopped {
			continue
		}
		b, err := d.openBundle(ctx, r)
		if err != nil {
			return keep, err
		}
		for _, img := range b.Images {
			ref, err := d.Engine.Load(ctx, img)
			if err != nil {
				return keep, err
			}
			keep.Images = append(keep.Images, ref)
		}
	}
	return keep, nil
}

// pruneBundles removes unpacked bundles that no row names, unless an operation
// of their stack is under way and may need them.
func (d *Daemon) pruneBundles(ctx context.Context, rows []Release) (err error) {
	for _, r := range rows {
		visit, release, ok := d.lanes.visit(ctx, r.Stack)
		if !ok {
			continue
		}
		err = errors.Join(err, removeBundles(visit, d.Paths.Bundles(r.Stack), r.Digest))
		release()
	}
	return err
}

func removeBundles(ctx context.Context, dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old bundles: %w", err)
	}
	_, hex, _ := strings.Cut(keep, ":")
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // somebody wants the stack; the next time is soon enough
		}
		if e.Name() == keep || strings.Contains(e.Name(), hex) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove an old bundle: %w", err)
		}
	}
	return nil
}
