// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// archiveParts takes the archive of an image apart.
func archiveParts(t *testing.T, i Image) (parts []part) {
	t.Helper()
	content, err := i.Open()
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part{*h, data})
	}
}

func tarOf(t *testing.T, parts []part) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range parts {
		if p.header.Typeflag == tar.TypeReg {
			p.header.Size = int64(len(p.data))
		}
		err := w.WriteHeader(&p.header)
		_, err2 := w.Write(p.data)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// smuggle makes a bundle whose index is right and whose image for this machine
// is another archive.
func smuggle(t *testing.T, packed, archive []byte) []byte {
	t.Helper()
	parts := takeApart(t, packed)
	i := slices.IndexFunc(parts, func(p part) bool { return p.header.Name == "images/web/"+MachineArch()+".tar" })
	parts[i].data = archive
	return putTogether(t, reindex(parts))
}

func TestSmuggledImages(t *testing.T) {
	packed, _ := build(t)
	honest := testImages(MachineArch())[0]
	replace := func(name, old, text string) func([]part) []part {
		return func(p []part) []part {
			i := slices.IndexFunc(p, func(p part) bool { return p.header.Name == name })
			if !strings.Contains(string(p[i].data), old) {
				t.Fatalf("%s has no %s: %s", name, old, p[i].data)
			}
			p[i].data = bytes.Replace(p[i].data, []byte(old), []byte(text), 1)
			return p
		}
	}
	one := `{"Config":"` + blobPath(honest.ConfigDigest) + `","RepoTags":["other/stack:1"],"Layers":[]}`
	for name, change := range map[string]func([]part) []part{
		"a tag":             replace(dockerIndex, `"RepoTags":null`, `"RepoTags":["rochdale.invalid/other:1"]`),
		"a second image":    replace(dockerIndex, `}]`, `},`+one+`]`),
		"a name in oci":     replace(ociIndex, `"size"`, `"annotations":{"org.opencontainers.image.ref.name":"other"},"size"`),
		"a second manifest": replace(ociIndex, `"manifests":[`, `"manifests":[{"mediaType":"x","digest":"`+honest.ConfigDigest+`","size":1},`),
		"another config":    replace(blobPath(honest.ConfigDigest), `2000`, `0000`),
		"another layer":     replace(blobPath(honest.DiffIDs[0]), `image for`, `other for`),
		"another manifest":  replace(blobPath(honest.ManifestDigest), `"size":`, `"urls":["https://example.org/"],"size":`),
		"another layout":    replace(layoutName, `1.0.0`, `2.0.0`),
		"repositories":      func(p []part) []part { return append(p, file("repositories", `{"other":{"1":"x"}}`)) },
		"a file in front":   func(p []part) []part { return append([]part{file("repositories", `{}`)}, p...) },
		"a second index":    func(p []part) []part { return append(p, file(dockerIndex, "["+one+"]")) },
		"no manifest":       func(p []part) []part { return slices.Delete(p, 2, 3) },
		"no layer":          func(p []part) []part { return p[:len(p)-1] },
		"a link": func(p []part) []part {
			last := &p[len(p)-1]
			*last = part{tar.Header{Typeflag: tar.TypeSymlink, Name: last.header.Name, Linkname: "/etc/shadow"}, nil}
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			archive := tarOf(t, change(archiveParts(t, honest)))
			store := newStore(t)
			_, err := store.Unpack(t.Context(), bytes.NewReader(smuggle(t, packed, archive)), "")
			wantRefused(t, err, "image-content")
			if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
				t.Fatalf("left %v, %v", left, err)
			}
			images := testImages(Architectures()...)
			for i := range images {
				if images[i].Arch == MachineArch() {
					images[i].Open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
				}
			}
			_, err = Build(t.Context(), testStack(), images, io.Discard)
			wantRefused(t, err, "image-content")
		})
	}
	if _, err := newStore(t).Unpack(t.Context(), bytes.NewReader(smuggle(t, packed, tarOf(t, archiveParts(t, honest)))), ""); err != nil {
		t.Fatalf("the honest archive was refused: %v", err)
	}
	_, err := newStore(t).Unpack(t.Context(), bytes.NewReader(smuggle(t, packed, append(tarOf(t, archiveParts(t, honest)), 'x'))), "")
	wantRefused(t, err, "image-content")
}

