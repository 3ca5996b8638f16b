// SPDX-License-Identifier: AGPL-3.0-or-later

package engine_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"rochdale/appliance"
	"rochdale/stacks/bundle"
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
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(files[path]))}))
		_, err := w.Write(files[path])
		must(t, err)
	}
	must(t, w.Close())
	layer := bundle.Layer{
		DiffID: idOf(content.Bytes()), Size: int64(content.Len()),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
	}
	id, err := v1.NewHash(layer.DiffID)
	must(t, err)
	conf := v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{id}}}
	conf.Config.Entrypoint = []string{"/service", "as-service"}
	for _, change := range changes {
		change(&conf.Config)
	}
	text, err := json.Marshal(conf)
	must(t, err)
	made, err := bundle.Pack(bundle.Image{Name: imageName, Arch: bundle.MachineArch()}, text, []bundle.Layer{layer})
	must(t, err)
	return appliance.Image{
		Name: imageName, ConfigDigest: made.ConfigDigest, ManifestDigest: made.ManifestDigest, DiffIDs: made.DiffIDs, Open: made.Open,
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
