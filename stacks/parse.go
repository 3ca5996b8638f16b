// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"io/fs"
	"strings"
)

// The two files that make a stack.
const (
	ManifestFile = "stack.yaml"
	ComposeFile  = "compose.yaml"
)

// Parse reads stack.yaml and compose.yaml strictly, checks that they fit each
// other and the files around them, and fills in every default. The error is an
// [*Invalid] with all problems at once.
func Parse(fsys fs.FS) (Stack, error) {
	m := &manifestReader{document: document{file: ManifestFile, lines: map[string]int{}}}
	manifest := m.read(fsys)
	c := &composeReader{document: document{file: ComposeFile, lines: map[string]int{}}}
	services := c.read(fsys)
	check{manifest: m, compose: c, fsys: fsys}.all(&manifest, services)
	problems := append(m.problems, c.problems...)
	var settings []Setting
	if info, err := fs.Stat(fsys, manifest.Settings); manifest.Settings != "" && err == nil && info.Mode().IsRegular() {
		var more []Problem
		settings, more = readSettings(fsys, manifest.Settings)
		problems = append(problems, more...)
	}
	if err := invalid(problems); err != nil {
		return Stack{}, err
	}
	return Stack{Manifest: manifest, Services: finish(services, manifest), Settings: settings}, nil
}

// ParseManifest reads stack.yaml alone, for lists of stacks; what it says about
// other files is not checked.
func ParseManifest(data []byte) (Manifest, error) {
	m := &manifestReader{document: document{file: ManifestFile, lines: map[string]int{}}}
	manifest := m.decode(m.parse(data))
	return manifest, invalid(m.problems)
}

// finish adds what only both files together tell.
func finish(services []Service, m Manifest) []Service {
	for _, db := range m.Databases {
		for i := range services {
			if db.Engine == Postgres && services[i].Name == db.Service {
				services[i].Shared = true
			}
		}
	}
	return services
}

// known lists names for a message.
func known(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ", ")
}
