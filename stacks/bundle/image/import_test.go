// SPDX-License-Identifier: AGPL-3.0-or-later

package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"rochdale/stacks/bundle"
	"rochdale/stacks/bundle/image"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// foreign is an image as a third party makes it: compressed layers, a VOLUME.
func foreign(t *testing.T, architecture string) v1.Image {
	t.Helper()
	img := empty.Image
	for _, file := range []string{"server", "tools"} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		content := strings.Repeat(file+" for "+architecture+"\n", 500)
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Size: int64(len(content)), Mode: 0o755}))
		_, err := io.WriteString(w, content)
		must(t, err)
		must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: file + "-again", Linkname: file}))
		must(t, w.Close())
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		must(t, err)
		img, err = mutate.AppendLayers(img, layer)
		must(t, err)
	}
	config, err := img.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{Entrypoint: []string{"/server"}, Env: []string{"PGDATA=/rows"}, Volumes: map[string]struct{}{"/rows": {}}}
	img, err = mutate.ConfigFile(img, config)
	must(t, err)
	return img
}

// docker writes an archive as "docker save" does.
func docker(t *testing.T, images ...v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "docker.tar")
	refs := map[name.Reference]v1.Image{}
	for i, img := range images {
		tag, err := name.NewTag("example.org/db:" + string(rune('a'+i)))
		must(t, err)
		refs[tag] = img
	}
	must(t, tarball.MultiRefWriteToFile(file, refs))
	return file
}

// oci writes a layout with one image for each architecture as one tar file.
func oci(t *testing.T, architectures ...string) string {
	t.Helper()
	index := v1.ImageIndex(empty.Index)
	for _, a := range architectures {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: foreign(t, a), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}},
		})
	}
	outer := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	dir := t.TempDir()
	_, err := layout.Write(dir, outer)
	must(t, err)
	file := filepath.Join(t.TempDir(), "oci.tar")
	out, err := os.Create(file)
	must(t, err)
	w := tar.NewWriter(out)
	must(t, w.AddFS(os.DirFS(dir)))
	must(t, errors.Join(w.Close(), out.Close()))
	return file
}

const dbManifest = `schema: 1
name: small
version: 1.2.3
title: {en: Small}
web: {service: web, port: 8080, health: /healthz}
user: 2000
needs: {memory: 64M, disk: 10M}
`

const dbCompose = `services:
  web:
    image: db
`

func TestImport(t *testing.T) {
	for name, file := range map[string]string{
		"docker": docker(t, foreign(t, "amd64")), "oci": oci(t, "amd64"), "oci of several machines": oci(t, "arm64", "amd64", "s390x"),
	} {
		t.Run(name, func(t *testing.T) {
			img, err := image.Import(image.Foreign{Name: "db", Arch: "amd64", File: file})
			must(t, err)
			if !bytes.Equal(packed(t, img), packed(t, img)) {
				t.Error("the archive is another one each time")
			}
			data := packed(t, img)
			read, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, nil)
			must(t, err)
			config, err := read.ConfigFile()
			must(t, err)
			want, err := foreign(t, "amd64").ConfigFile()
			must(t, err)
			if len(config.Config.Volumes) != 0 || config.Config.Entrypoint[0] != "/server" || config.Config.Env[0] != "PGDATA=/rows" {
				t.Errorf("config %+v", config.Config)
			}
			if len(config.RootFS.DiffIDs) != 2 || config.RootFS.DiffIDs[1] != want.RootFS.DiffIDs[1] {
				t.Errorf("layers %v, want %v", config.RootFS.DiffIDs, want.RootFS.DiffIDs)
			}
			stack := fstest.MapFS{"stack.yaml": {Data: []byte(dbManifest)}, "compose.yaml": {Data: []byte(dbCompose)}}
			_, err = bundle.Build(t.Context(), stack, []bundle.Image{img}, io.Discard)
			must(t, err)
		})
	}
}

