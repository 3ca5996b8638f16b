// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The child's work on real databases; that it is locked in, and whose files it
// makes, is tested in machines (build tag e2e).

func sqliteRequest(t *testing.T, files map[string]string) request {
	t.Helper()
	dir := t.TempDir()
	q := request{Schema: wireSchema, Migrations: filepath.Join(dir, "migrations")}
	q.database = database{Engine: "sqlite", File: filepath.Join(dir, "data", "coop.db")}
	if err := os.Mkdir(q.Migrations, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, q, files)
	return q
}

func write(t *testing.T, q request, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(q.Migrations, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func serve(t *testing.T, q request, verb string) report {
	t.Helper()
	q.Verb = verb
	rep, err := q.serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

const (
	first  = "-- +goose Up\ncreate table a (n integer primary key);\n"
	second = "-- +goose Up\ninsert into a values (1);\ninsert into a values (1);\n" // fails after a row
	fixed  = "-- +goose Up\ninsert into a values (1);\n"
	third  = "-- +goose Up\ninsert into a values (2);\n"
)

func TestFailureNamesWhatWasApplied(t *testing.T) {
	q := sqliteRequest(t, map[string]string{"00001_first.sql": first, "00002_second.sql": second, "00003_third.sql": third})
	f := serve(t, q, verbUp).Failure
	if f == nil || f.Reason != Failed || f.File != "00002_second.sql" || f.Current != 1 || f.Newest != 3 ||
		len(f.Applied) != 1 || f.Applied[0].File != "00001_first.sql" ||
		!reflect.DeepEqual(f.Pending, []string{"00002_second.sql", "00003_third.sql"}) || !strings.Contains(f.Detail, "UNIQUE") {
		t.Fatalf("failure %+v", f)
	}
	s := serve(t, q, verbStatus).Status
	if s.Current != 1 || len(s.Pending) != 2 {
		t.Errorf("status after the failure %+v", s)
	}
	write(t, q, map[string]string{"00002_second.sql": fixed})
	done := serve(t, q, verbUp).Migrated
	if done.From != 1 || done.To != 3 || len(done.Applied) != 2 {
		t.Errorf("after the fix %+v", done)
	}
}

// measuring asks for one fact after the migrations, which leave two rows.
func measuring(t *testing.T, text string) (request, report) {
	t.Helper()
	q := sqliteRequest(t, map[string]string{"00001_first.sql": first, "00002_second.sql": fixed, "00003_third.sql": third,
		"00004_fourth.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate temp table mine (n integer);\n"})
	q.Facts = map[string]fact{"rows": {Database: "main", SQL: text}}
	return q, serve(t, q, verbUp)
}

func TestFactsAfterMigrations(t *testing.T) {
	q, rep := measuring(t, "select count(*) from a")
	if rep.Failure != nil || rep.Migrated.To != 4 || rep.Migrated.Facts["rows"] != 2 {
		t.Errorf("%+v, failure %v", rep.Migrated, rep.Failure)
	}
	if again := serve(t, q, verbUp).Migrated; len(again.Applied) != 0 || again.Facts["rows"] != 2 {
		t.Errorf("with nothing to apply: %+v", again)
	}
}

// TestFactThatFailsAfterMigrations is told as that, with everything applied. What
// a migration leaves in its session is not there, and nothing can be written.
func TestFactThatFailsAfterMigrations(t *testing.T) {
	for text, detail := range map[string]string{
		"select count(*) from missing":               "no such table",
		"select count(*) from mine":                  "no such table",
		"insert into a values (3) returning n":       "readonly",
		"select n from a":                            "more than one row",
		"delete from a where n = 1 returning n":      "readonly",
		"update a set n = 5 where n = 1 returning n": "readonly",
	} {
		q, rep := measuring(t, text)
		if f := rep.Failure; f == nil || f.Reason != BadFact || f.Name != "rows" || !strings.Contains(f.Detail, detail) || f.File != "" {
			t.Errorf("%s: failure %+v", text, f)
		}
		if s := serve(t, q, verbStatus).Status; s.Current != 4 || len(s.Pending) != 0 {
			t.Errorf("%s: status %+v", text, s)
		}
		q.Facts = map[string]fact{"sum": {SQL: "select sum(n) from a"}}
		if done := serve(t, q, verbUp).Migrated; done == nil || done.Facts["sum"] != 3 {
			t.Errorf("%s changed the rows: %+v", text, done)
		}
	}
	// A migration that fails is told before any fact is looked at.
	q := sqliteRequest(t, map[string]string{"00001_first.sql": first, "00002_second.sql": second})
	q.Facts = map[string]fact{"rows": {SQL: "select count(*) from missing"}}
	if f := serve(t, q, verbUp).Failure; f == nil || f.Reason != Failed || f.File != "00002_second.sql" {
		t.Errorf("failure %+v", f)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		before, after map[string]string
		remove        string
		want          Failure
	}{
		"a newer database": {
			before: map[string]string{"00001_first.sql": first, "00002_second.sql": fixed}, remove: "00002_second.sql",
			want: Failure{Reason: Newer, Current: 2, Newest: 1},
		},
		"a migration that came late": {
			before: map[string]string{"00001_first.sql": first, "00003_third.sql": third}, after: map[string]string{"00002_second.sql": fixed},
			want: Failure{Reason: OutOfOrder, Current: 3, Newest: 3, File: "00002_second.sql"},
		},
		"a migration that can not be parsed": {
			before: map[string]string{"00001_first.sql": first}, after: map[string]string{"00002_second.sql": "insert into a values (1);\n"},
			want: Failure{Reason: Unreadable, Current: 1, Newest: 2},
		},
		"two migrations of one number": {
			before: map[string]string{"00001_first.sql": first}, after: map[string]string{"00001_other.sql": fixed},
			want: Failure{Reason: Unreadable},
		},
		"no migrations": {
			before: map[string]string{"00001_first.sql": first}, remove: "00001_first.sql",
			want: Failure{Reason: Unreadable},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := sqliteRequest(t, c.before)
			if rep := serve(t, q, verbUp); rep.Failure != nil {
				t.Fatal(rep.Failure)
			}
			write(t, q, c.after)
			if c.remove != "" {
				if err := os.Remove(filepath.Join(q.Migrations, c.remove)); err != nil {
					t.Fatal(err)
				}
			}
			f := serve(t, q, verbUp).Failure
			if f == nil || f.Reason != c.want.Reason || f.Current != c.want.Current || f.Newest != c.want.Newest || f.File != c.want.File {
				t.Errorf("failure %+v, want %+v", f, c.want)
			}
		})
	}
}

func TestDatabaseThatCanNotBeOpened(t *testing.T) {
	q := sqliteRequest(t, map[string]string{"00001_first.sql": first})
	if err := os.MkdirAll(q.File, 0o755); err != nil { // a folder where the file should be
		t.Fatal(err)
	}
	for _, verb := range []string{verbUp, verbStatus} {
		if f := serve(t, q, verb).Failure; f == nil || f.Reason != NoDatabase {
			t.Errorf("%s: %+v", verb, f)
		}
	}
	garbage := sqliteRequest(t, map[string]string{"00001_first.sql": first})
	if err := os.MkdirAll(filepath.Dir(garbage.File), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(garbage.File, bytes.Repeat([]byte("garbage "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := serve(t, garbage, verbUp).Failure; f == nil || f.Reason != NoDatabase {
		t.Errorf("garbage: %+v", f)
	}
}

// TestDurability asks a connection for what it was opened with.
func TestDurability(t *testing.T) {
	q := sqliteRequest(t, map[string]string{"00001_first.sql": first})
	db, err := q.open(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := db.QueryRow("pragma " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", pragma, got, want, err)
		}
	}
}

func TestChildRefuses(t *testing.T) {
	for name, asked := range map[string]string{
		"nothing":           "",
		"no JSON":           "hello",
		"an unknown schema": `{"schema":2,"verb":"up","user":65532}`,
		"root":              `{"schema":1,"verb":"up","user":0}`,
		"without end":       strings.Repeat(" ", maxRequest+1),
	} {
		var out bytes.Buffer
		if err := Child(t.Context(), strings.NewReader(asked), &out); err == nil || out.Len() != 0 {
			t.Errorf("%s: %v, %q", name, err, out.String())
		}
	}
}
