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

// postgres makes a database in the machine's own server.
func postgres(t *testing.T, stack string, files map[string]string) appliance.MigrateRequest {
	t.Helper()
	r := box(t, stack, files)
	r.Database = stacks.Database{Engine: "postgres", Service: "db", Name: "coop"}
	r.Address, r.PasswordFile = "127.0.0.1:5432", filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(r.PasswordFile, []byte("ses ame'\n"), 0o600))
	t.Cleanup(func() { psql(t, "postgres", `drop database coop with (force)`); psql(t, "postgres", `drop role coop`) })
	psql(t, "postgres", `create role coop login password 'ses ame'''`)
	psql(t, "postgres", `create database coop owner coop`)
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
	if status.Current != 0 || len(status.Pending) != 3 || psql(t, "coop", "select count(*) from pg_tables where schemaname = 'public'") != "0" {
		t.Errorf("looking changed something: %+v", status)
	}
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.From != 0 || done.To != 3 || len(done.Applied) != 3 {
		t.Errorf("migrated %+v", done)
	}
	if got := psql(t, "coop", "select tableowner from pg_tables where tablename = 'a'"); got != "coop" {
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
	for psql(t, "coop", "select count(*) from pg_stat_activity where application_name = 'rochdale-migrate' and query like '%pg_sleep%'") == "0" {
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
	if got := psql(t, "coop", "select string_agg(n::text, ' ' order by n) from runs"); got != "1 2 3" {
		t.Errorf("migrations that ran: %s", got)
	}
}
