// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// An image travels as an archive that both of Docker's stores read, each in its
// own way, and number by a digest of images.lock: the one that keeps contents
// takes index.json and calls the image by its manifest, the older one takes
// manifest.json and calls it by its config. Neither file gives the image a name,
// so that no bundle can take one away. All files but the config and the layers
// follow from those, byte for byte.
const (
	layoutName  = "oci-layout"
	layoutText  = `{"imageLayoutVersion":"1.0.0"}`
	ociIndex    = "index.json"
	dockerIndex = "manifest.json"
	blobsDir    = "blobs/sha256/"
)

// blobInfo is what a manifest says of one of its parts.
type blobInfo struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func (b blobInfo) path() string { return blobPath(b.Digest) }

func blobPath(digest string) string { return blobsDir + strings.TrimPrefix(digest, "sha256:") }

// layout is an image as its manifest describes it.
type layout struct {
	SchemaVersion int        `json:"schemaVersion"`
	MediaType     string     `json:"mediaType"`
	Config        blobInfo   `json:"config"`
	Layers        []blobInfo `json:"layers"`
}

// newLayout wants the layers as pairs of diff id and size.
func newLayout(config blobInfo, layers []blobInfo) layout {
	config.MediaType = "application/vnd.oci.image.config.v1+json"
	l := layout{SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", Config: config, Layers: slices.Clone(layers)}
	for i := range l.Layers {
		l.Layers[i].MediaType = "application/vnd.oci.image.layer.v1.tar"
	}
	return l
}

// smallFile is a file of an image's archive that follows from the layout.
type smallFile struct {
	name string
	text []byte
}

// files are those that stand before the config and the layers, in order.
func (l layout) files() ([]smallFile, error) {
	manifest, err := json.Marshal(l)
	about := blobInfo{l.MediaType, digestOf(manifest), int64(len(manifest))}
	index, err2 := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []blobInfo{about},
	})
	paths := make([]string, len(l.Layers))
	for i, b := range l.Layers {
		paths[i] = b.path()
	}
	docker, err3 := json.Marshal([]map[string]any{{"Config": l.Config.path(), "RepoTags": nil, "Layers": paths}})
	return []smallFile{
		{layoutName, []byte(layoutText)}, {ociIndex, index}, {dockerIndex, docker}, {about.path(), manifest},
	}, errors.Join(err, err2, err3)
}

// once are the layers without those that stand there a second time.
func (l layout) once() []blobInfo {
	var list []blobInfo
	for _, b := range l.Layers {
		if !slices.Contains(list, b) {
			list = append(list, b)
		}
	}
	return list
}

// Layer is one layer of an image: a tar archive without compression.
type Layer struct {
	DiffID string // "sha256:…"
	Size   int64  // bytes
	Open   func() (io.ReadCloser, error)
}

// Pack completes an image, of which name, architecture and origin are known, from
// its config and its layers, the lowest first.
func Pack(i Image, config []byte, layers []Layer) (Image, error) {
	infos := make([]blobInfo, len(layers))
	byDigest := map[string]Layer{}
	i.DiffIDs = nil
	for n, l := range layers {
		infos[n] = blobInfo{Digest: l.DiffID, Size: l.Size}
		byDigest[l.DiffID] = l
		i.DiffIDs = append(i.DiffIDs, l.DiffID)
	}
	l := newLayout(blobInfo{Digest: digestOf(config), Size: int64(len(config))}, infos)
	files, err := l.files()
	if err != nil {
		return i, err
	}
	i.ConfigDigest, i.ManifestDigest = l.Config.Digest, digestOf(files[len(files)-1].text)
	files = append(files, smallFile{l.Config.path(), config})
	i.Open = func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeLayout(w, files, l.once(), byDigest)) }()
		return r, nil
	}
	return i, nil
}

func writeLayout(w io.Writer, files []smallFile, infos []blobInfo, layers map[string]Layer) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		if err := addTo(out, f.name, int64(len(f.text)), bytes.NewReader(f.text)); err != nil {
			return err
		}
	}
	for _, b := range infos {
		content, err := layers[b.Digest].Open()
		if err != nil {
			return err
		}
		if err := errors.Join(addTo(out, b.path(), b.Size, content), content.Close()); err != nil {
			return err
		}
	}
	return out.Close()
}

func addTo(out *tar.Writer, name string, size int64, content io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}
