// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// check compares stack.yaml with compose.yaml and with the files around them.
// A value that is empty here was reported when it was read.
type check struct {
	manifest *manifestReader
	compose  *composeReader
	fsys     fs.FS
}

func (c check) all(m *Manifest, services []Service) {
	if c.compose.lines["services"] > 0 {
		c.service("web.service", m.Web.Service)
		c.service("migrations.service", m.Migrations.Service)
		c.volumesAndServices(m)
	}
	c.ownServers(m, services)
	c.generations(m, services)
	c.databases(m)
	c.migrating(m, services)
	c.files(m)
}

func (c check) service(path, name string) {
	if name != "" && !slices.Contains(c.compose.services, name) {
		c.manifest.on(path, "no-service", "value", name, "known", known(c.compose.services))
	}
}

func (c check) volume(path, name string) {
	if name != "" && !slices.Contains(c.compose.volumes, name) {
		c.manifest.on(path, "no-volume", "value", name, "known", known(c.compose.volumes))
	}
}

func (c check) volumesAndServices(m *Manifest) {
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		c.service("databases."+name+".service", m.Databases[name].Service)
		c.volume("databases."+name+".volume", m.Databases[name].Volume)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Data)) {
		c.volume("data."+name, name)
	}
}

func (c check) databases(m *Manifest) {
	names := slices.Sorted(maps.Keys(m.Databases))
	refer := func(path, name string) {
		if name != "" && !slices.Contains(names, name) {
			c.manifest.on(path, "no-database", "value", name, "known", known(names))
		}
	}
	refer("migrations.database", m.Migrations.Database)
	for _, name := range slices.Sorted(maps.Keys(m.Facts)) {
		refer("facts."+name+".database", m.Facts[name].Database)
	}
}

func (c check) files(m *Manifest) {
	if m.Settings != "" {
		info, err := fs.Stat(c.fsys, m.Settings)
		if err != nil || !info.Mode().IsRegular() {
			c.manifest.on("settings", "no-file", "value", m.Settings)
		}
	}
	if m.Migrations.Dir == "" {
		return
	}
	entries, err := fs.ReadDir(c.fsys, m.Migrations.Dir)
	hasSQL := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".sql") })
	if err != nil || !hasSQL {
		c.manifest.on("migrations.dir", "no-folder", "value", m.Migrations.Dir)
	}
	c.migrations(m.Migrations.Dir, entries)
}
