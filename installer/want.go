// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

// wanted is a file as a step wants it.
type wanted struct {
	path string
	data []byte
	attr host.Attr
}

const (
	publicFile  fs.FileMode = 0o644
	publicDir   fs.FileMode = 0o755
	privateFile fs.FileMode = 0o600
	privateDir  fs.FileMode = 0o700
)

func public(path string, data []byte) wanted {
	return wanted{path: path, data: data, attr: host.Attr{Mode: publicFile}}
}

// there tells whether every file is already as wanted.
func there(files ...wanted) bool {
	for _, w := range files {
		info, err := os.Lstat(w.path)
		if err != nil || info.Mode() != w.attr.Mode {
			return false
		}
		data, err := os.ReadFile(w.path)
		if err != nil || !bytes.Equal(data, w.data) {
			return false
		}
	}
	return true
}

// put writes the files that are not as wanted, and the folders that they need.
func (d Deps) put(files ...wanted) error {
	for _, w := range files {
		if there(w) {
			continue
		}
		if err := d.Files.MkdirAll(filepath.Dir(w.path), host.Attr{Mode: publicDir}); err != nil {
			return err
		}
		if err := d.Files.Write(w.path, w.data, w.attr); err != nil {
			return err
		}
	}
	return nil
}

// effects tells a person which files a step writes.
func effects(files ...wanted) []step.Effect {
	list := make([]step.Effect, len(files))
	for i, w := range files {
		list[i] = step.Effect{Kind: "writes", What: w.path}
	}
	return list
}

func effect(kind string, names ...string) []step.Effect {
	list := make([]step.Effect, len(names))
	for i, n := range names {
		list[i] = step.Effect{Kind: kind, What: n}
	}
	return list
}
