// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"context"
	"embed"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// blob holds the first-party bundles; make fills it before it builds programs.
//
//go:embed all:blob
var blob embed.FS

// suffix of a bundle's file name.
const suffix = ".bundle"

// Entry is one stack that this program brings along.
type Entry struct {
	Name    string
	Title   map[string]string // by language
	Version string
	Digest  string // "sha256:…"
}

// Catalog lists the stacks that this program brings along, by name. A program
// that was built without bundles has none.
func Catalog(ctx context.Context) ([]Entry, error) { return catalogOf(ctx, blob) }

func catalogOf(ctx context.Context, files fs.FS) ([]Entry, error) {
	names, err := namesIn(files)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		e, err := describe(ctx, files, name)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Embedded gives the bundle of a stack that this program brings along. The error
// is a [*Refused]; [ErrBuiltWithout] is in it when the program has no bundles.
func Embedded(name string) (io.ReadCloser, error) { return embeddedIn(blob, name) }

func embeddedIn(files fs.FS, name string) (io.ReadCloser, error) {
	names, err := namesIn(files)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, refuse("built-without", ErrBuiltWithout, "name", name)
	}
	if !slices.Contains(names, name) {
		return nil, refuse("unknown", nil, "name", name, "known", strings.Join(names, ", "))
	}
	return files.Open("blob/" + name + suffix)
}

func namesIn(files fs.FS) (names []string, err error) {
	entries, err := fs.ReadDir(files, "blob")
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// describe reads a bundle that this program brings along.
func describe(ctx context.Context, files fs.FS, name string) (e Entry, err error) {
	file, err := embeddedIn(files, name)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	stack, digest, err := Describe(ctx, file)
	m := stack.Manifest
	return Entry{Name: m.Name, Title: m.Title, Version: m.Version, Digest: digest}, err
}
