// SPDX-License-Identifier: AGPL-3.0-or-later

// Package image makes container images of the first party: one static program
// on an empty base, the same bytes on every machine.
//
// It imports the bundle room. It must never reach a registry, read the clock,
// or run anything; and it stays out of the box's own program, which only opens
// bundles.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"rochdale/stacks/bundle"
)

// Program is a static program that becomes an image.
type Program struct {
	Name string // of the image, of the program in it, and of its user
	Arch string // one of [bundle.Architectures]
	File string // on this machine
	User int    // uid and gid that it runs as
}

// Make gives the image of a program. The program is /NAME; /data and /tmp
// belong to its user; there is no shell and nothing else.
func Make(p Program) (bundle.Image, error) {
	binary, err := os.ReadFile(p.File)
	if err != nil {
		return bundle.Image{}, fmt.Errorf("read the program of image %s: %w", p.Name, err)
	}
	layer, err := p.layer(binary)
	if err != nil {
		return bundle.Image{}, fmt.Errorf("pack image %s: %w", p.Name, err)
	}
	img, err := p.image(layer)
	if err != nil {
		return bundle.Image{}, fmt.Errorf("make image %s: %w", p.Name, err)
	}
	return p.describe(img)
}

// layer is the one layer. It is not compressed: the bundle is, as a whole, and
// the bytes of an old compressor cannot become part of an image's identity.
func (p Program) layer(binary []byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	passwd := fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\n%s:x:%d:%d:%s:/data:/sbin/nologin\n", p.Name, p.User, p.User, p.Name)
	group := fmt.Sprintf("root:x:0:\n%s:x:%d:\n", p.Name, p.User)
	for _, f := range []struct {
		name    string
		mode    int64
		owner   int
		content []byte
	}{
		{"data/", 0o700, p.User, nil},
		{"etc/", 0o755, 0, nil},
		{"etc/group", 0o644, 0, []byte(group)},
		{"etc/passwd", 0o644, 0, []byte(passwd)},
		{"tmp/", 0o700, p.User, nil},
		{p.Name, 0o755, 0, binary},
	} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func (p Program) image(layer []byte) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.DockerManifestSchema2)
	img = mutate.ConfigMediaType(img, types.DockerConfigJSON)
	img, err := mutate.AppendLayers(img, static.NewLayer(layer, types.DockerUncompressedLayer))
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS = "linux"
	config.Architecture, config.Variant = platform(p.Arch)
	config.Config.Entrypoint = []string{"/" + p.Name}
	config.Config.User = strconv.Itoa(p.User) + ":" + strconv.Itoa(p.User)
	config.Config.WorkingDir = "/"
	config.History = []v1.History{{CreatedBy: "static program on an empty base"}}
	return mutate.ConfigFile(img, config)
}

func platform(arch string) (architecture, variant string) {
	switch arch {
	case "armv7":
		return "arm", "v7"
	case "arm64":
		return "arm64", "v8"
	}
	return arch, ""
}

func (p Program) describe(img v1.Image) (bundle.Image, error) {
	manifest, err := img.Digest()
	if err != nil {
		return bundle.Image{}, err
	}
	config, err := img.ConfigName()
	if err != nil {
		return bundle.Image{}, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return bundle.Image{}, err
	}
	out := bundle.Image{
		Name: p.Name, Arch: p.Arch, ManifestDigest: manifest.String(), ConfigDigest: config.String(),
		Open: func() (io.ReadCloser, error) { return p.pack(img, config) },
	}
	for _, d := range file.RootFS.DiffIDs {
		out.DiffIDs = append(out.DiffIDs, d.String())
	}
	return out, nil
}

// pack writes the image for "docker load", under a name that says which it is.
func (p Program) pack(img v1.Image, config v1.Hash) (io.ReadCloser, error) {
	tag, err := name.NewTag("rochdale/"+p.Name+":"+config.Hex[:12], name.WithDefaultRegistry(""))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		return nil, err
	}
	return io.NopCloser(&b), nil
}
