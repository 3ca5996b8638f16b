// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

import (
	"maps"
	"slices"
	"strings"
)

// ownServers checks the services that run a database of the stack's own. Such a
// service starts before anything else, is migrated when it is healthy, and stays
// with its data while the other services are swapped around it.
func (c check) ownServers(m *Manifest, services []Service) {
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		db := m.Databases[name]
		i := slices.IndexFunc(services, func(s Service) bool { return db.Service != "" && s.Name == db.Service })
		if i < 0 {
			continue
		}
		c.ownServer(services[i])
		c.ownVolumes(m, services, i)
		if m.Web.Service == db.Service {
			c.manifest.on("web.service", "database-web", "value", db.Service)
		}
	}
}

func (c check) ownServer(s Service) {
	path := "services." + s.Name
	if s.Health == nil {
		c.compose.on(path, "database-health")
	}
	if len(s.DependsOn) > 0 {
		c.compose.on(path+".depends_on", "database-waits", "value", strings.Join(s.DependsOn, ", "))
	}
	if !slices.ContainsFunc(s.Mounts, func(m Mount) bool { return !m.ReadOnly }) {
		c.compose.on(path, "database-volume")
	}
}

// ownVolumes keeps the volumes of a database server from everybody else: they
// are not copied with the generations, and nobody may write beside the server.
func (c check) ownVolumes(m *Manifest, services []Service, server int) {
	mine := map[string]bool{}
	for _, mount := range services[server].Mounts {
		mine[mount.Volume] = true
	}
	for i, s := range services {
		for _, mount := range s.Mounts {
			if i != server && mine[mount.Volume] {
				c.compose.on("services."+s.Name+".volumes", "database-volume-shared", "value", mount.Volume, "service", services[server].Name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		if volume := m.Databases[name].Volume; mine[volume] {
			c.manifest.on("databases."+name+".volume", "database-volume-shared", "value", volume, "service", services[server].Name)
		}
	}
}

// generations checks that every generation of the data can be told apart: a
// PostgreSQL holds each as a database of its own, whose name only the box knows.
func (c check) generations(m *Manifest, services []Service) {
	server := c.server(m)
	told := false
	for _, s := range services {
		switch {
		case !usesDatabaseVariable(s):
		case server == "" || s.Name == m.Databases[server].Service:
			c.compose.on("services."+s.Name+".environment", "database-variable", "value", databaseVariable)
		default:
			told = true
		}
	}
	if server != "" && !told && c.compose.lines["services"] > 0 {
		c.manifest.on("databases."+server, "database-unnamed", "value", "${"+databaseVariable+"}")
	}
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		if volume := m.Databases[name].Volume; m.Data[volume].Immutable {
			c.manifest.on("data."+volume, "database-immutable", "value", name)
		}
	}
}

// server is the name of the database that is in a PostgreSQL, "" without one. A
// second one is a problem: containers are told one name.
func (c check) server(m *Manifest) (first string) {
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		switch {
		case m.Databases[name].Engine != Postgres:
		case first == "":
			first = name
		default:
			c.manifest.on("databases."+name, "database-second", "value", first)
		}
	}
	return first
}

// migrating finds the service that a migration of the stack's own runs in: the one
// that is named, or the only one that uses the database.
func (c check) migrating(m *Manifest, services []Service) {
	db, ok := m.Databases[m.Migrations.Database]
	if len(m.Migrations.Command) == 0 || !ok || len(services) == 0 {
		return
	}
	var users []string
	for _, s := range services {
		if changes(s, db) {
			users = append(users, s.Name)
		}
	}
	slices.Sort(users)
	named := m.Migrations.Service
	switch {
	case slices.Contains(users, named):
	case named != "" && slices.Contains(c.compose.services, named):
		c.manifest.on("migrations.service", "command-service", "value", named, "database", m.Migrations.Database, "known", known(users))
	case named != "": // there is no such service, which was said
	case len(users) == 1:
		m.Migrations.Service = users[0]
	case len(users) > 1:
		c.manifest.on("migrations.command", "command-unclear", "value", m.Migrations.Database, "known", known(users))
	case db.Engine == SQLite: // of a server it was said that nobody is told the name
		c.manifest.on("migrations.command", "command-nowhere", "value", m.Migrations.Database)
	}
}

// changes tells whether a service can write to a database.
func changes(s Service, db Database) bool {
	if db.Engine == Postgres {
		return s.Name != db.Service && usesDatabaseVariable(s)
	}
	return slices.ContainsFunc(s.Mounts, func(m Mount) bool { return m.Volume == db.Volume && !m.ReadOnly })
}

func usesDatabaseVariable(s Service) bool {
	for _, template := range s.Env {
		for _, match := range variable().FindAllString(template, -1) {
			if match == "${"+databaseVariable+"}" {
				return true
			}
		}
	}
	return false
}
