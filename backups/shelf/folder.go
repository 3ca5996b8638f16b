// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// folder is the shelf of a repository on this machine's disks.
type folder struct {
	spot
	dir  string
	disk Disk
}

var _ Shelf = folder{}

func openFolder(dir string, at spot, disk Disk) (Shelf, error) {
	if !filepath.IsAbs(dir) {
		return nil, at.badAddress(errors.New("a folder is named from the root: /srv/backup"))
	}
	return folder{spot: at, dir: filepath.Clean(dir), disk: disk}, nil
}

// Put implements [Shelf]. The repository's own folder must be there: it may be
// on a disk that is not mounted now.
func (f folder) Put(ctx context.Context, name string, content []byte) error {
	if err := errors.Join(ctx.Err(), f.fits(name, content)); err != nil {
		return err
	}
	if _, err := os.Stat(f.dir); err != nil {
		return f.failed(err)
	}
	path := filepath.Join(f.dir, filepath.FromSlash(name))
	if parent := filepath.Dir(path); parent != f.dir {
		if err := f.disk.Mkdir(parent, 0o700); err != nil {
			return f.failed(err)
		}
	}
	return f.failed(f.disk.Stream(path, bytes.NewReader(content), 0o600))
}

// Get implements [Shelf]. A link that leads out of the folder is not followed.
func (f folder) Get(ctx context.Context, name string) ([]byte, error) {
	if err := errors.Join(ctx.Err(), f.name(name)); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, f.explain(name, err)
	}
	defer root.Close()
	// A pipe in the file's place would wait for a writer for ever.
	file, err := root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, f.explain(name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, f.failed(err)
	}
	if !info.Mode().IsRegular() {
		return nil, f.failed(fmt.Errorf("%s is no plain file", name))
	}
	return f.read(name, file)
}

// explain tells a file that is not there from a folder that is not.
func (f folder) explain(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return f.failed(err)
	}
	if _, gone := os.Stat(f.dir); gone != nil {
		return f.failed(gone)
	}
	return f.missing(name)
}

// List implements [Shelf].
func (f folder) List(ctx context.Context, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(f.dir); err != nil {
		return nil, f.failed(err)
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, f.failed(err)
	}
	defer root.Close()
	open, err := root.Open(filepath.Join(".", filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, f.failed(err)
	}
	defer open.Close()
	return f.names(open)
}

func (f folder) names(open *os.File) ([]string, error) {
	entries, err := open.ReadDir(maxFiles)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, f.failed(err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return plainNames(names), nil
}