// TestImportKeepsWhatItDoesNotKnow: a config may have keys that this program
// never heard of.
func TestImportKeepsWhatItDoesNotKnow(t *testing.T) {
	file := docker(t, foreign(t, "arm64"))
	changed := rewrite(t, file, func(name string, data []byte) []byte {
		if !strings.HasPrefix(name, "sha256:") {
			return data
		}
		return bytes.Replace(data, []byte(`"os":"linux"`), []byte(`"os":"linux","later":{"a":1},"container_config":{"Volumes":{"/x":{}}}`), 1)
	})
	img, err := image.Import(image.Foreign{Name: "db", Arch: "arm64", File: changed})
	must(t, err)
	data := string(packed(t, img))
	if !strings.Contains(data, `"later":{"a":1}`) || strings.Contains(data, "Volumes") {
		t.Error("the config lost what it should keep, or kept what it should lose")
	}
}

func rewrite(t *testing.T, file string, change func(string, []byte) []byte) string {
	t.Helper()
	in, err := os.Open(file)
	must(t, err)
	defer in.Close()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		data, err := io.ReadAll(r)
		must(t, err)
		data = change(h.Name, data)
		h.Size = int64(len(data))
		must(t, w.WriteHeader(h))
		_, err = w.Write(data)
		must(t, err)
	}
	must(t, w.Close())
	out := filepath.Join(t.TempDir(), "changed.tar")
	must(t, os.WriteFile(out, b.Bytes(), 0o600))
	return out
}

func TestImportRefuses(t *testing.T) {
	good := docker(t, foreign(t, "amd64"))
	whole, err := os.ReadFile(good)
	must(t, err)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err = z.Write(whole)
	must(t, errors.Join(err, z.Close()))
	compressed := filepath.Join(t.TempDir(), "docker.tar.gz")
	must(t, os.WriteFile(compressed, zipped.Bytes(), 0o600))
	other, err := foreign(t, "arm64").Layers()
	must(t, err)
	raw, err := other[0].Compressed()
	must(t, err)
	layer, err := io.ReadAll(raw)
	must(t, err)
	swapped := rewrite(t, good, func(name string, data []byte) []byte {
		if strings.HasSuffix(name, ".tar.gz") {
			return layer
		}
		return data
	})
	short := rewrite(t, good, func(name string, data []byte) []byte {
		var list []map[string]any
		if name != "manifest.json" || json.Unmarshal(data, &list) != nil {
			return data
		}
		list[0]["Layers"] = list[0]["Layers"].([]any)[:1]
		data, err := json.Marshal(list)
		must(t, err)
		return data
	})
	damaged := rewrite(t, oci(t, "amd64"), func(name string, data []byte) []byte {
		return bytes.Replace(data, []byte("/server"), []byte("/SERVER"), 1)
	})
	for name, c := range map[string]struct{ file, arch, says string }{
		"another machine":     {good, "arm64", "linux/amd64"},
		"none for it":         {oci(t, "arm64", "s390x"), "amd64", "0 images for amd64"},
		"two images":          {docker(t, foreign(t, "amd64"), foreign(t, "arm64")), "amd64", "2 images"},
		"no file":             {filepath.Join(t.TempDir(), "none"), "amd64", "no such file"},
		"compressed":          {compressed, "amd64", "without compression"},
		"another layer":       {swapped, "amd64", "not the one that its config names"},
		"a layer is missing":  {short, "amd64", "names 2 layers and it has 1"},
		"a damaged config":    {damaged, "amd64", "not what its name says"},
		"no image in the tar": {rewrite(t, good, func(string, []byte) []byte { return nil }), "amd64", "manifest.json"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := image.Import(image.Foreign{Name: "db", Arch: c.arch, File: c.file})
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "image db for "+c.arch) {
				t.Errorf("got %v, want %q in it", err, c.says)
			}
		})
	}
}
