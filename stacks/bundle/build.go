// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/klauspost/compress/zstd"

	"rochdale/stacks"
)

// Image is one container image for one architecture, to be put into a bundle.
type Image struct {
	Name           string // as compose.yaml names it
	Arch           string // one of [Architectures]
	From           string // registry reference by digest, for third-party images
	ManifestDigest string // "sha256:…"
	ConfigDigest   string // "sha256:…"
	DiffIDs        []string
	// Open gives the image as the tar archive that [Pack] makes, the same bytes
	// each time. nil: the image does not travel and is pulled.
	Open func() (io.ReadCloser, error)
}

// source is one file of a bundle that is being built.
type source struct {
	entry
	open func() (io.ReadCloser, error)
	of   locked // which image it is the archive of
}

// Build checks the stack and writes it with its images as one bundle. The same
// input gives the same bytes, whatever machine, user and time. It returns the
// bundle's digest, "sha256:…".
func Build(ctx context.Context, src fs.FS, images []Image, w io.Writer) (digest string, err error) {
	stack, err := stacks.Parse(src)
	if err != nil {
		return "", err
	}
	locks := lockOf(images)
	if err := errors.Join(locks.valid(), locks.covers(stack)); err != nil {
		return "", err
	}
	files, err := gather(ctx, src, images, locks)
	if err != nil {
		return "", err
	}
	x := make(index, len(files))
	for i, f := range files {
		x[i] = f.entry
	}
	if err := x.valid(); err != nil {
		return "", err
	}
	return digestOf(x.text()), writeArchive(ctx, w, x, files)
}

func lockOf(images []Image) lock {
	l := lock{Schema: schema}
	for _, i := range images {
		l.Images = append(l.Images, locked{
			Name: i.Name, Arch: i.Arch, From: i.From,
			Manifest: i.ManifestDigest, Config: i.ConfigDigest, Layers: i.DiffIDs,
		})
	}
	slices.SortFunc(l.Images, byNameAndArch)
	return l
}

// gather measures every file, in the order of INDEX.
func gather(ctx context.Context, src fs.FS, images []Image, locks lock) ([]source, error) {
	lockText, err := locks.text()
	if err != nil {
		return nil, err
	}
	files := []source{{entry: entry{path: lockName}, open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(lockText)), nil
	}}}
	stackFiles, err := stackSources(src)
	files = append(files, stackFiles...)
	for _, image := range images {
		if image.Open != nil {
			path := locked{Name: image.Name, Arch: image.Arch}.path()
			l, _ := locks.find(path)
			files = append(files, source{entry{path: path}, image.Open, l})
		}
	}
	for i := range files {
		err = errors.Join(err, ctx.Err(), files[i].measure())
	}
	slices.SortFunc(files, func(a, b source) int { return order(a.entry, b.entry) })
	return files, err
}

func stackSources(src fs.FS) (files []source, err error) {
	err = fs.WalkDir(src, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() || !validName(stackDir+path) {
			return refuse("name", nil, "path", path)
		}
		files = append(files, source{entry: entry{path: stackDir + path}, open: func() (io.ReadCloser, error) { return src.Open(path) }})
		return nil
	})
	return files, err
}

func (s *source) measure() (err error) {
	content, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	hash := sha256.New()
	count := func(r io.Reader) (err error) {
		s.size, err = io.Copy(hash, io.LimitReader(r, maxImage+1))
		return err
	}
	if s.image() {
		err = s.of.inspected(content, count)
	} else {
		err = count(content)
	}
	hash.Sum(s.sum[:0])
	return err
}

func writeArchive(ctx context.Context, w io.Writer, x index, files []source) error {
	out, err := newArchiveWriter(w, x)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err == nil {
			err = errors.Join(ctx.Err(), f.write(out))
		}
	}
	return errors.Join(err, out.close())
}

func (s source) write(out *archiveWriter) (err error) {
	content, err := s.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	return out.add(s.entry, content)
}

// archiveWriter writes the files of an index in its order.
type archiveWriter struct {
	packed *zstd.Encoder
	tar    *tar.Writer
}

// newArchiveWriter begins with INDEX.
func newArchiveWriter(w io.Writer, x index) (*archiveWriter, error) {
	packed, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil, err
	}
	out := &archiveWriter{packed: packed, tar: tar.NewWriter(packed)}
	text := x.text()
	first := entry{path: indexName, size: int64(len(text)), sum: sha256.Sum256(text)}
	return out, out.add(first, bytes.NewReader(text))
}

// add copies what the entry says and notices content that is something else.
func (a *archiveWriter) add(e entry, content io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.path, Size: e.size, Mode: 0o644}); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, newVerifier(content, e))
	return err
}

func (a *archiveWriter) close() error { return errors.Join(a.tar.Close(), a.packed.Close()) }
