// SPDX-License-Identifier: AGPL-3.0-or-later

package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"rochdale/stacks/bundle"
	"rochdale/stacks/bundle/image"
)

// made gives an image of a program in a new folder; what the file is called
// there, who owns it and how old it is must not matter.
func made(t *testing.T, arch string, mode os.FileMode) bundle.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program"+arch)
	content := bytes.Repeat([]byte("program for "+arch+"\n"), 3000)
	if err := errors.Join(os.WriteFile(file, content, mode), os.Chtimes(file, time.Unix(1, 0), time.Unix(int64(mode), 0))); err != nil {
		t.Fatal(err)
	}
	img, err := image.Make(image.Program{Name: "coop", Arch: arch, File: file, User: 65532})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func packed(t *testing.T, img bundle.Image) []byte {
	t.Helper()
	content, err := img.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSameProgramSameImage(t *testing.T) {
	a, b := made(t, "arm64", 0o600), made(t, "arm64", 0o755)
	if a.ConfigDigest != b.ConfigDigest || a.ManifestDigest != b.ManifestDigest || !slices.Equal(a.DiffIDs, b.DiffIDs) {
		t.Errorf("digests differ: %+v and %+v", a, b)
	}
	if !bytes.Equal(packed(t, a), packed(t, b)) || !bytes.Equal(packed(t, a), packed(t, a)) {
		t.Error("archives differ")
	}
	if other := made(t, "amd64", 0o600); other.ConfigDigest == a.ConfigDigest {
		t.Error("another program has the same digest")
	}
}

// TestImageIsWhatItSays reads the archive with the registry library's own reader.
func TestImageIsWhatItSays(t *testing.T) {
	for arch, want := range map[string]v1.Platform{
		"amd64": {OS: "linux", Architecture: "amd64"},
		"arm64": {OS: "linux", Architecture: "arm64", Variant: "v8"},
		"armv7": {OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		t.Run(arch, func(t *testing.T) {
			made := made(t, arch, 0o600)
			data := packed(t, made)
			img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, nil)
			if err != nil {
				t.Fatal(err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			name, err := img.ConfigName()
			if err != nil || name.String() != made.ConfigDigest {
				t.Errorf("config %v, %v; want %s", name, err, made.ConfigDigest)
			}
			if got := config.Platform(); !got.Equals(want) {
				t.Errorf("platform %v, want %v", got, want)
			}
			if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/coop"}) || !config.Created.IsZero() {
				t.Errorf("config %+v, created %v", config.Config, config.Created)
			}
			if len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0].String() != made.DiffIDs[0] {
				t.Errorf("layers %v, want %v", config.RootFS.DiffIDs, made.DiffIDs)
			}
			checkLayer(t, img)
		})
	}
}

func checkLayer(t *testing.T, img v1.Image) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(layers, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	type what struct {
		mode  int64
		owner int
	}
	got := map[string]what{}
	for r := tar.NewReader(io.TeeReader(content, sum)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir || h.ModTime.Unix() != 0 || h.Uid != h.Gid {
			t.Errorf("%+v", h)
		}
		got[h.Name] = what{h.Mode, h.Uid}
	}
	want := map[string]what{
		"coop": {0o755, 0}, "data/": {0o700, 65532}, "tmp/": {0o700, 65532},
		"etc/": {0o755, 0}, "etc/passwd": {0o644, 0}, "etc/group": {0o644, 0},
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is %+v, want %+v", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the layer holds %v", got)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	if id, err := layers[0].DiffID(); err != nil || id.Hex != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("the layer's id is %v, %v, its content is %x", id, err, sum.Sum(nil))
	}
}

func TestMissingProgram(t *testing.T) {
	_, err := image.Make(image.Program{Name: "coop", Arch: "amd64", File: filepath.Join(t.TempDir(), "none"), User: 1})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
