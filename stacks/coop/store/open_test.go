// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/store/storetest"
)

func TestOpen(t *testing.T) {
	ctx := t.Context()
	old := filepath.Join(t.TempDir(), "old.db")
	newer := storetest.SQLiteFile(t)
	for path, do := range map[string]string{old: "create table x (id text)", newer: "insert into goose_db_version (version_id, is_applied) values (999, 1)"} {
		db, err := sql.Open("sqlite", store.SQLiteDSN(path))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(do); err != nil {
			t.Fatal(err)
		}
		_ = db.Close()
	}
	for address, fix := range map[string]string{
		"sqlite:" + t.TempDir() + "/none.db":         "migrations first",
		"sqlite:" + old:                              "migrations up to 1",
		"sqlite:" + newer:                            "release that the data belongs to",
		"mysql://x":                                  "sqlite:/data/coop.db",
		"postgres://x@127.0.0.1:1/x?sslmode=disable": "Check that it runs",
		"postgres://x@127.0.0.1:1/x?sslmode=disable&password=": "Check that it runs",
	} {
		_, err := store.Open(ctx, address, "")
		var e *store.Error
		if !errors.As(err, &e) || e.What == "" || e.Why == "" || !strings.Contains(e.Fix, fix) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := store.Open(ctx, "postgres://x@127.0.0.1:1/x", filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "COOP_DATABASE_PASSWORD_FILE") {
		t.Errorf("a missing password file: %v", err)
	}
}

// TestCopy opens a copy as an update makes it: VACUUM INTO leaves the write-ahead
// log behind, and the copy has to be durable and shared all the same.
func TestCopy(t *testing.T) {
	from, to := storetest.SQLiteFile(t), filepath.Join(t.TempDir(), "copy.db")
	db, err := sql.Open("sqlite", store.SQLiteDSN(from))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("vacuum into ?", to); err != nil {
		t.Fatal(err)
	}
	one, two := storetest.Open(t, "sqlite:"+to), storetest.Open(t, "sqlite:"+to)
	write(t, one, func(ctx context.Context, tx coop.Tx) error { return tx.AddMember(ctx, member("ada")) })
	read(t, two, func(ctx context.Context, tx coop.Tx) error {
		_, err := tx.Member(ctx, "ada")
		return err
	})
	var mode string
	var sync int
	copied, err := sql.Open("sqlite", store.SQLiteDSN(to))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = copied.Close() }()
	if err := errors.Join(copied.QueryRow("pragma journal_mode").Scan(&mode), copied.QueryRow("pragma synchronous").Scan(&sync)); err != nil {
		t.Fatal(err)
	}
	same(t, []any{mode, sync}, []any{"wal", 2})
}

// TestSchemaVersion keeps the constant at the newest migration.
func TestSchemaVersion(t *testing.T) {
	db, err := sql.Open("sqlite", store.SQLiteDSN(storetest.SQLiteFile(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS(storetest.Migrations()))
	if err != nil {
		t.Fatal(err)
	}
	sources := p.ListSources()
	same(t, sources[len(sources)-1].Version, int64(store.SchemaVersion))
	ctx := t.Context()
	if _, err := p.DownTo(ctx, 0); err != nil {
		t.Fatalf("down: %v", err)
	}
	if _, err := p.Up(ctx); err != nil {
		t.Fatalf("up again: %v", err)
	}
}

// TestNothingIsEdited reads the package's own statements: the ledger and the log
// are only ever added to.
func TestNothingIsEdited(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		words := strings.Fields(string(body))
		for _, table := range []string{"postings", "transactions", "events", "accounts", "proofs", "setting_versions", "settings"} {
			i := slices.IndexFunc(words, func(w string) bool { return strings.Trim(w, "\"`") == table })
			for ; i > 0; i = next(words, i, table) {
				if before := strings.Trim(words[i-1], "\"`"); before == "update" || (before == "from" && strings.Trim(words[i-2], "\"`") == "delete") {
					t.Errorf("%s changes %s", f, table)
				}
			}
		}
	}
}

func next(words []string, after int, table string) int {
	for i := after + 1; i < len(words); i++ {
		if strings.Trim(words[i], "\"`") == table {
			return i
		}
	}
	return -1
}
