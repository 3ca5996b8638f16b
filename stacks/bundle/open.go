// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"rochdale/stacks"
)

// Opened is a bundle in a folder of this machine, verified.
type Opened struct {
	Digest string // "sha256:…"
	Dir    string
	Stack  stacks.Stack
	FS     fs.FS      // the stack's files: stack.yaml, migrations and so on
	Images []ImageRef // for this machine's architecture, by name
}

// Path is where a file or folder of the stack lies on the disk.
func (o *Opened) Path(name string) string {
	return filepath.Join(o.Dir, "stack", filepath.FromSlash(name))
}

// Image finds an image by the name that compose.yaml has for it.
func (o *Opened) Image(name string) (ImageRef, bool) {
	for _, i := range o.Images {
		if i.Name == name {
			return i, true
		}
	}
	return ImageRef{}, false
}

// ImageRef is one image of an opened bundle.
type ImageRef struct {
	Name           string
	Arch           string
	From           string // registry reference by digest; empty for images of the first party
	ConfigDigest   string // "sha256:…"
	ManifestDigest string // "sha256:…"
	DiffIDs        []string
	dir            string
	entry          entry // zero when the image does not travel
}

// Travels tells whether the bundle carries the image itself.
func (i ImageRef) Travels() bool { return i.entry.path != "" }

// Open gives the image as a tar archive in the format of "docker load". Reading
// to the end verifies it: the last Read returns a [*Refused] when it is wrong.
func (i ImageRef) Open() (io.ReadCloser, error) {
	if !i.Travels() {
		return nil, refuse("pull", nil, "image", i.Name)
	}
	file, err := os.Open(filepath.Join(i.dir, filepath.FromSlash(i.entry.path)))
	if err != nil {
		return nil, refuse("missing", err, "path", i.entry.path)
	}
	return struct {
		io.Reader
		io.Closer
	}{newVerifier(file, i.entry), file}, nil
}

// Open verifies the bundle in dir, whose last element is its digest: INDEX, all
// small files by digest, images by size (they are verified when they are read).
func Open(dir string) (*Opened, error) {
	text, err := readBounded(filepath.Join(dir, indexName), maxIndex)
	if err != nil {
		return nil, refuse("missing", err, "path", indexName)
	}
	digest := digestOf(text)
	if want := "sha256:" + filepath.Base(dir); want != digest {
		return nil, refuse("other", nil, "got", digest, "want", want)
	}
	x, err := parseIndex(text)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(verifyFiles(dir, x), onlyListed(dir, x)); err != nil {
		return nil, err
	}
	return open(dir, digest, x)
}

func open(dir, digest string, x index) (*Opened, error) {
	o := &Opened{Digest: digest, Dir: dir, FS: os.DirFS(filepath.Join(dir, "stack"))}
	var err error
	if o.Stack, err = stacks.Parse(o.FS); err != nil {
		return nil, err
	}
	text, err := readBounded(filepath.Join(dir, lockName), maxFile)
	if err != nil {
		return nil, refuse("missing", err, "path", lockName)
	}
	locks, err := parseLock(text)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(locks.names(x), locks.covers(o.Stack)); err != nil {
		return nil, err
	}
	return o, o.addImages(locks, x)
}

// addImages keeps the images for this machine; each service must have one.
func (o *Opened) addImages(locks lock, x index) error {
	arch := MachineArch()
	for _, l := range locks.Images {
		if l.Arch != arch {
			continue
		}
		ref := ImageRef{
			Name: l.Name, Arch: l.Arch, From: l.From, dir: o.Dir,
			ConfigDigest: l.Config, ManifestDigest: l.Manifest, DiffIDs: l.Layers,
		}
		if e, ok := x.find(l.path()); ok && isFile(filepath.Join(o.Dir, filepath.FromSlash(e.path)), e.size) {
			ref.entry = e
		} else if l.From == "" {
			return refuse("missing", nil, "path", l.path())
		}
		o.Images = append(o.Images, ref)
	}
	for _, s := range o.Stack.Services {
		if _, ok := o.Image(s.Image); !ok {
			return refuse("arch", nil, "stack", o.Stack.Manifest.Name, "image", s.Image, "arch", arch)
		}
	}
	return nil
}

func isFile(path string, size int64) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

func verifyFiles(dir string, x index) error {
	for _, e := range x {
		if e.image() {
			continue
		}
		data, err := readBounded(filepath.Join(dir, filepath.FromSlash(e.path)), maxFile)
		if err != nil {
			return refuse("missing", err, "path", e.path)
		}
		if _, err := io.Copy(io.Discard, newVerifier(bytes.NewReader(data), e)); err != nil {
			return err
		}
	}
	return nil
}

// onlyListed refuses files beside those of INDEX, and anything that is no file:
// an added migration would run, and a link would lead out of the bundle.
func onlyListed(dir string, x index) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/")
		_, listed := x.find(name)
		if name != indexName && !listed || !e.Type().IsRegular() {
			return refuse("extra", nil, "path", name)
		}
		return nil
	})
}

// readBounded reads a plain file of at most most bytes.
func readBounded(path string, most int64) (data []byte, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, errors.New("not a plain file of the expected size")
	}
	return os.ReadFile(path)
}
