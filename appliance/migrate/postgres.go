// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Every generation of a stack's rows is a database of its own in the stack's
// server, whose only role owns all of it.

const (
	// maintenance is the database to be in while others are made and dropped.
	maintenance = "postgres"
	// copying is what the server knows sessions by that make and drop databases.
	copying = "rochdale-copy"
	// leaveFor is how long sessions have to leave a database that is copied.
	leaveFor = 10 * time.Second
)

// server opens the maintenance database, by one connection.
func (d database) server(ctx context.Context) (*sql.DB, error) {
	d.Name = maintenance
	db, err := d.postgres(copying)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// inServer does something in the maintenance database.
func (d database) inServer(ctx context.Context, do func(db *sql.DB) error) (err error) {
	db, err := d.server(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return do(db)
}

// quoted is a name as SQL writes it.
func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// there tells whether the server has the database.
func (d database) there(ctx context.Context) (is bool, err error) {
	err = d.inServer(ctx, func(db *sql.DB) error {
		is, err = exists(ctx, db, d.Name)
		return err
	})
	return is, err
}

func exists(ctx context.Context, db *sql.DB, name string) (is bool, err error) {
	err = db.QueryRowContext(ctx, "select exists (select from pg_database where datname = $1)", name).Scan(&is)
	return is, err
}

// ensure makes the database, empty, unless it is there.
func (d database) ensure(ctx context.Context) error {
	return d.inServer(ctx, func(db *sql.DB) error {
		if is, err := exists(ctx, db, d.Name); err != nil || is {
			return err
		}
		_, err := db.ExecContext(ctx, "create database "+quoted(d.Name)+" owner "+quoted(d.Role))
		if failedWith(err, "42P04", "23505") { // another run was faster
			return nil
		}
		return err
	})
}

// failedWith tells whether the server refused with one of these codes.
func failedWith(err error, codes ...string) bool {
	var pg *pgconn.PgError
	for _, code := range codes {
		if errors.As(err, &pg) && pg.Code == code {
			return true
		}
	}
	return false
}

// drop removes the database with all sessions in it, and ends whatever an earlier
// run is still making. One that is not there is no error.
func (d database) drop(ctx context.Context) error {
	return d.inServer(ctx, func(db *sql.DB) error {
		if err := endLeftovers(ctx, db); err != nil {
			return err
		}
		_, err := db.ExecContext(ctx, "drop database if exists "+quoted(d.Name)+" with (force)")
		return err
	})
}

// endLeftovers ends the sessions of children that were killed: the server goes on
// with what they asked for until it notices.
func endLeftovers(ctx context.Context, db *sql.DB) error {
	const query = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where application_name = $1 and usename = current_user and pid <> pg_backend_pid()"
	_, err := db.ExecContext(ctx, query, copying)
	return err
}

// empty makes the database anew with nothing in it but its properties.
func (d database) empty(ctx context.Context, p properties) error {
	if err := d.drop(ctx); err != nil {
		return err
	}
	return d.inServer(ctx, func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "create database "+quoted(d.Name)+" owner "+quoted(d.Role)+" template template0")
		if err != nil {
			return err
		}
		return p.apply(ctx, db, d.Name)
	})
}

// clone makes to what from is, and tells its size. What to was before is dropped.
// Sessions that the old release left in from are ended: the server copies no
// database that somebody is in.
func clone(ctx context.Context, from, to database) (size int64, err error) {
	if err := to.drop(ctx); err != nil {
		return 0, err
	}
	err = from.inServer(ctx, func(db *sql.DB) error {
		if is, err := exists(ctx, db, from.Name); err != nil || !is {
			return err
		}
		p, err := readProperties(ctx, db, from.Name)
		if err != nil {
			return err
		}
		if err := template(ctx, db, from.Name, to.Name); err != nil {
			return err
		}
		if err := p.apply(ctx, db, to.Name); err != nil {
			return err
		}
		return db.QueryRowContext(ctx, "select pg_database_size($1)", to.Name).Scan(&size)
	})
	return size, err
}

// template copies a database as it is, with its owner.
func template(ctx context.Context, db *sql.DB, from, to string) error {
	owner, err := ownerOf(ctx, db, from)
	if err != nil {
		return err
	}
	how, err := strategy(ctx, db, from)
	if err != nil {
		return err
	}
	for end := time.Now().Add(leaveFor); ; {
		_, err := db.ExecContext(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()", from)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(ctx, fmt.Sprintf("create database %s template %s owner %s%s", quoted(to), quoted(from), quoted(owner), how))
		if !failedWith(err, "55006") || time.Now().After(end) { // somebody is still in it
			return err
		}
	}
}

// byFiles is from how many bytes on the files of a database are copied rather
// than each page through the server's log: 1.4 GB took 3 s and 7 s. Of a small
// one the two checkpoints that this costs take longer than the copy.
const byFiles = 64 << 20

// strategy is how the server copies a database. Those before version 15 have no
// choice, and copy files.
func strategy(ctx context.Context, db *sql.DB, name string) (string, error) {
	var version, size int64
	err := db.QueryRowContext(ctx, "select current_setting('server_version_num')::int, pg_database_size($1)", name).Scan(&version, &size)
	if err != nil || version < 150000 || size < byFiles {
		return "", err
	}
	return " strategy file_copy", nil
}

func ownerOf(ctx context.Context, db *sql.DB, name string) (owner string, err error) {
	err = db.QueryRowContext(ctx, "select pg_get_userbyid(datdba) from pg_database where datname = $1", name).Scan(&owner)
	return owner, err
}

// size is how many bytes the database takes, 0 when it is not there.
func (d database) size(ctx context.Context) (n int64, err error) {
	err = d.inServer(ctx, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "select coalesce((select pg_database_size(oid) from pg_database where datname = $1), 0)", d.Name).Scan(&n)
	})
	return n, err
}
