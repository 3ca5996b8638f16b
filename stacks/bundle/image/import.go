// SPDX-License-Identifier: AGPL-3.0-or-later

package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"rochdale/stacks/bundle"
)

// maxLayer is the size of one layer without compression, in bytes.
const maxLayer = 4 << 30

// Foreign is an image of a third party that becomes part of a bundle.
type Foreign struct {
	Name string // that compose.yaml has for it
	Arch string // one of [bundle.Architectures]
	File string // archive as "docker save" writes it, or an OCI layout as one tar file
}

// Import gives the image of an archive as it travels in a bundle. Its layers are
// the same, without compression. Of its config everything stays but VOLUME,
// which would make data outside of the stack's volumes; so its digest is
// another one than that of the archive. The file must stay until the bundle is
// built.
func Import(f Foreign) (bundle.Image, error) {
	img, err := f.read()
	if err != nil {
		return bundle.Image{}, fmt.Errorf("image %s for %s in %s: %w", f.Name, f.Arch, f.File, err)
	}
	return img, nil
}

func (f Foreign) read() (bundle.Image, error) {
	s, err := scan(f.File)
	if err != nil {
		return bundle.Image{}, err
	}
	found, err := s.image(f.Arch)
	if err != nil {
		return bundle.Image{}, err
	}
	config, ids, err := f.config(found.config)
	if err != nil {
		return bundle.Image{}, err
	}
	if len(ids) != len(found.layers) {
		return bundle.Image{}, fmt.Errorf("its config names %d layers and it has %d", len(ids), len(found.layers))
	}
	layers := make([]bundle.Layer, len(ids))
	for i, name := range found.layers {
		if layers[i], err = s.layer(name, ids[i]); err != nil {
			return bundle.Image{}, err
		}
	}
	return bundle.Pack(bundle.Image{Name: f.Name, Arch: f.Arch}, config, layers)
}

// config checks for which machine the image is, takes VOLUME out, and gives the
// ids of the layers.
func (f Foreign) config(text []byte) ([]byte, []string, error) {
	var known struct {
		platform
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	all, inner := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := errors.Join(json.Unmarshal(text, &known), json.Unmarshal(text, &all)); err != nil {
		return nil, nil, fmt.Errorf("read its config: %w", err)
	}
	if !known.fits(f.Arch) {
		return nil, nil, fmt.Errorf("it is for %s", known.platform)
	}
	if len(all["config"]) > 0 {
		if err := json.Unmarshal(all["config"], &inner); err != nil {
			return nil, nil, fmt.Errorf("read its config: %w", err)
		}
	}
	maps.DeleteFunc(inner, func(key string, _ json.RawMessage) bool { return strings.EqualFold(key, "volumes") })
	delete(all, "container_config") // of the machine that built it
	var err error
	if all["config"], err = json.Marshal(inner); err != nil {
		return nil, nil, err
	}
	out, err := json.Marshal(all)
	return out, known.RootFS.DiffIDs, err
}

// platform is a machine that an image is for.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// String is the machine as people write it.
func (p platform) String() string {
	return strings.Join(slices.DeleteFunc([]string{p.OS, p.Architecture, p.Variant}, func(s string) bool { return s == "" }), "/")
}

// fits tells whether machines of this architecture run the image. Older ARM has
// no name of its own here.
func (p platform) fits(arch string) bool {
	architecture, variant := machine(arch)
	return p.OS == "linux" && p.Architecture == architecture && (p.Variant == "" || variant == "" || p.Variant == variant)
}

// layer measures one layer, and compares it with its id.
func (s store) layer(name, id string) (bundle.Layer, error) {
	l := bundle.Layer{DiffID: id, Open: func() (io.ReadCloser, error) { return s.plain(name) }}
	content, err := l.Open()
	if err != nil {
		return l, err
	}
	hash := sha256.New()
	l.Size, err = io.Copy(hash, io.LimitReader(content, maxLayer+1))
	if err := errors.Join(err, content.Close()); err != nil {
		return l, fmt.Errorf("read its layer %s: %w", name, err)
	}
	if l.Size > maxLayer {
		return l, fmt.Errorf("its layer %s is larger than %d bytes", name, int64(maxLayer))
	}
	if "sha256:"+hex.EncodeToString(hash.Sum(nil)) != id {
		return l, fmt.Errorf("its layer %s is not the one that its config names", name)
	}
	return l, nil
}
