// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
)

// Disk is the machine's durable writer, as far as bundles need it. cmd fills it.
type Disk interface {
	// Folder makes the folder path whole or not at all, replacing one that is
	// there; fill adds its files under slash-separated names. When it returns
	// nil, all of it survives a power cut.
	Folder(path string, fill func(add func(name string, content io.Reader) error) error) error
	// RemoveFolder removes the folder and what is in it, if it is there.
	RemoveFolder(path string) error
}

// Store keeps bundles in a folder of this machine, each in a folder named by
// the digits of its digest.
type Store struct {
	Dir  string // must exist
	Disk Disk
	// Free tells how many bytes can still be written into a folder; nil asks the
	// file system.
	Free func(dir string) (bytes int64, err error)
}

// Path is the folder of the bundle with this digest.
func (s Store) Path(digest string) string {
	return filepath.Join(s.Dir, strings.TrimPrefix(digest, "sha256:"))
}

// Open opens a bundle that was unpacked before.
func (s Store) Open(digest string) (*Opened, error) { return Open(s.Path(digest)) }

// Remove removes a bundle; one that is not there is no error.
func (s Store) Remove(digest string) error { return s.Disk.RemoveFolder(s.Path(digest)) }

// Unpack verifies a bundle while it writes it, keeping the images for this
// machine only, and opens it. want is the digest that it must have; "" takes
// any. A bundle that is there already and right is left as it is. One that does
// not fit on the disk, with what the engine needs to load its images, is refused
// before anything is written. On an error nothing of the bundle is left behind.
func (s Store) Unpack(ctx context.Context, r io.Reader, want string) (*Opened, error) {
	a, err := readArchive(r)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if want != "" && want != a.digest {
		return nil, refuse("other", nil, "got", a.digest, "want", want)
	}
	if there, err := s.Open(a.digest); err == nil && there.verifyImages() == nil {
		return there, nil
	}
	if err := s.room(a); err != nil {
		return nil, err
	}
	path := s.Path(a.digest)
	if err := s.Disk.Folder(path, func(add func(string, io.Reader) error) error { return a.unpack(ctx, add) }); err != nil {
		var refused *Refused
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		return nil, refuse("write", err, "path", path)
	}
	opened, err := Open(path)
	if err != nil {
		return nil, errors.Join(err, s.Disk.RemoveFolder(path))
	}
	return opened, nil
}

// unpack adds INDEX and every file, but images for other machines are only
// read, so that a damaged archive is never half accepted.
func (a *archive) unpack(ctx context.Context, add func(string, io.Reader) error) error {
	if err := add(indexName, bytes.NewReader(a.text)); err != nil {
		return err
	}
	if err := add(lockName, bytes.NewReader(a.locked)); err != nil {
		return err
	}
	return a.each(ctx, func(e entry, content io.Reader) error {
		image, ok := a.locks.find(e.path)
		switch {
		case !ok:
			return add(e.path, content)
		case image.Arch == MachineArch():
			return image.inspected(content, func(r io.Reader) error { return add(e.path, r) })
		default:
			_, err := io.Copy(io.Discard, content)
			return err
		}
	})
}

func (o *Opened) verifyImages() error {
	for _, i := range o.Images {
		if !i.Travels() {
			continue
		}
		content, err := i.Open()
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Thin copies a bundle and leaves out the images for other architectures. The
// digest stays the same, and everything is verified on the way.
func Thin(ctx context.Context, r io.Reader, arch string, w io.Writer) (digest string, err error) {
	a, err := readArchive(r)
	if err != nil {
		return "", err
	}
	defer a.close()
	out, err := newArchiveWriter(w, a.index)
	if err != nil {
		return "", err
	}
	if err := out.add(a.index[0], bytes.NewReader(a.locked)); err != nil {
		return "", errors.Join(err, out.close())
	}
	err = a.each(ctx, func(e entry, content io.Reader) error {
		if e.image() && !strings.HasSuffix(e.path, "/"+arch+".tar") {
			_, err := io.Copy(io.Discard, content)
			return err
		}
		return out.add(e, content)
	})
	return a.digest, errors.Join(err, out.close())
}
