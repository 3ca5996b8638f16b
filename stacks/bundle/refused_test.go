// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"io"
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestBuildRefuses(t *testing.T) {
	images := testImages(Architectures()...)
	for name, c := range map[string]struct {
		change func(fstest.MapFS)
		images []Image
		id     string
	}{
		"hidden file":      {func(m fstest.MapFS) { m[".git/config"] = &fstest.MapFile{} }, images, "name"},
		"link":             {func(m fstest.MapFS) { m["link"] = &fstest.MapFile{Mode: fs.ModeSymlink} }, images, "name"},
		"blank in a name":  {func(m fstest.MapFS) { m["a b"] = &fstest.MapFile{} }, images, "name"},
		"large file":       {func(m fstest.MapFS) { m["big"] = &fstest.MapFile{Data: make([]byte, maxFile+1)} }, images, "size"},
		"no image":         {func(fstest.MapFS) {}, nil, "image"},
		"image not used":   {func(fstest.MapFS) {}, append([]Image{{Name: "more", Arch: "amd64", ManifestDigest: images[0].ConfigDigest, ConfigDigest: images[0].ConfigDigest, DiffIDs: images[0].DiffIDs}}, images...), "image"},
		"image twice":      {func(fstest.MapFS) {}, append(testImages("amd64"), images...), "format"},
		"no such machine":  {func(fstest.MapFS) {}, testImages("mips"), "format"},
		"not this machine": {func(fstest.MapFS) {}, testImages("amd64", "arm64")[:0], "image"},
	} {
		t.Run(name, func(t *testing.T) {
			m := testStack()
			c.change(m)
			_, err := Build(t.Context(), m, c.images, io.Discard)
			wantRefused(t, err, c.id)
		})
	}
}
