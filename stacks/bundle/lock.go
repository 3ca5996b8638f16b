// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"rochdale/stacks"
)

// lock is images.lock: which image, exactly, each name means.
type lock struct {
	Schema int      `json:"schema"`
	Images []locked `json:"images"`
}

// locked is one image for one architecture.
type locked struct {
	Name string `json:"name"`
	Arch string `json:"arch"`
	// From is where a third-party image is pulled from, by digest, when it does
	// not travel in the bundle; empty for images that are made with the bundle.
	From     string   `json:"from,omitempty"`
	Manifest string   `json:"manifest"`
	Config   string   `json:"config"`
	Layers   []string `json:"layers"` // diff ids, the lowest first
}

func (l locked) path() string { return imagesDir + l.Name + "/" + l.Arch + ".tar" }

func byNameAndArch(a, b locked) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch))
}

// MachineArch is the architecture of images that run on this machine.
func MachineArch() string { return archOf(runtime.GOARCH) }

func archOf(goarch string) string {
	if goarch == "arm" {
		return "armv7"
	}
	return goarch
}

// Architectures are those that Rochdale runs on.
func Architectures() []string { return []string{"amd64", "arm64", "armv7"} }

func (l lock) text() ([]byte, error) {
	text, err := json.MarshalIndent(l, "", "  ")
	return append(text, '\n'), err
}

// parseLock reads images.lock strictly.
func parseLock(text []byte) (lock, error) {
	var l lock
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&l)
	if l.Schema > schema {
		return l, refuse("schema", nil, "schema", strconv.Itoa(l.Schema))
	}
	if err == nil {
		_, after := decoder.Token()
		if !errors.Is(after, io.EOF) {
			err = errors.New("text after the end")
		}
	}
	if err != nil {
		return l, refuse("format", err, "reason", lockName)
	}
	return l, l.valid()
}

func (l lock) valid() error {
	digest := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	bad := func(what string) error { return refuse("format", nil, "reason", lockName+": "+what) }
	for i, image := range l.Images {
		if !stacks.IsImageName(image.Name) || !slices.Contains(Architectures(), image.Arch) {
			return bad("the name or the architecture of an image")
		}
		if i > 0 && byNameAndArch(l.Images[i-1], image) >= 0 {
			return bad("the order of the images")
		}
		for _, d := range append([]string{image.Manifest, image.Config}, image.Layers...) {
			if !digest.MatchString(d) {
				return bad("a digest of the image " + image.Name)
			}
		}
		if len(image.Layers) == 0 || len(image.Layers) > 200 {
			return bad("the layers of the image " + image.Name)
		}
		if image.From != "" && !regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]{0,200}@sha256:[0-9a-f]{64}$`).MatchString(image.From) {
			return bad("where the image " + image.Name + " comes from")
		}
	}
	return nil
}

// arches are the architectures that an image is listed for, in order.
func (l lock) arches(name string) []string {
	var arches []string
	for _, image := range l.Images {
		if image.Name == name {
			arches = append(arches, image.Arch)
		}
	}
	return arches
}

// covers checks that the services use exactly the images of the lock, and that
// every image is there for the same architectures.
func (l lock) covers(s stacks.Stack) error {
	var arches []string
	used := map[string]bool{}
	for i, service := range s.Services {
		used[service.Image] = true
		mine := l.arches(service.Image)
		if i == 0 {
			arches = mine
		}
		if len(mine) == 0 || !slices.Equal(mine, arches) {
			return refuse("image", nil, "image", service.Image)
		}
	}
	for _, image := range l.Images {
		if !used[image.Name] {
			return refuse("image", nil, "image", image.Name)
		}
	}
	return nil
}

// find gives the image whose archive has this path.
func (l lock) find(path string) (locked, bool) {
	i := slices.IndexFunc(l.Images, func(image locked) bool { return image.path() == path })
	if i < 0 {
		return locked{}, false
	}
	return l.Images[i], true
}

// names checks that the index has no archive of an image that is not locked.
func (l lock) names(x index) error {
	for _, e := range x {
		if _, ok := l.find(e.path); e.image() && !ok {
			return refuse("extra", nil, "path", e.path)
		}
	}
	return nil
}
