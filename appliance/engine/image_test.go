// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"rochdale/appliance"
)

// testImage makes an image of this test binary; mark makes it another one.
func testImage(t *testing.T, imageName, mark string, changes ...func(*v1.Config)) appliance.Image {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return makeImage(t, imageName, map[string][]byte{"service": program, "mark": []byte(mark)}, changes...)
}

func makeImage(t *testing.T, imageName string, files map[string][]byte, changes ...func(*v1.Config)) appliance.Image {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for path, data := range files {
		must(t, w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(data))}))
		_, err := w.Write(data)
		must(t, err)
	}
	must(t, w.Close())
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	must(t, err)
	img, err := mutate.AppendLayers(empty.Image, l)
	must(t, err)
	conf, err := img.ConfigFile()
	must(t, err)
	conf.OS, conf.Architecture = "linux", runtime.GOARCH
	conf.Config.Entrypoint = []string{"/service", "as-service"}
	for _, change := range changes {
		change(&conf.Config)
	}
	img, err = mutate.ConfigFile(img, conf)
	must(t, err)
	tag, err := name.NewTag("rochdale.test/" + imageName + ":1")
	must(t, err)
	var archive bytes.Buffer
	must(t, tarball.Write(tag, img, &archive))
	digest, err := img.ConfigName()
	must(t, err)
	manifest, err := img.Digest()
	must(t, err)
	out := appliance.Image{
		Name: imageName, ConfigDigest: digest.String(), ManifestDigest: manifest.String(),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
	}
	for _, id := range conf.RootFS.DiffIDs {
		out.DiffIDs = append(out.DiffIDs, id.String())
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
