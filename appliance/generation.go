// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"rochdale/appliance/host"
)

// The folder of a generation belongs to root, and only the volumes in it to the
// stack: who owns a folder can swap what is in it, and root binds the volumes
// into containers and units by their names.

// stackOnly is for what a stack alone may see.
func stackOnly(uid int) host.Attr { return host.Attr{Mode: 0o700, UID: uid, GID: uid} }

// furnish makes the folders of a release's generation, or mends those that a
// power cut left half made. Volumes that all generations share lie beside them.
func (d *Daemon) furnish(c *crew) error {
	for _, dir := range c.frames() {
		if err := d.files.MkdirAll(dir, rootOnly()); err != nil {
			return err
		}
	}
	if err := d.settle(c); err != nil {
		return err
	}
	for name := range c.volumes() {
		if err := d.files.MkdirAll(c.volume(name), stackOnly(c.bundle.Stack.Manifest.User)); err != nil {
			return err
		}
	}
	return d.settle(c)
}

// frames are the folders that the volumes of a release lie in, in order.
func (c *crew) frames() []string {
	dirs := []string{c.paths.Generation(c.release.Stack, c.release.Generation)}
	for name := range c.volumes() {
		if dir := filepath.Dir(c.volume(name)); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// settle gives the folders of a release's data to those that they belong to,
// the outermost first. It makes none, and follows no link.
func (d *Daemon) settle(c *crew) (err error) {
	dir := filepath.Dir(d.Paths.Generation(c.release.Stack, c.release.Generation))
	data, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the data of stack %s: %w", c.release.Stack, err)
	}
	defer func() { err = errors.Join(err, data.Close()) }()
	for _, frame := range c.frames() {
		if err := give(data, filepath.Base(frame), rootOnly()); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.volumes())) {
		volume := c.volume(name)
		inside := filepath.Join(filepath.Base(filepath.Dir(volume)), name)
		if err := give(data, inside, stackOnly(c.bundle.Stack.Manifest.User)); err != nil {
			return err
		}
	}
	return nil
}

// give sets owner and mode of a folder where they differ. One that is not there
// is no error; anything but a folder is.
func give(in *os.Root, name string, a host.Attr) error {
	info, err := in.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the stack's data: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s in %s is not a folder; nothing is bound into a container from there", name, in.Name())
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != a.UID || int(owner.Gid) != a.GID) {
		err = in.Lchown(name, a.UID, a.GID)
	}
	if err == nil && info.Mode().Perm() != a.Mode {
		err = in.Chmod(name, a.Mode)
	}
	if err != nil {
		return fmt.Errorf("give %s in %s to its owner: %w", name, in.Name(), err)
	}
	return nil
}
