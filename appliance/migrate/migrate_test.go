// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

func good() map[string]string {
	return map[string]string{
		"00001_first.sql":  "-- +goose Up\ncreate table a (n integer primary key);\n",
		"00002_second.sql": "-- +goose Up\ncreate table b (n integer references a (n));\ninsert into a values (1);\n",
		"00003_third.sql":  "-- +goose Up\ninsert into b values (1);\n",
	}
}

// bad fails in the middle of its second migration.
func bad() map[string]string {
	files := good()
	files["00002_second.sql"] = "-- +goose Up\ncreate table b (n integer);\ninsert into missing values (1);\n"
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantProblem(t *testing.T, err error, id string) {
	t.Helper()
	if !appliance.IsProblem(err, id) {
		t.Errorf("error %v, want one with the id %s", err, id)
	}
}

func wantFailure(t *testing.T, err error, id string, want migrate.Failure) {
	t.Helper()
	wantProblem(t, err, id)
	var f *migrate.Failure
	if !errors.As(err, &f) {
		t.Fatalf("error %v names no failure", err)
	}
	if f.Reason != want.Reason || f.File != want.File || f.Current != want.Current || f.Newest != want.Newest {
		t.Errorf("failure %+v, want %+v", f, want)
	}
}

func query(t *testing.T, file, text string) string {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	must(t, err)
	defer db.Close()
	var s string
	must(t, db.QueryRow(text).Scan(&s))
	return s
}

// units is a systemd that runs nothing: it answers from its script.
type units struct {
	states  []string // of the unit, one a look; the last one stays
	looks   int
	runs    []host.Transient
	answer  func(run int, t host.Transient) (host.Result, error)
	stopped []string
}

func (u *units) Show(context.Context, string, ...string) (map[string]string, error) {
	state := u.states[min(u.looks, len(u.states)-1)]
	u.looks++
	return map[string]string{"LoadState": "loaded", "ActiveState": state}, nil
}

func (u *units) Stop(_ context.Context, units ...string) error {
	u.stopped = append(u.stopped, units...)
	return nil
}

func (u *units) RunTransient(_ context.Context, t host.Transient) (host.Result, error) {
	u.runs = append(u.runs, t)
	return u.answer(len(u.runs), t)
}

func request(t *testing.T) appliance.MigrateRequest {
	t.Helper()
	return appliance.MigrateRequest{
		Stack: "delivery", User: 65532, Migrations: "/bundle/migrations", VolumeDir: "/volume",
		Database: stacks.Database{Engine: "sqlite", Volume: "data", Path: "coop.db"},
	}
}

func reportText(text string) func(int, host.Transient) (host.Result, error) {
	return func(int, host.Transient) (host.Result, error) { return host.Result{Stdout: []byte(text)}, nil }
}

func TestReports(t *testing.T) {
	killed := &host.ExitError{Name: "systemd-run", Code: 255, Stderr: "killed"}
	for name, c := range map[string]struct {
		answer func(int, host.Transient) (host.Result, error)
		id     string
	}{
		"nothing printed":      {reportText(""), "migrate.broken-off"},
		"half a report":        {reportText(`{"schema":1,"migr`), "migrate.broken-off"},
		"a report of nothing":  {reportText(`{"schema":1}`), "migrate.broken-off"},
		"an unknown schema":    {reportText(`{"schema":2,"migrated":{}}`), "migrate.broken-off"},
		"a report without end": {reportText(strings.Repeat(" ", 2<<20)), "migrate.broken-off"},
		"killed": {func(int, host.Transient) (host.Result, error) { return host.Result{}, killed },
			"migrate.broken-off"},
		"failed":       {reportText(`{"schema":1,"failure":{"reason":"failed","file":"2.sql"}}`), "migrate.failed"},
		"newer":        {reportText(`{"schema":1,"failure":{"reason":"newer"}}`), "migrate.newer"},
		"out of order": {reportText(`{"schema":1,"failure":{"reason":"out-of-order"}}`), "migrate.out-of-order"},
		"unreadable":   {reportText(`{"schema":1,"failure":{"reason":"unreadable"}}`), "migrate.unreadable"},
		"no database":  {reportText(`{"schema":1,"failure":{"reason":"no-database"}}`), "migrate.no-database"},
	} {
		t.Run(name, func(t *testing.T) {
			m := migrate.New(&units{states: []string{"inactive"}, answer: c.answer}, "/usr/bin/rochdale")
			_, err := m.Up(t.Context(), request(t))
			wantProblem(t, err, c.id)
		})
	}
}

// TestForgottenFacts has children that know nothing of facts: what is not measured
// must not pass for what is the same.
func TestForgottenFacts(t *testing.T) {
	facts := map[string]stacks.Fact{"jobs": {Database: "queue", SQL: "select count(*) from jobs"}}
	u := &units{states: []string{"inactive"}, answer: reportText(`{"schema":1,"migrated":{"to":3},"done":{"facts":{"other":1}}}`)}
	r := request(t)
	r.Facts = facts
	_, err := migrate.New(u, "/usr/bin/rochdale").Up(t.Context(), r)
	wantProblem(t, err, "migrate.broken-off")
	d := migrate.NewData(u, "/usr/bin/rochdale", nobody{}, nil)
	_, err = d.Copy(t.Context(), mixed(t, 1), mixed(t, 2), facts)
	wantProblem(t, err, "migrate.data-broken-off")
	_, err = d.Facts(t.Context(), mixed(t, 1), facts)
	wantProblem(t, err, "migrate.data-broken-off")
}

func TestWaitsForLeftover(t *testing.T) {
	u := &units{states: []string{"active", "deactivating", "inactive", "activating", "failed"}}
	u.answer = func(run int, _ host.Transient) (host.Result, error) {
		if run == 1 { // another process was faster
			return host.Result{}, errors.Join(host.ErrNotBegun, &host.ExitError{Code: 1, Stderr: "Failed to start transient service unit: Unit rochdale-migrate-delivery.service was already loaded or has a fragment file."})
		}
		return host.Result{Stdout: []byte(`{"schema":1,"migrated":{"from":1,"to":3}}`)}, nil
	}
	done, err := migrate.New(u, "/usr/bin/rochdale").Up(t.Context(), request(t))
	must(t, err)
	if done.To != 3 || len(u.runs) != 2 || u.looks != 5 {
		t.Errorf("%+v after %d runs and %d looks", done, len(u.runs), u.looks)
	}
}

func TestRefusesUnsafeRequests(t *testing.T) {
	u := &units{states: []string{"inactive"}, answer: reportText(`{"schema":1,"migrated":{}}`)}
	for name, spoil := range map[string]func(*appliance.MigrateRequest){
		"as root":             func(r *appliance.MigrateRequest) { r.User = 0 },
		"a path out":          func(r *appliance.MigrateRequest) { r.Database.Path = "../../etc/passwd" },
		"an absolute path":    func(r *appliance.MigrateRequest) { r.Database.Path = "/etc/passwd" },
		"a stack with dots":   func(r *appliance.MigrateRequest) { r.Stack = "a/../b" },
		"a folder with space": func(r *appliance.MigrateRequest) { r.VolumeDir = "/volume /etc" },
		"a folder with colon": func(r *appliance.MigrateRequest) { r.Migrations = "/m:/etc" },
		"a climbing folder":   func(r *appliance.MigrateRequest) { r.VolumeDir = "/volume/../etc" },
		"an unknown engine":   func(r *appliance.MigrateRequest) { r.Database.Engine = "oracle" },
		"a host name": func(r *appliance.MigrateRequest) {
			r.Database.Engine, r.Address, r.PasswordFile = "postgres", "db:5432", os.DevNull
		},
	} {
		r := request(t)
		spoil(&r)
		if _, err := migrate.New(u, "/usr/bin/rochdale").Up(t.Context(), r); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
	if len(u.runs) != 0 {
		t.Errorf("%d units were started", len(u.runs))
	}
}

// TestCage holds everything that locks the child in against a golden file.
func TestCage(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(secret, []byte("sesame\n"), 0o600))
	postgres := request(t)
	postgres.Database, postgres.Generation = stacks.Database{Engine: "postgres", Service: "db", Name: "coop"}, 7
	postgres.Address, postgres.PasswordFile = "172.18.0.2:5432", secret
	postgres.Facts = map[string]stacks.Fact{"jobs": {Database: "main", SQL: "select count(*) from jobs"}}
	for name, r := range map[string]appliance.MigrateRequest{"sqlite": request(t), "postgres": postgres} {
		u := &units{states: []string{"inactive"}, answer: reportText(`{"schema":1,"migrated":{"facts":{"jobs":0}}}`)}
		_, err := migrate.New(u, "/usr/bin/rochdale").Up(t.Context(), r)
		must(t, err)
		golden(t, filepath.Join("testdata", name+".golden"), described(t, u.runs[0]))
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if got != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, got)
	}
}