// TestImagesThatCanNotBe are right in every digest and still refused.
func TestImagesThatCanNotBe(t *testing.T) {
	layer := testLayer("web", "program")
	plain, err := layer.Open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(content)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config []byte
		layer  Layer
	}{
		"volume":             {testConfig("amd64", `"Volumes":{"/data":{}}`, layer), layer},
		"label":              {testConfig("amd64", `"Labels":{"coop.rochdale.stack":"other"}`, layer), layer},
		"other machine":      {testConfig("arm64", ``, layer), layer},
		"other system":       {bytes.Replace(testConfig("amd64", ``, layer), []byte("linux"), []byte("windows"), 1), layer},
		"other layers":       {testConfig("amd64", ``, layer, layer), layer},
		"not a config":       {[]byte("{"), layer},
		"large config":       {append(testConfig("amd64", ``, layer), bytes.Repeat([]byte(" "), maxConfig)...), layer},
		"compressed layer":   {testConfig("amd64", ``, plainLayer(zipped.Bytes())), plainLayer(zipped.Bytes())},
		"a file of holes":    {testConfig("amd64", ``, holes(t)), holes(t)},
		"a layer of rubbish": {testConfig("amd64", ``, plainLayer([]byte(strings.Repeat("x", 2000)))), plainLayer([]byte(strings.Repeat("x", 2000)))},
	} {
		t.Run(name, func(t *testing.T) {
			i, err := Pack(Image{Name: "web", Arch: "amd64"}, c.config, []Layer{c.layer})
			if err != nil {
				t.Fatal(err)
			}
			wantRefused(t, inspectImage(t, i), "image-content")
		})
	}
	for name, layers := range map[string][]Layer{
		"one layer": {layer}, "a layer twice": {layer, testLayer("b", "b"), layer}, "an empty layer": {layer, plainLayer(make([]byte, 1024))},
	} {
		i, err := Pack(Image{Name: "web", Arch: "amd64"}, testConfig("amd64", `"Volumes":{}`, layers...), layers)
		if err := errors.Join(err, inspectImage(t, i)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func inspectImage(t *testing.T, i Image) error {
	t.Helper()
	content, err := i.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	return lockOf([]Image{i}).Images[0].inspect(content)
}

// holes is a layer of 2 KiB with one file of 1 GiB that is nothing but a hole.
func holes(t *testing.T) Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "big", Mode: 0o644, Format: tar.FormatGNU}
	if err := errors.Join(w.WriteHeader(h), w.Close()); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
	data[156] = 'S' // GNU's sparse file: parts at 386, and its whole size at 483
	copy(data[386:], "10000000000\x0000000000000\x00")
	copy(data[483:], "10000000000\x00")
	copy(data[148:], "        ")
	sum := 0
	for _, c := range data[:512] {
		sum += int(c)
	}
	copy(data[148:], []byte{'0', byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	r := tar.NewReader(bytes.NewReader(data))
	if got, err := r.Next(); err != nil || got.Size != 1<<30 {
		t.Fatalf("this is no file of holes: %+v, %v", got, err)
	}
	return plainLayer(data)
}

func TestAFullDiskIsNoForgedImage(t *testing.T) {
	packed, digest := build(t)
	store := newStore(t)
	store.Disk = &lateDisk{}
	_, err := store.Unpack(context.WithoutCancel(t.Context()), bytes.NewReader(packed), digest)
	wantRefused(t, err, "write")
	if !errors.Is(err, errDisk) {
		t.Errorf("the cause is gone: %v", err)
	}
}

// lateDisk is full in the middle of the first image.
type lateDisk struct{ plainDisk }

func (d *lateDisk) Folder(path string, fill func(add func(string, io.Reader) error) error) error {
	return d.plainDisk.Folder(path, func(add func(string, io.Reader) error) error {
		return fill(func(name string, content io.Reader) error {
			if !strings.HasPrefix(name, imagesDir) {
				return add(name, content)
			}
			_, err := io.CopyN(io.Discard, content, 3000)
			return errors.Join(err, errDisk)
		})
	})
}
