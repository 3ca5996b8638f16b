// SPDX-License-Identifier: AGPL-3.0-or-later

package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxText is the size of a file that only names others, in bytes.
const maxText = 4 << 20

// span is where a file lies in an archive.
type span struct{ offset, size int64 }

// store is an archive whose files can be read in any order.
type store struct {
	path  string
	spans map[string]span
	links map[string]string
}

// scan finds the files of a tar archive.
func scan(file string) (s store, err error) {
	s = store{path: file, spans: map[string]span{}, links: map[string]string{}}
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("it is not a tar archive without compression: %w", err)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return s, err
			}
			s.spans[name] = span{offset, h.Size}
		case tar.TypeSymlink:
			s.links[name] = path.Join(path.Dir(name), h.Linkname) //nolint:gosec // a key of a map; nothing is extracted
		case tar.TypeLink:
			s.links[name] = path.Clean(h.Linkname)
		}
	}
}

// open gives one file of the archive.
func (s store) open(name string) (io.ReadCloser, error) {
	name = path.Clean(name)
	at, ok := s.spans[name]
	if !ok {
		at, ok = s.spans[s.links[name]]
	}
	if !ok {
		return nil, fmt.Errorf("it has no %s", name)
	}
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	return joined{io.NewSectionReader(f, at.offset, at.size), f.Close}, nil
}

// joined is a reader with what ends it.
type joined struct {
	io.Reader
	close func() error
}

// Close implements io.Closer.
func (j joined) Close() error { return j.close() }

// plain gives one file without the compression that it may have.
func (s store) plain(name string) (io.ReadCloser, error) {
	file, err := s.open(name)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(file)
	start, _ := in.Peek(4) // a file that is shorter is not compressed
	switch {
	case strings.HasPrefix(string(start), "\x1f\x8b"):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return joined{z, file.Close}, nil
	case string(start) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return joined{z, func() error { z.Close(); return file.Close() }}, nil
	default:
		return joined{in, file.Close}, nil
	}
}

func (s store) text(name string) (_ []byte, err error) {
	file, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err := io.ReadAll(io.LimitReader(file, maxText+1))
	if len(text) > maxText {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxText)
	}
	return text, err
}

func (s store) json(name string, into any) error {
	text, err := s.text(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// found is an image in an archive: its config, and the files of its layers.
type found struct {
	config []byte
	layers []string
}

// image finds the one image for an architecture.
func (s store) image(arch string) (found, error) {
	if _, ok := s.spans["index.json"]; ok {
		return s.oci(arch)
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := s.json("manifest.json", &list); err != nil {
		return found{}, err
	}
	if len(list) != 1 {
		return found{}, fmt.Errorf("it holds %d images; save one alone", len(list))
	}
	config, err := s.text(list[0].Config)
	return found{config, list[0].Layers}, err
}

// descriptor is how an OCI layout names a blob.
type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Platform  *platform `json:"platform"`
}

func (d descriptor) path() string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }

func (s store) oci(arch string) (f found, err error) {
	manifests, err := s.manifests("index.json", arch, 3)
	if err != nil {
		return f, err
	}
	if len(manifests) != 1 {
		return f, fmt.Errorf("it holds %d images for %s; save one alone", len(manifests), arch)
	}
	var m struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	text, err := s.blob(manifests[0])
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return f, fmt.Errorf("read its manifest: %w", err)
	}
	for _, l := range m.Layers {
		f.layers = append(f.layers, l.path()) // compared by what is in them
	}
	f.config, err = s.blob(m.Config)
	return f, err
}

// blob gives a small blob, which must be the one that is named.
func (s store) blob(d descriptor) ([]byte, error) {
	text, err := s.text(d.path())
	if err == nil && digest(text) != d.Digest {
		err = fmt.Errorf("%s is not what its name says", d.path())
	}
	return text, err
}

// manifests gives those that may be for an architecture, each once; an index may
// name further ones.
func (s store) manifests(index, arch string, depth int) (list []descriptor, err error) {
	var x struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := s.json(index, &x); err != nil {
		return nil, err
	}
	for _, d := range x.Manifests {
		more := []descriptor{d}
		switch {
		case d.Platform != nil && !d.Platform.fits(arch):
			continue
		case strings.Contains(d.MediaType, "index") || strings.Contains(d.MediaType, "manifest.list"):
			if depth == 0 {
				return nil, errors.New("its indexes lead nowhere")
			}
			if more, err = s.manifests(d.path(), arch, depth-1); err != nil {
				return nil, err
			}
		}
		for _, m := range more {
			if !slices.ContainsFunc(list, func(other descriptor) bool { return other.Digest == m.Digest }) {
				list = append(list, m)
			}
		}
	}
	return list, nil
}
