// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rochdale/appliance/step"
)

// placeFiles brings the plain files of a snapshot into the volumes of a crew. id names
// the folder for what makes way.
func (d *Daemon) placeFiles(ctx context.Context, restored string, took StackBackup, c *crew, id string, report step.Report) error {
	used, err := moveFiles(restored, took, c)
	if err != nil {
		return err
	}
	if err := d.settle(c); err != nil {
		return err
	}
	for _, name := range used {
		if err := d.mend(ctx, restored, took.Volumes[name], c, mending{name, id}, report); err != nil {
			return fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
	}
	return nil
}

// mending is the volume that is mended, and the name of the folder for what makes way.
type mending struct{ volume, id string }

// mend adds what a shared volume lacks of a snapshot. Its files are the stack's own and
// in use: a child with the stack's uid does it.
func (d *Daemon) mend(ctx context.Context, restored, path string, c *crew, m mending, report step.Report) (err error) {
	from, err := inside(restored, path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(restored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	mine := stackOnly(c.bundle.Stack.Manifest.User)
	if err := give(root, strings.TrimPrefix(path, "/"), mine); err != nil {
		return err
	}
	frame := d.Paths.Replaced(c.release.Stack, m.id)
	aside := filepath.Join(frame, m.volume)
	if err := errors.Join(d.files.MkdirAll(frame, rootOnly()), d.files.MkdirAll(aside, mine)); err != nil {
		return err
	}
	done, err := d.Data.Mend(ctx, from, DataPlace{
		Stack: c.release.Stack, User: c.bundle.Stack.Manifest.User, Volumes: map[string]string{m.volume: c.volume(m.volume)},
	}, aside)
	// These go only where nothing is in them.
	_, _, _ = os.Remove(aside), os.Remove(frame), os.Remove(filepath.Dir(frame))
	_, gone := os.Lstat(aside)
	switch {
	case gone != nil && err != nil:
		return err
	case gone != nil:
		report(fmt.Sprintf("%s: %d files came back", m.volume, done.Back))
		return nil
	case ctx.Err() != nil:
		return err
	case err != nil:
		detail := cmp.Or(MessageOf(err).Args["detail"], err.Error())
		return Problem("restore.files-aside", err, "stack", c.release.Stack, "volume", m.volume, "aside", aside, "detail", detail)
	}
	// One that was interrupted may have put some there before.
	report(fmt.Sprintf("%s: %d files came back; those that differed, %d now, are in %s", m.volume, done.Back, done.Aside, aside))
	return nil
}

// moveFiles moves the plain files of a snapshot into the volumes of a crew. Files
// that never change are shared by all generations: where some are there they stay, and
// the volume is among those that are used.
func moveFiles(restored string, took StackBackup, c *crew) (used []string, err error) {
	volumes := c.volumes()
	for _, name := range slices.Sorted(maps.Keys(took.Volumes)) {
		if !volumes[name] || c.servers(name) {
			continue
		}
		from, err := inside(restored, took.Volumes[name])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
		to := c.volume(name)
		stays, err := c.inUse(name)
		if err != nil {
			return nil, err
		}
		if stays {
			used = append(used, name)
			continue
		}
		if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o711), os.Rename(from, to)); err != nil {
			return nil, fmt.Errorf("put the files of volume %s in place: %w", name, err)
		}
	}
	return used, nil
}

// inUse tells whether the files of a volume are shared by all generations and some are
// there.
func (c *crew) inUse(name string) (bool, error) {
	if !c.shared(name) {
		return false, nil
	}
	there, err := os.ReadDir(c.volume(name))
	if len(there) > 0 || errors.Is(err, fs.ErrNotExist) {
		return len(there) > 0, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into volume %s: %w", name, err)
	}
	return false, nil
}
