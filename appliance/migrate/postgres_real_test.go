// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package migrate_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

// postgres makes a role in the machine's own server that owns all of it, as that
// of a stack does; the database of a generation is made by who needs it.
func postgres(t *testing.T, stack string, files map[string]string) appliance.MigrateRequest {
	t.Helper()
	r := box(t, stack, files)
	r.Database, r.Generation = stacks.Database{Engine: "postgres", Service: "db", Name: "coop"}, 1
	r.Address, r.PasswordFile = "127.0.0.1:5432", filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(r.PasswordFile, []byte("ses ame'\n"), 0o600))
	t.Cleanup(func() {
		psql(t, "postgres", `drop database if exists coop_g1 with (force)`)
		psql(t, "postgres", `drop database if exists coop_g2 with (force)`)
		psql(t, "postgres", `drop role coop`)
	})
	psql(t, "postgres", `create role coop superuser login password 'ses ame'''`)
	return r
}

func psql(t *testing.T, database, text string) string {
	t.Helper()
	cmd := exec.Command("runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)
	cmd.Dir = "/" // postgres may not look into root's home
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", text, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestRealPostgres(t *testing.T) {
	m := realMigrator(t, systemd)
	r := postgres(t, "real-pg", good())
	status, err := m.Status(t.Context(), r)
	must(t, err)
	if status.Current != 0 || len(status.Pending) != 3 || psql(t, "postgres", "select count(*) from pg_database where datname like 'coop%'") != "0" {
		t.Errorf("looking changed something: %+v", status)
	}
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.From != 0 || done.To != 3 || len(done.Applied) != 3 {
		t.Errorf("migrated %+v", done)
	}
	if got := psql(t, "coop_g1", "select tableowner from pg_tables where tablename = 'a'"); got != "coop" {
		t.Errorf("the tables belong to %s", got)
	}
	must(t, os.WriteFile(r.PasswordFile, []byte("wrong\n"), 0o600))
	_, err = m.Up(t.Context(), r)
	wantProblem(t, err, "migrate.no-database")
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("the password is in the error: %v", err)
	}
	r.Address = "127.0.0.1:5"
	_, err = m.Up(t.Context(), r)
	wantProblem(t, err, "migrate.no-database")
}

// TestRealPostgresKilled kills the child while the server still works for it:
// the next run waits for the server to let go.
func TestRealPostgresKilled(t *testing.T) {
	m := realMigrator(t, systemd)
	r := postgres(t, "real-pg-kill", map[string]string{
		"00001_first.sql":  "-- +goose Up\ncreate table runs (n integer);\ninsert into runs values (1);\n",
		"00002_second.sql": "-- +goose Up\ninsert into runs values (2);\nselect pg_sleep(4);\n",
		"00003_third.sql":  "-- +goose Up\ninsert into runs values (3);\n",
	})
	killed := make(chan error, 1)
	go func() {
		_, err := m.Up(t.Context(), r)
		killed <- err
	}()
	for psql(t, "postgres", "select count(*) from pg_stat_activity where application_name = 'rochdale-migrate' and query like '%pg_sleep%'") == "0" {
		time.Sleep(20 * time.Millisecond)
	}
	out, err := exec.Command("systemctl", "kill", "--signal=KILL", migrate.UnitName(r.Stack)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	wantProblem(t, <-killed, "migrate.broken-off")
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.From != 1 || done.To != 3 || len(done.Applied) != 2 {
		t.Errorf("after the kill: %+v", done)
	}
	if got := psql(t, "coop_g1", "select string_agg(n::text, ' ' order by n) from runs"); got != "1 2 3" {
		t.Errorf("migrations that ran: %s", got)
	}
}

// TestRealPostgresCopy copies, measures and drops from within the cage.
func TestRealPostgresCopy(t *testing.T) {
	r := postgres(t, "real-pg-copy", good())
	_, err := realMigrator(t, systemd).Up(t.Context(), r)
	must(t, err)
	psql(t, "postgres", `alter database coop_g1 set search_path = "$user", public`)
	from := appliance.DataPlace{
		Stack: r.Stack, User: r.User, Generation: 1, Address: r.Address, PasswordFile: r.PasswordFile,
		Databases: map[string]stacks.Database{"main": r.Database},
	}
	to := from
	to.Generation = 2
	d := realData(t, systemd)
	facts := map[string]stacks.Fact{"rows": {Database: "main", SQL: "select count(*) from b"}}
	copied, err := d.Copy(t.Context(), from, to, facts)
	must(t, err)
	got, err := d.Facts(t.Context(), to, facts)
	must(t, err)
	if got["rows"] != 1 || copied.Facts["rows"] != 1 || psql(t, "coop_g2", "show search_path") != `"$user", public` {
		t.Errorf("facts %v", got)
	}
	must(t, d.Drop(t.Context(), to))
	if psql(t, "postgres", "select count(*) from pg_database where datname like 'coop%'") != "1" {
		t.Error("the copy is still there, or the original is not")
	}
}

// TestRealPostgresSnapshot holds a view open from within the cage while the
// machine's own programs dump it.
func TestRealPostgresSnapshot(t *testing.T) {
	r := postgres(t, "real-pg-dump", good())
	_, err := realMigrator(t, systemd).Up(t.Context(), r)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatal("the machine has no PostgreSQL", err)
	}
	d := migrate.NewData(systemd, self, &cluster{t: t, bin: found[0]}, nil)
	from := appliance.DataPlace{
		Stack: r.Stack, User: r.User, Generation: 1, Address: r.Address, PasswordFile: r.PasswordFile,
		Databases: map[string]stacks.Database{"main": r.Database},
	}
	into := owned(t, "/var/lib/rochdale-test", r.Stack, "into")
	s, err := d.Snapshot(t.Context(), from, into, map[string]stacks.Fact{"rows": {Database: "main", SQL: "select count(*) from b"}})
	must(t, err)
	if s.Facts["rows"] != 1 || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	to := from
	to.Generation = 2
	must(t, d.Load(t.Context(), into, to))
	if got := psql(t, "coop_g2", "select count(*) from b"); got != "1" {
		t.Errorf("loaded were %s rows", got)
	}
}
