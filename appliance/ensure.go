// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"path/filepath"

	"rochdale/stacks"
)

// ensure has one container of each wanted service running and healthy, in the
// order in which they start. What runs already is left as it is.
func (d *Daemon) ensure(ctx context.Context, c *crew, wanted func(stacks.Service) bool) error {
	for _, s := range c.services() {
		if !wanted(s) {
			continue
		}
		all, err := d.Engine.List(ctx, c.release.Stack)
		if err != nil {
			return err
		}
		x, running := c.best(all, s.Name)
		switch {
		case running && x.Health == "healthy":
		case running:
			err = d.Engine.WaitHealthy(ctx, x.ID)
		default:
			err = d.begin(ctx, c, s, reuse(c.of(all, s.Name)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// everything wants all services, isShared those that serve all generations.
func everything(stacks.Service) bool { return true }

func isShared(s stacks.Service) bool { return s.Shared }

// reuse gives the name of the last container, which ended, or a new one: a
// container that is started again keeps its log.
func reuse(ended []Container) string {
	if len(ended) > 0 {
		return suffixOf(ended[0])
	}
	return NewSuffix()
}

// begin starts one container and waits until it is healthy.
func (d *Daemon) begin(ctx context.Context, c *crew, s stacks.Service, suffix string) error {
	spec, err := c.spec(s, suffix)
	if err != nil {
		return err
	}
	if err := d.alone(ctx, c, s); err != nil {
		return err
	}
	x, err := d.Engine.Start(ctx, spec)
	if err != nil {
		return err
	}
	return d.Engine.WaitHealthy(ctx, x.ID)
}

// alone ends what other releases left of shared services, whatever they call them: two
// servers on one folder would destroy the data, and the locks that they take do not
// reach from one container into another.
func (d *Daemon) alone(ctx context.Context, c *crew, s stacks.Service) error {
	if !s.Shared {
		return nil
	}
	all, err := d.Engine.List(ctx, c.release.Stack)
	if err != nil {
		return err
	}
	for _, x := range all {
		if (x.Service == s.Name || x.Generation == 0) && !c.belongs(x) {
			if err := d.retire(ctx, c, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// volumes are the names of all volumes of the release.
func (c *crew) volumes() map[string]bool {
	names := map[string]bool{}
	for _, s := range c.services() {
		for _, m := range s.Mounts {
			names[m.Volume] = true
		}
	}
	for _, db := range c.bundle.Stack.Manifest.Databases {
		if db.Volume != "" {
			names[db.Volume] = true
		}
	}
	return names
}

// migrated is the database that our migrator works on: the one that migrations of
// ours are of, or else the one in its server, which only has to be there.
func (c *crew) migrated() (name string, ok bool) {
	if m := c.bundle.Stack.Manifest.Migrations; m.Dir != "" {
		return m.Database, true
	}
	name, _, ok = c.server()
	return name, ok
}

// migration is what the migrator is asked for; ok is false for a stack that has
// no migrations of ours to run, and no server in which a database must be made.
func (d *Daemon) migration(ctx context.Context, c *crew) (r MigrateRequest, ok bool, err error) {
	m := c.bundle.Stack.Manifest
	name, ok := c.migrated()
	db := m.Databases[name]
	r = MigrateRequest{Stack: c.release.Stack, User: m.User, Database: db, Generation: c.release.Generation}
	if !ok {
		return r, false, nil
	}
	if m.Migrations.Dir != "" {
		r.Migrations = filepath.Join(c.bundle.Dir, filepath.FromSlash(m.Migrations.Dir))
	}
	if db.Engine != "postgres" {
		r.VolumeDir = c.volume(db.Volume)
		return r, true, nil
	}
	r.PasswordFile = d.Paths.DatabasePassword(c.release.Stack)
	r.Address, err = d.serverAddress(ctx, c, db.Service)
	return r, err == nil, err
}
