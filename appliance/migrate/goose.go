// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/pressly/goose/v3"
	goosedb "github.com/pressly/goose/v3/database"

	"rochdale/appliance"
	"rochdale/stacks"
)

const maxDetail = 1000 // bytes of a database's own words

// up migrates, and then measures. The connections that migrations ran on are
// closed by then: facts get one that can not write and has nothing set by them.
func (q request) up(ctx context.Context) (appliance.Migrated, error) {
	done, err := q.migrate(ctx)
	if err != nil {
		return done, err
	}
	done.Facts, err = q.database.facts(ctx, q.Facts)
	return done, because(ctx, NoDatabase, "", err)
}

// migrate applies what is missing, each migration in its own transaction. A
// database in a server is made first; without migrations that is all.
func (q request) migrate(ctx context.Context) (done appliance.Migrated, err error) {
	if q.Engine == stacks.Postgres {
		if err := q.ensure(ctx); err != nil {
			return done, because(ctx, NoDatabase, "", err)
		}
	}
	if q.Migrations == "" {
		return done, nil
	}
	db, err := q.open(ctx, false)
	if err != nil {
		return done, &Failure{Reason: NoDatabase, Detail: words(err)}
	}
	defer func() { err = errors.Join(err, db.Close(), q.flush()) }()
	p, err := q.provider(db)
	if err != nil {
		return done, &Failure{Reason: Unreadable, Detail: words(err)}
	}
	before, err := q.look(ctx, db, p)
	if err != nil {
		return done, err
	}
	done.From = before.Current
	results, err := p.Up(ctx)
	if err != nil {
		return done, failure(err, before)
	}
	done.Applied, done.To = migrations(results), max(before.Current, before.Newest)
	return done, nil
}

// status looks without changing anything.
func (q request) status(ctx context.Context) (s appliance.SchemaStatus, err error) {
	if q.Migrations == "" {
		return appliance.SchemaStatus{Pending: []string{}}, nil
	}
	if absent, err := q.absent(ctx); err != nil {
		return s, &Failure{Reason: NoDatabase, Detail: words(err)}
	} else if absent {
		return q.pristine()
	}
	db, err := q.open(ctx, true)
	if err != nil {
		return s, &Failure{Reason: NoDatabase, Detail: words(err)}
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := q.provider(db)
	if err != nil {
		return s, &Failure{Reason: Unreadable, Detail: words(err)}
	}
	return q.look(ctx, db, p)
}

// pristine is the status of a database that does not exist yet.
func (q request) pristine() (s appliance.SchemaStatus, err error) {
	q.Engine = stacks.SQLite // in memory; only the files are looked at
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := q.provider(db)
	if err != nil {
		return s, &Failure{Reason: Unreadable, Detail: words(err)}
	}
	return compare(p.ListSources(), nil)
}

// look compares the migrations with what the database says was applied. Unlike
// goose's own look it makes no table.
func (q request) look(ctx context.Context, db *sql.DB, p *goose.Provider) (appliance.SchemaStatus, error) {
	applied, err := q.applied(ctx, db)
	if err != nil {
		return appliance.SchemaStatus{}, &Failure{Reason: NoDatabase, Detail: words(err)}
	}
	return compare(p.ListSources(), applied)
}

func (q request) applied(ctx context.Context, db *sql.DB) (map[int64]bool, error) {
	dialect, exists := goosedb.DialectSQLite3, "select count(*) from sqlite_master where type = 'table' and name = 'goose_db_version'"
	if q.Engine == stacks.Postgres {
		dialect, exists = goosedb.DialectPostgres, "select count(*) from pg_class where oid = to_regclass('goose_db_version')"
	}
	var tables int
	if err := db.QueryRowContext(ctx, exists).Scan(&tables); err != nil || tables == 0 {
		return nil, err
	}
	store, err := goosedb.NewStore(dialect, goose.DefaultTablename)
	if err != nil {
		return nil, err
	}
	rows, err := store.ListMigrations(ctx, db)
	if err != nil {
		return nil, err
	}
	applied := make(map[int64]bool, len(rows))
	for _, r := range rows {
		if r.Version > 0 {
			applied[r.Version] = r.IsApplied
		}
	}
	return applied, nil
}

// compare refuses a database that is newer than the migrations, and a migration
// that came too late; neither may be found out in the middle.
func compare(sources []*goose.Source, applied map[int64]bool) (appliance.SchemaStatus, error) {
	s := appliance.SchemaStatus{Pending: []string{}}
	for version, is := range applied {
		if is {
			s.Current = max(s.Current, version)
		}
	}
	for _, m := range sources {
		s.Newest = max(s.Newest, m.Version)
		if !applied[m.Version] {
			s.Pending = append(s.Pending, path.Base(m.Path))
		}
	}
	if s.Current > s.Newest {
		return s, &Failure{Reason: Newer, Current: s.Current, Newest: s.Newest}
	}
	for _, m := range sources {
		if m.Version < s.Current && !applied[m.Version] {
			return s, &Failure{Reason: OutOfOrder, Current: s.Current, Newest: s.Newest, File: path.Base(m.Path), Pending: s.Pending}
		}
	}
	return s, nil
}

// failure makes ours of goose's error. Errors before the first migration ran
// are about the migrations or the connection.
func failure(err error, before appliance.SchemaStatus) error {
	var partial *goose.PartialError
	if !errors.As(err, &partial) {
		reason := NoDatabase
		if strings.Contains(err.Error(), "failed to prepare migration") {
			reason = Unreadable
		}
		return &Failure{Reason: reason, Detail: words(err), Current: before.Current, Newest: before.Newest, Pending: before.Pending}
	}
	f := &Failure{
		Reason: Failed, Detail: words(partial.Err), File: path.Base(partial.Failed.Source.Path),
		Current: before.Current, Newest: before.Newest, Applied: migrations(partial.Applied),
	}
	f.Pending = before.Pending[min(len(f.Applied), len(before.Pending)):]
	if n := len(f.Applied); n > 0 {
		f.Current = f.Applied[n-1].Version
	}
	return f
}

func migrations(results []*goose.MigrationResult) []appliance.Migration {
	list := make([]appliance.Migration, 0, len(results))
	for _, r := range results {
		list = append(list, appliance.Migration{Version: r.Source.Version, File: path.Base(r.Source.Path), Duration: r.Duration})
	}
	return list
}

// words is an error in one bounded line.
func words(err error) string {
	s := strings.Join(strings.Fields(fmt.Sprint(err)), " ")
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") + "..."
	}
	return s
}
