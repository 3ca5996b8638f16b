// SPDX-License-Identifier: AGPL-3.0-or-later

// Package storetest gives tests a migrated, empty database: SQLite in a
// temporary folder, or any other that a test names.
//
// Only tests import it. It may import the store and goose, since it does what the
// appliance does before a first start. It must never be part of a program.
package storetest

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pressly/goose/v3"

	"rochdale/stacks/coop/store"
)

// Migrations returns the folder of the delivery stack's migrations.
func Migrations() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "catalog", "delivery", "migrations")
}

// Migrate brings the database up to the newest schema.
func Migrate(ctx context.Context, dialect goose.Dialect, driver, dsn string) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(dialect, db, os.DirFS(Migrations()))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// SQLiteFile returns the path of a new, migrated database file.
func SQLiteFile(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "coop.db")
	if err := Migrate(tb.Context(), goose.DialectSQLite3, "sqlite", store.SQLiteDSN(path)); err != nil {
		tb.Fatal(err)
	}
	return path
}

// SQLite opens a new, migrated database file.
func SQLite(tb testing.TB) *store.Store {
	tb.Helper()
	return Open(tb, "sqlite:"+SQLiteFile(tb))
}

// Open opens a database for the length of a test.
func Open(tb testing.TB, address string) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), address, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}
