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
