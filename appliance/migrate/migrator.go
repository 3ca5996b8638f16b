// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"rochdale/appliance"
	"rochdale/stacks"
)

// Migrator runs migrations in units of their own, which see the generation that is
// migrated and never the one that it was copied from.
type Migrator struct{ runner }

var _ appliance.Migrator = Migrator{}

// New gives a Migrator that runs "PROGRAM internal-migrate". program is the
// absolute path of our own binary, with links resolved.
func New(units Units, program string) Migrator { return Migrator{runner{units, program}} }

// Up implements [appliance.Migrator]. The unit goes on when ctx ends; the next
// call waits for it and then sees what is left to do.
func (m Migrator) Up(ctx context.Context, r appliance.MigrateRequest) (appliance.Migrated, error) {
	o, err := migration(verbUp, r)
	if err != nil {
		return appliance.Migrated{}, err
	}
	o.request.Facts = factsOf(r.Facts)
	rep, err := m.run(ctx, o)
	if err != nil {
		return appliance.Migrated{}, err
	}
	if rep.Migrated == nil {
		return appliance.Migrated{}, o.brokenOff(errors.New("its report is incomplete"))
	}
	return *rep.Migrated, o.complete(rep.Migrated.Facts)
}

// Status implements [appliance.Migrator].
func (m Migrator) Status(ctx context.Context, r appliance.MigrateRequest) (appliance.SchemaStatus, error) {
	o, err := migration(verbStatus, r)
	if err != nil {
		return appliance.SchemaStatus{}, err
	}
	rep, err := m.run(ctx, o)
	if err != nil {
		return appliance.SchemaStatus{}, err
	}
	if rep.Status == nil {
		return appliance.SchemaStatus{}, o.brokenOff(errors.New("its report is incomplete"))
	}
	return *rep.Status, nil
}

// migration makes the order for a run of migrations.
func migration(verb string, r appliance.MigrateRequest) (order, error) {
	o := order{
		stack: r.Stack, unit: UnitName(r.Stack), about: "Rochdale changes the database of a stack", limit: runtimeLimit,
		request: request{Verb: verb, User: r.User},
	}
	if r.Migrations != "" {
		o.binds, o.request.Migrations = []bind{{path: r.Migrations, inside: inMigrations}}, inMigrations
	}
	db := r.Database
	switch {
	case db.Engine == stacks.Postgres:
		password, err := secret(r.PasswordFile)
		if err != nil {
			return o, err
		}
		o.addresses = []string{r.Address}
		o.request.database = inServer(db, r.Generation, r.Address, password)
	case db.Engine != stacks.SQLite:
		return o, fmt.Errorf("migrate stack %s: unknown database engine %q", r.Stack, db.Engine)
	case !filepath.IsLocal(db.Path):
		return o, fmt.Errorf("migrate stack %s: the database %q is not inside its volume", r.Stack, db.Path)
	default:
		o.binds, o.temp = append(o.binds, bind{r.VolumeDir, inData, true}), inData
		o.request.database = database{Engine: db.Engine, File: inData + "/" + db.Path}
	}
	return o, nil
}

// inServer is the database of one generation.
func inServer(db stacks.Database, generation int64, address, password string) database {
	return database{
		Engine: db.Engine, Address: address, Role: db.Name, Name: appliance.DatabaseName(db, generation), Password: password,
	}
}
