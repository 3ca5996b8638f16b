// SPDX-License-Identifier: AGPL-3.0-or-later

// Package image makes container images of the first party: one static program
// on an empty base, the same bytes on every machine. And it takes images of
// third parties from archives.
//
// It imports the bundle room. It must never reach a registry, read the clock,
// or run anything; and it stays out of the box's own program, which only opens
// bundles.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

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
	config, err := p.config(layer)
	if err != nil {
		return bundle.Image{}, fmt.Errorf("make image %s: %w", p.Name, err)
	}
	return bundle.Pack(bundle.Image{Name: p.Name, Arch: p.Arch}, config, []bundle.Layer{{
		DiffID: digest(layer), Size: int64(len(layer)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
	}})
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
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

// config is the image's config, which names its layer.
func (p Program) config(layer []byte) ([]byte, error) {
	architecture, variant := machine(p.Arch)
	id, err := v1.NewHash(digest(layer))
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.ConfigFile{
		OS: "linux", Architecture: architecture, Variant: variant,
		Config: v1.Config{
			Entrypoint: []string{"/" + p.Name},
			User:       strconv.Itoa(p.User) + ":" + strconv.Itoa(p.User),
			WorkingDir: "/",
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{id}},
		History: []v1.History{{CreatedBy: "static program on an empty base"}},
	})
}

// machine is what images call an architecture.
func machine(arch string) (architecture, variant string) {
	switch arch {
	case "armv7":
		return "arm", "v7"
	case "arm64":
		return "arm64", "v8"
	}
	return arch, ""
}
