// SPDX-License-Identifier: AGPL-3.0-or-later

// Package catalog_test holds the stacks that Rochdale publishes against the
// format and against what they say of themselves. It may import the stacks rooms
// and must never change what is beside it.
package catalog_test

import (
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"

	"rochdale/stacks"
)

// TestCatalogue holds every stack that Rochdale publishes against its format.
func TestCatalogue(t *testing.T) {
	folders, err := os.ReadDir(".")
	if err != nil || len(folders) == 0 {
		t.Fatal(folders, err)
	}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		t.Run(folder.Name(), func(t *testing.T) {
			files := os.DirFS(folder.Name())
			s, err := stacks.Parse(files)
			if err != nil {
				t.Fatal(err)
			}
			if s.Manifest.Name != folder.Name() {
				t.Errorf("the folder %s holds the stack %s", folder.Name(), s.Manifest.Name)
			}
			for _, language := range []string{"en", "es", "fr"} {
				if s.Manifest.Title[language] == "" {
					t.Errorf("there is no title in %s", language)
				}
			}
			checkFits(t, s)
			checkFacts(t, s.Manifest, files)
		})
	}
}

// checkFits wants the containers to fit into what the stack says it needs, and
// every variable to have a value on a box.
func checkFits(t *testing.T, s stacks.Stack) {
	t.Helper()
	box := stacks.Box{URL: "https://a.example", Domain: "a.example", Edge: "172.20.0.1", Language: "en", Name: "A"}
	total := int64(0)
	for _, service := range s.Services {
		total += service.Memory
		if _, err := service.Environment(box); err != nil {
			t.Error(err)
		}
		if service.Name == s.Manifest.Web.Service && service.Health == nil {
			t.Error("the web service has no health test")
		}
	}
	if total > s.Manifest.Needs.Memory {
		t.Errorf("the containers may use %d bytes, the stack says that it needs %d", total, s.Manifest.Needs.Memory)
	}
}

// checkFacts runs the migrations and then every fact, on an empty database.
func checkFacts(t *testing.T, m stacks.Manifest, files fs.FS) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "facts.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	migrations, err := fs.Sub(files, m.Migrations.Dir)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, fact := range m.Facts {
		var got int64
		if err := db.QueryRowContext(t.Context(), fact.SQL).Scan(&got); err != nil {
			t.Errorf("fact %s: %v", name, err)
		}
		if fact.Must != nil && got != *fact.Must {
			t.Errorf("fact %s is %d on an empty database, and must be %d", name, got, *fact.Must)
		}
	}
}
