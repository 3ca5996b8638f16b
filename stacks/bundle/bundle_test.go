// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const testManifest = `schema: 1
name: small
version: 1.2.3
title: {en: Small, es: Pequeña, fr: Petite}
web: {service: web, port: 8080, health: /healthz}
user: 2000
databases:
  main: {engine: sqlite, volume: data, path: small.db}
migrations: {database: main, dir: migrations}
needs: {memory: 64M, disk: 10M}
`

const testCompose = `services:
  web:
    image: web
    volumes: ["data:/data"]
volumes:
  data:
`

func testStack() fstest.MapFS {
	return fstest.MapFS{
		"stack.yaml":              {Data: []byte(testManifest), Mode: 0o644},
		"compose.yaml":            {Data: []byte(testCompose), Mode: 0o644},
		"migrations/00001_a.sql":  {Data: []byte("-- +goose Up\ncreate table a (id text);\n"), Mode: 0o644},
		"migrations/00002_b.sql":  {Data: []byte("-- +goose Up\ncreate table b (id text);\n"), Mode: 0o644},
		"translations/words.yaml": {Data: []byte("a: b\n"), Mode: 0o644},
	}
}

// testLayer is a layer with one file.
func testLayer(name, content string) Layer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o755})
	_, err2 := io.WriteString(w, content)
	if err := errors.Join(err, err2, w.Close()); err != nil {
		panic(err) // a buffer takes everything
	}
	return plainLayer(b.Bytes())
}

func plainLayer(data []byte) Layer {
	return Layer{DiffID: digestOf(data), Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// testConfig is the config of an image with these layers; more is what its
// config holds.
func testConfig(arch, more string, layers ...Layer) []byte {
	ids := make([]string, len(layers))
	for i, l := range layers {
		ids[i] = strconv.Quote(l.DiffID)
	}
	if arch == "armv7" {
		arch = "arm"
	}
	return fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}`, arch, more, strings.Join(ids, ","))
}

func testImages(arches ...string) (images []Image) {
	for _, arch := range arches {
		layer := testLayer("web", strings.Repeat("image for "+arch+"\n", 5000))
		i, err := Pack(Image{Name: "web", Arch: arch}, testConfig(arch, `"User":"2000"`, layer), []Layer{layer})
		if err != nil {
			panic(err) // what is marshalled is plain
		}
		images = append(images, i)
	}
	return images
}

// build gives a bundle with the images of all architectures.
func build(t *testing.T) (packed []byte, digest string) {
	t.Helper()
	var b bytes.Buffer
	digest, err := Build(t.Context(), testStack(), testImages(Architectures()...), &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), digest
}

// plainDisk writes folders as the tests need them; that they are durable is
// tested where the real writer lives.
type plainDisk struct{ failAfter int }

var errDisk = errors.New("no space left on device")

func (d *plainDisk) Folder(path string, fill func(add func(string, io.Reader) error) error) error {
	temp := path + ".new"
	files := 0
	err := fill(func(name string, content io.Reader) error {
		if files++; d.failAfter > 0 && files > d.failAfter {
			return errDisk
		}
		data, err := io.ReadAll(content)
		to := filepath.Join(temp, filepath.FromSlash(name))
		return errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o644))
	})
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return errors.Join(os.RemoveAll(path), os.Rename(temp, path))
}

func (d *plainDisk) RemoveFolder(path string) error { return os.RemoveAll(path) }

func newStore(t *testing.T) Store { return Store{Dir: t.TempDir(), Disk: &plainDisk{}} }

func TestBuildUnpackOpen(t *testing.T) {
	packed, digest := build(t)
	store := newStore(t)
	o, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest)
	if err != nil {
		t.Fatal(err)
	}
	again, err := store.Open(digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []*Opened{o, again} {
		if o.Digest != digest || o.Stack.Manifest.Name != "small" || len(o.Images) != 1 {
			t.Fatalf("opened %+v", o)
		}
		data, err := fs.ReadFile(o.FS, "migrations/00002_b.sql")
		if err != nil || !strings.Contains(string(data), "table b") {
			t.Fatalf("migration %q, %v", data, err)
		}
		if got := readImage(t, o); !strings.Contains(got, "image for "+MachineArch()) {
			t.Fatalf("the image is %.30q", got)
		}
	}
	if data, err := os.ReadFile(o.Path("migrations/00001_a.sql")); err != nil || len(data) == 0 {
		t.Fatalf("path leads to %q, %v", data, err)
	}
	others, err := filepath.Glob(filepath.Join(o.Dir, "images/web/*"))
	if err != nil || len(others) != 1 {
		t.Fatalf("images of other machines were kept: %q, %v", others, err)
	}
}

func readImage(t *testing.T, o *Opened) string {
	t.Helper()
	ref, ok := o.Image("web")
	if !ok {
		t.Fatal("no image web")
	}
	content, err := ref.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSameInputSameBytes(t *testing.T) {
	first, digest := build(t)
	dir := t.TempDir()
	for name, f := range testStack() {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, f.Data, 0o600), os.Chtimes(path, time.Unix(1, 0), time.Unix(2, 0))); err != nil {
			t.Fatal(err)
		}
	}
	var second bytes.Buffer
	images := testImages("armv7", "arm64", "amd64")
	again, err := Build(t.Context(), os.DirFS(dir), images, &second)
	if err != nil {
		t.Fatal(err)
	}
	if digest != again || !bytes.Equal(first, second.Bytes()) {
		t.Fatalf("digests %s and %s, %d and %d bytes", digest, again, len(first), second.Len())
	}
}

