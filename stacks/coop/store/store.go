// SPDX-License-Identifier: AGPL-3.0-or-later

// Package store keeps the platform's data in SQL. One schema and one set of
// statements run on SQLite, which is embedded, and on PostgreSQL; what differs
// between the two is in this file.
//
// It may import the platform's root, the two drivers, and (in its tests and in
// storetest) goose. It never migrates: whoever starts the server does that first,
// and Open only checks that it was done.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the PostgreSQL driver
	_ "modernc.org/sqlite"             // the SQLite driver

	"rochdale/stacks/coop"
)

// SchemaVersion is the migration that this release works with.
const SchemaVersion = 1

// Error is a failure that the operator can do something about.
type Error struct {
	What string
	Why  string
	Fix  string
	Err  error
}

func (e *Error) Error() string {
	s := e.What + ": " + e.Why + ". " + e.Fix
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Store is a database. Several processes may have the same one open.
type Store struct {
	write  *sql.DB
	read   *sql.DB
	dollar bool // placeholders are $1, as in PostgreSQL
}

var _ coop.Store = (*Store)(nil)

// Open opens "sqlite:PATH" or a "postgres://" address and checks the schema. A
// passwordFile, if given, holds the PostgreSQL password.
func Open(ctx context.Context, address, passwordFile string) (*Store, error) {
	s, err := connect(address, passwordFile)
	if err != nil {
		return nil, err
	}
	if err := s.checkSchema(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

func connect(address, passwordFile string) (*Store, error) {
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(path)
	}
	if strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://") {
		return openPostgres(address, passwordFile)
	}
	return nil, &Error{What: "the database can't be opened", Why: "its address is neither sqlite:PATH nor postgres://…",
		Fix: "Set COOP_DATABASE to sqlite:/data/coop.db or to a postgres:// address"}
}

// SQLiteDSN returns the data source name under which SQLite is opened: durable at
// every commit, patient with other processes.
func SQLiteDSN(path string, more ...string) string {
	q := url.Values{}
	for _, p := range append([]string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "cache_size(-4000)", "temp_store(memory)"}, more...) {
		q.Add("_pragma", p)
	}
	q.Set("_txlock", "immediate")
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func openSQLite(path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, &Error{What: "the database can't be opened", Why: "the file " + path + " isn't there or can't be read",
			Fix: "Run the stack's migrations first; they make it", Err: err}
	}
	write, err := sql.Open("sqlite", SQLiteDSN(path))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	dsn := strings.Replace(SQLiteDSN(path, "query_only(1)"), "_txlock=immediate", "_txlock=deferred", 1)
	read, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	read.SetMaxOpenConns(4)
	return &Store{write: write, read: read}, nil
}

func openPostgres(address, passwordFile string) (*Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, &Error{What: "the database can't be opened", Why: "COOP_DATABASE isn't a valid address", Fix: "Write postgres://USER@HOST:PORT/NAME"}
	}
	if passwordFile != "" {
		secret, err := os.ReadFile(passwordFile)
		if err != nil {
			return nil, &Error{What: "the database can't be opened", Why: "its password file can't be read", Fix: "Check COOP_DATABASE_PASSWORD_FILE", Err: err}
		}
		u.User = url.UserPassword(u.User.Username(), strings.TrimSpace(string(secret)))
	}
	db, err := sql.Open("pgx", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	return &Store{write: db, read: db, dollar: true}, nil
}

// Close closes the database.
func (s *Store) Close() error {
	err := s.read.Close()
	if s.write != s.read {
		if e := s.write.Close(); err == nil {
			err = e
		}
	}
	return err
}

// Ping asks the database for an answer and for the schema's version.
func (s *Store) Ping(ctx context.Context) error { return s.checkSchema(ctx) }

func (s *Store) checkSchema(ctx context.Context) error {
	if err := s.read.PingContext(ctx); err != nil {
		return &Error{What: "the database doesn't answer", Why: "connecting failed", Fix: "Check that it runs and that COOP_DATABASE names it", Err: err}
	}
	var version sql.NullInt64
	err := s.read.QueryRowContext(ctx, "select max(version_id) from goose_db_version where is_applied").Scan(&version)
	want := strconv.Itoa(SchemaVersion)
	switch {
	case err != nil:
		return &Error{What: "the database isn't ready", Why: "it holds no record of migrations", Fix: "Run the stack's migrations up to " + want, Err: err}
	case version.Int64 < SchemaVersion:
		return &Error{What: "the database isn't ready", Why: fmt.Sprintf("it's at schema %d and this release works with %s", version.Int64, want),
			Fix: "Run the stack's migrations up to " + want}
	case version.Int64 > SchemaVersion:
		return &Error{What: "the database is newer than this release", Why: fmt.Sprintf("it's at schema %d and this release works with %s", version.Int64, want),
			Fix: "Start the release that the data belongs to"}
	}
	return nil
}

// writeLock is the advisory lock that makes PostgreSQL take one writer at a time,
// as SQLite does, so that rules which read before they write hold on both.
const writeLock = 7_230_451

// Write runs fn in one transaction that sees no other writer.
func (s *Store) Write(ctx context.Context, fn func(coop.Tx) error) error {
	return s.run(ctx, s.write, nil, func(t *tx) error {
		if s.dollar {
			if _, err := t.sql.ExecContext(ctx, "select pg_advisory_xact_lock($1)", writeLock); err != nil {
				return err
			}
		}
		return fn(t)
	})
}

// Read runs fn on one snapshot.
func (s *Store) Read(ctx context.Context, fn func(coop.Tx) error) error {
	var opts *sql.TxOptions
	if s.dollar {
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return s.run(ctx, s.read, opts, func(t *tx) error { return fn(t) })
}

func (s *Store) run(ctx context.Context, db *sql.DB, opts *sql.TxOptions, fn func(*tx) error) error {
	t, err := db.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	defer func() { _ = t.Rollback() }() // after a commit it does nothing
	if err := fn(&tx{sql: t, dollar: s.dollar}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	return nil
}
