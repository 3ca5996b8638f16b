// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"rochdale/appliance"
	"rochdale/stacks"
)

// work begins an order for one kind of work on the data of a stack.
func work(verb string, at appliance.DataPlace) order {
	return order{
		stack: at.Stack, unit: DataUnit(verb, at.Stack), about: "Rochdale works on the data of a stack (" + verb + ")",
		limit: runtimeLimit, request: request{Verb: verb, User: at.User},
	}
}

// writesBeside tells for which work SQLite opens the databases that are read: it
// needs to write the index of its log beside them.
func writesBeside(verb string) bool { return verb != verbFiles && verb != verbSize }

// from lets the child read a place. beside is whether SQLite may write next to
// its databases.
func (o *order) from(at appliance.DataPlace, beside bool) (err error) {
	if o.request.From, err = o.place(at, inFrom); err != nil {
		return err
	}
	lite := liteVolumes(at)
	for _, volume := range o.request.From.Volumes {
		o.binds = append(o.binds, bind{at.Volumes[volume], inFrom + "/" + volume, beside && lite[volume]})
		if beside && lite[volume] && o.temp == "" {
			o.temp = inFrom + "/" + volume
		}
	}
	return nil
}

// to lets the child write a place.
func (o *order) to(at appliance.DataPlace) (err error) {
	if o.request.To, err = o.place(at, inTo); err != nil {
		return err
	}
	for _, volume := range o.request.To.Volumes {
		o.binds = append(o.binds, bind{at.Volumes[volume], inTo + "/" + volume, true})
		if liteVolumes(at)[volume] {
			o.temp = inTo + "/" + volume // and not where the data comes from
		}
	}
	return nil
}

// withoutServers leaves databases in a server alone, and cuts the way to it.
func (o *order) withoutServers() {
	o.addresses = nil
	for _, p := range []place{o.request.From, o.request.To} {
		maps.DeleteFunc(p.Databases, func(_ string, d database) bool { return d.Engine == stacks.Postgres })
	}
}

// liteVolumes are the volumes that have an SQLite database in them.
func liteVolumes(at appliance.DataPlace) map[string]bool {
	some := map[string]bool{}
	for _, db := range at.Databases {
		if db.Engine == stacks.SQLite {
			some[db.Volume] = true
		}
	}
	return some
}

var (
	volumeForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	roleForm   = regexp.MustCompile(`^[a-z][a-z0-9_]{0,30}$`)
)

// place is the data as the child sees it below root, with the way to its server.
func (o *order) place(at appliance.DataPlace, root string) (place, error) {
	p := place{Root: root, Volumes: slices.Sorted(maps.Keys(at.Volumes)), Databases: map[string]database{}}
	for _, volume := range p.Volumes {
		if !volumeForm.MatchString(volume) {
			return p, fmt.Errorf("data of stack %s: %q is not a volume's name", at.Stack, volume)
		}
	}
	for name, db := range at.Databases {
		d, err := o.database(at, db, root)
		if err != nil || !volumeForm.MatchString(name) {
			return p, fmt.Errorf("data of stack %s: database %q: %w", at.Stack, name, err)
		}
		p.Databases[name] = d
	}
	return p, nil
}

func (o *order) database(at appliance.DataPlace, db stacks.Database, root string) (d database, err error) {
	switch db.Engine {
	case stacks.SQLite:
		if _, ok := at.Volumes[db.Volume]; !ok || !filepath.IsLocal(db.Path) {
			return d, fmt.Errorf("%q is in no volume", db.Path)
		}
		return database{Engine: db.Engine, File: strings.Join([]string{root, db.Volume, filepath.Clean(db.Path)}, "/")}, nil
	case stacks.Postgres:
		if !roleForm.MatchString(db.Name) || at.Generation <= 0 {
			return d, fmt.Errorf("%q of generation %d is not a database", db.Name, at.Generation)
		}
		password, err := secret(at.PasswordFile)
		if err != nil {
			return d, err
		}
		if !slices.Contains(o.addresses, at.Address) {
			o.addresses = append(o.addresses, at.Address)
		}
		return inServer(db, at.Generation, at.Address, password), nil
	}
	return d, fmt.Errorf("unknown database engine %q", db.Engine)
}