func TestThinKeepsTheDigest(t *testing.T) {
	packed, digest := build(t)
	for _, arch := range Architectures() {
		var thin bytes.Buffer
		got, err := Thin(t.Context(), bytes.NewReader(packed), arch, &thin)
		if err != nil || got != digest {
			t.Fatalf("%s: %s, %v", arch, got, err)
		}
		o, err := newStore(t).Unpack(t.Context(), &thin, digest)
		if arch != MachineArch() {
			wantRefused(t, err, "missing")
		} else if err != nil || len(o.Images) != 1 {
			t.Fatalf("thin bundle for this machine: %v", err)
		}
	}
}

func TestUnpackRepairsAndReuses(t *testing.T) {
	packed, digest := build(t)
	store := newStore(t)
	o, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(o.Dir, "images/web", MachineArch()+".tar")
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[100] ^= 1
	if err := os.WriteFile(image, damaged, 0o644); err != nil {
		t.Fatal(err)
	}
	if o, err = store.Open(digest); err != nil {
		t.Fatal(err)
	}
	ref, _ := o.Image("web")
	content, err := ref.Open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, content)
	wantRefused(t, errors.Join(err, content.Close()), "digest")
	if _, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(image); err != nil || !bytes.Equal(got, whole) {
		t.Fatalf("the damaged image was kept: %v", err)
	}
	store.Disk = &plainDisk{failAfter: 1}
	if _, err := store.Unpack(t.Context(), bytes.NewReader(packed), digest); err != nil {
		t.Fatalf("a bundle that is there was written again: %v", err)
	}
}

func TestOpenRefusesChangedFolders(t *testing.T) {
	packed, digest := build(t)
	for name, c := range map[string]struct {
		change func(dir string) error
		id     string
	}{
		"changed file": {func(dir string) error { return os.WriteFile(dir+"/stack/migrations/00001_a.sql", []byte("x"), 0o644) }, "cut"},
		"same size": {func(dir string) error {
			return os.WriteFile(dir+"/stack/translations/words.yaml", []byte("a: c\n"), 0o644)
		}, "digest"},
		"added file":    {func(dir string) error { return os.WriteFile(dir+"/stack/migrations/00003_c.sql", []byte("x"), 0o644) }, "extra"},
		"added link":    {func(dir string) error { return os.Symlink("/etc/passwd", dir+"/stack/link") }, "extra"},
		"missing file":  {func(dir string) error { return os.Remove(dir + "/images.lock") }, "missing"},
		"missing index": {func(dir string) error { return os.Remove(dir + "/INDEX") }, "missing"},
		"missing image": {func(dir string) error { return os.RemoveAll(dir + "/images") }, "missing"},
		"short image":   {func(dir string) error { return os.Truncate(dir+"/images/web/"+MachineArch()+".tar", 5) }, "missing"},
		"changed index": {func(dir string) error {
			return os.WriteFile(dir+"/INDEX", []byte("rochdale bundle, schema 1\n"), 0o644)
		}, "other"},
		"file to a link": {func(dir string) error { return swapForLink(dir + "/stack/compose.yaml") }, "missing"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			o, err := store.Unpack(t.Context(), bytes.NewReader(packed), "")
			if err != nil {
				t.Fatal(err)
			}
			if err := c.change(o.Dir); err != nil {
				t.Fatal(err)
			}
			_, err = store.Open(digest)
			wantRefused(t, err, c.id)
		})
	}
}

func swapForLink(path string) error {
	return errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path))
}

func TestUnpackLeavesNothingBehind(t *testing.T) {
	packed, digest := build(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, unpack := range map[string]func(s Store) error{
		"other digest": func(s Store) error {
			_, err := s.Unpack(t.Context(), bytes.NewReader(packed), "sha256:"+strings.Repeat("0", 64))
			return err
		},
		"full disk": func(s Store) error {
			s.Disk = &plainDisk{failAfter: 3}
			_, err := s.Unpack(t.Context(), bytes.NewReader(packed), digest)
			return err
		},
		"ended": func(s Store) error {
			_, err := s.Unpack(ended, bytes.NewReader(packed), digest)
			return err
		},
	} {
		store := newStore(t)
		if err := unpack(store); err == nil {
			t.Errorf("%s: no error", name)
		}
		if left, err := os.ReadDir(store.Dir); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

func TestImageThatDoesNotTravel(t *testing.T) {
	images := testImages(Architectures()...)
	for i := range images {
		images[i].Open, images[i].From = nil, "docker.io/library/web@"+images[i].ManifestDigest
	}
	var b bytes.Buffer
	if _, err := Build(t.Context(), testStack(), images, &b); err != nil {
		t.Fatal(err)
	}
	o, err := newStore(t).Unpack(t.Context(), &b, "")
	if err != nil {
		t.Fatal(err)
	}
	ref, _ := o.Image("web")
	if ref.Travels() || ref.From != images[0].From {
		t.Fatalf("image %+v", ref)
	}
	_, err = ref.Open()
	wantRefused(t, err, "pull")
}

func wantRefused(t *testing.T, err error, id string) {
	t.Helper()
	var refused *Refused
	if !errors.As(err, &refused) || refused.ID != "stack.bundle."+id {
		t.Fatalf("got %v, want stack.bundle.%s", err, id)
	}
	if text := refused.Error(); strings.Contains(text, "stack.bundle") || strings.Contains(text, "{") {
		t.Fatalf("%s has the text %q", id, text)
	}
}
