// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Stream is [Files.WriteFrom] for rooms that know nothing of this one: the
// file belongs to who runs this. An error of content leaves the old file.
func (f Files) Stream(path string, content io.Reader, mode fs.FileMode) error {
	return f.WriteFrom(path, content, ours(mode))
}

// Folder makes the folder path whole or not at all. fill is called once with a
// function that adds a file under a slash-separated name; names must be local
// and new. When fill fails, what was there stays. A folder that exists is
// replaced: after a crash there is the old one, the new one or none, never a
// mixture or a part.
func (f Files) Folder(path string, fill func(add func(name string, content io.Reader) error) error) error {
	path = filepath.Clean(path)
	temp := tempName(path)
	if err := f.removeTree(temp); err != nil {
		return err
	}
	if err := f.fillTree(temp, fill); err != nil {
		return errors.Join(err, f.removeTree(temp))
	}
	if err := f.RemoveFolder(path); err != nil {
		return errors.Join(err, f.removeTree(temp))
	}
	return f.replace(temp, path)
}

// RemoveFolder removes the folder and what is in it, durably and whole: it is
// given another name first. One that is not there is no error.
func (f Files) RemoveFolder(path string) error {
	path = filepath.Clean(path)
	doomed := tempName(path) + "-old"
	if err := f.removeTree(doomed); err != nil {
		return err
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := f.replace(path, doomed); err != nil {
		return err
	}
	if err := f.removeTree(doomed); err != nil {
		return err
	}
	return f.Disk.SyncDir(filepath.Dir(path))
}

func (f Files) fillTree(root string, fill func(func(string, io.Reader) error) error) error {
	if err := f.Disk.Mkdir(root, ours(0o755)); err != nil {
		return fmt.Errorf("make folder %s: %w", root, err)
	}
	folders := map[string]bool{root: true}
	add := func(name string, content io.Reader) error {
		local, err := filepath.Localize(name)
		if err != nil {
			return fmt.Errorf("add %q to %s: %w", name, root, err)
		}
		to := filepath.Join(root, local)
		if err := f.MkdirAll(filepath.Dir(to), ours(0o755)); err != nil {
			return err
		}
		folders[filepath.Dir(to)] = true
		return f.pour(to, content, ours(0o644))
	}
	if err := fill(add); err != nil {
		return err
	}
	return f.syncDirs(folders)
}

func (f Files) syncDirs(folders map[string]bool) error {
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if err := f.Disk.SyncDir(dir); err != nil {
			return fmt.Errorf("write folder %s to the disk: %w", dir, err)
		}
	}
	return nil
}

// pour makes a new file from a stream and waits until it is on the disk.
func (f Files) pour(path string, content io.Reader, a Attr) error {
	if err := f.Disk.Create(path, content, a); err != nil {
		return err
	}
	return f.Disk.SyncFile(path)
}

func (f Files) removeTree(root string) error {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", root, err)
	}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if e.IsDir() {
			err = f.removeTree(path)
		} else {
			err = f.discard(path)
		}
		if err != nil {
			return err
		}
	}
	return f.discard(root)
}

// ours is a mode for who runs this.
func ours(mode fs.FileMode) Attr { return Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()} }
