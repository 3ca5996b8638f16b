// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package migrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

// These tests need a systemd of their own: they run inside a test machine.

const stackUser = 65532

var systemd = host.Systemd{Runner: host.Exec{}}

func realMigrator(t *testing.T, units migrate.Units) migrate.Migrator {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return migrate.New(units, self)
}

// box is a database folder of a stack as the daemon lays it out: nobody but
// root may pass through the folders above it.
func box(t *testing.T, stack string, files map[string]string) appliance.MigrateRequest {
	t.Helper()
	top := filepath.Join("/var/lib/rochdale-test", stack)
	must(t, os.RemoveAll(top))
	t.Cleanup(func() { must(t, os.RemoveAll(top)) })
	must(t, os.MkdirAll(filepath.Join(top, "bundle"), 0o700))
	r := appliance.MigrateRequest{
		Stack: stack, User: stackUser, Database: stacks.Database{Engine: "sqlite", Volume: "data", Path: "coop.db"},
		Migrations: filepath.Join(top, "bundle", "migrations"), VolumeDir: filepath.Join(top, "volume"),
	}
	must(t, os.Mkdir(r.Migrations, 0o755))
	must(t, os.Mkdir(r.VolumeDir, 0o700))
	must(t, os.Chown(r.VolumeDir, stackUser, stackUser))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(r.Migrations, name), []byte(text), 0o644))
	}
	return r
}

func TestRealUp(t *testing.T) {
	m := realMigrator(t, systemd)
	r := box(t, "real-up", good())
	status, err := m.Status(t.Context(), r)
	must(t, err)
	if status.Current != 0 || status.Newest != 3 || len(status.Pending) != 3 {
		t.Errorf("status %+v", status)
	}
	if left, err := os.ReadDir(r.VolumeDir); err != nil || len(left) != 0 {
		t.Errorf("looking made files: %v %v", left, err)
	}
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.From != 0 || done.To != 3 || len(done.Applied) != 3 || done.Applied[0].File != "00001_first.sql" {
		t.Errorf("migrated %+v", done)
	}
	info, err := os.Stat(filepath.Join(r.VolumeDir, "coop.db"))
	must(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid != stackUser || owner.Gid != stackUser || info.Mode().Perm() != 0o600 {
		t.Errorf("the database belongs to %d:%d, mode %v", owner.Uid, owner.Gid, info.Mode())
	}
	r.Facts = count("main", "b")
	done, err = m.Up(t.Context(), r)
	must(t, err)
	if done.From != 3 || done.To != 3 || len(done.Applied) != 0 || done.Facts["b"] != 1 {
		t.Errorf("again: %+v", done)
	}
}

func TestRealFailure(t *testing.T) {
	m := realMigrator(t, systemd)
	r := box(t, "real-failure", bad())
	_, err := m.Up(t.Context(), r)
	wantFailure(t, err, "migrate.failed", migrate.Failure{Reason: migrate.Failed, File: "00002_second.sql", Current: 1, Newest: 3})
	t.Log(err)
}

// TestRealSymlinks puts links where root would follow them out of the volume.
func TestRealSymlinks(t *testing.T) {
	m := realMigrator(t, systemd)
	outside := filepath.Join(t.TempDir(), "outside.db")
	must(t, os.Chmod(filepath.Dir(outside), 0o777))
	for name, link := range map[string]func(volume string) error{
		"the database is a link": func(v string) error { return os.Symlink(outside, filepath.Join(v, "coop.db")) },
		"its log is a link":      func(v string) error { return os.Symlink(outside, filepath.Join(v, "coop.db-wal")) },
		"a link to a device":     func(v string) error { return os.Symlink("/dev/sda", filepath.Join(v, "coop.db")) },
	} {
		r := box(t, "real-links", good())
		must(t, link(r.VolumeDir))
		_, err := m.Up(t.Context(), r)
		t.Logf("%s: %v", name, err)
		if _, err := os.Lstat(outside); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: followed out of the volume (%v)", name, err)
		}
	}
	r := box(t, "real-attach", map[string]string{"00001_first.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nattach '" + outside + "' as o;\ncreate table o.t (a);\n"})
	_, err := m.Up(t.Context(), r)
	if err == nil {
		t.Error("a migration attached a database of the machine")
	}
	if _, err := os.Lstat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Error("a migration wrote outside of its volume")
	}
}

// spy runs another verb of the test binary in the same cage.
type spy struct{ host.Systemd }

func (s spy) RunTransient(ctx context.Context, t host.Transient) (host.Result, error) {
	t.Args = []string{"look-around"}
	return s.Systemd.RunTransient(ctx, t)
}

func TestRealCage(t *testing.T) {
	var seen bytes.Buffer
	_, err := realMigrator(t, tee{spy{systemd}, &seen}).Up(t.Context(), box(t, "real-cage", good()))
	wantProblem(t, err, "migrate.broken-off")
	t.Logf("%s %v", seen.String(), err)
	self, err := os.Executable()
	must(t, err)
	var v view
	must(t, json.Unmarshal(seen.Bytes(), &v))
	for what, ok := range map[string]bool{
		"only its own files": strings.Join(v.Files, " ") == "/migrations/00001_first.sql /migrations/00002_second.sql /migrations/00003_third.sql "+self,
		"no network":         v.Network != "",
		"cannot write root":  strings.Contains(v.RootWrite, "read-only"),
		"migrations safe":    strings.Contains(v.MigrationsWrite, "read-only"),
		"data writable":      v.DataWrite == "",
		"no powers left":     v.Capabilities == 0,
		"not root again":     v.RootAgain != "",
		"no new powers":      v.NoNewPrivileges == 1,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

// tee keeps what a unit printed.
type tee struct {
	migrate.Units
	to *bytes.Buffer
}

func (x tee) RunTransient(ctx context.Context, t host.Transient) (host.Result, error) {
	res, err := x.Units.RunTransient(ctx, t)
	x.to.Write(res.Stdout)
	return res, err
}

// slow has a second migration that takes seconds.
func slow() map[string]string {
	return map[string]string{
		"00001_first.sql":  "-- +goose Up\ncreate table runs (n integer);\ninsert into runs values (1);\n",
		"00002_second.sql": "-- +goose Up\ncreate table big (a integer);\ninsert into big with recursive c(x) as (select 1 union all select x + 1 from c where x < 3000000) select x from c;\ninsert into runs values (2);\n",
		"00003_third.sql":  "-- +goose Up\ninsert into runs values (3);\n",
	}
}

// working waits until the unit's second migration is under way.
func working(t *testing.T, r appliance.MigrateRequest) {
	t.Helper()
	for {
		info, err := os.Stat(filepath.Join(r.VolumeDir, "coop.db-wal"))
		if err == nil && info.Size() > 1<<20 {
			return
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRealKilledInTheMiddle(t *testing.T) {
	m := realMigrator(t, systemd)
	r := box(t, "real-kill", slow())
	killed := make(chan error, 1)
	go func() {
		_, err := m.Up(t.Context(), r)
		killed <- err
	}()
	working(t, r)
	out, err := exec.Command("systemctl", "kill", "--signal=KILL", migrate.UnitName(r.Stack)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	err = <-killed
	wantProblem(t, err, "migrate.broken-off")
	t.Log(err)
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.From != 1 || done.To != 3 || len(done.Applied) != 2 {
		t.Errorf("after the kill: %+v", done)
	}
	wantRuns(t, r)
}

// TestRealLeftover loses the parent in the middle: the unit goes on, and the
// next run waits for it and applies nothing twice.
func TestRealLeftover(t *testing.T) {
	m := realMigrator(t, systemd)
	r := box(t, "real-leftover", slow())
	asked, err := json.Marshal(r)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	parent := exec.Command(self, "be-parent", string(asked))
	parent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, parent.Start())
	working(t, r)
	must(t, syscall.Kill(-parent.Process.Pid, syscall.SIGKILL)) // systemd-run with it, as a killed service has it
	if err := parent.Wait(); err == nil {
		t.Fatal("the first run ended before it was killed")
	}
	p, err := systemd.Show(t.Context(), migrate.UnitName(r.Stack), "ActiveState")
	must(t, err)
	if p["ActiveState"] != "active" {
		t.Fatalf("the unit did not go on: %v", p)
	}
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.To != 3 || len(done.Applied) != 0 {
		t.Errorf("after the leftover: %+v", done)
	}
	wantRuns(t, r)
}

func TestRealNeverTwiceAtOnce(t *testing.T) {
	m := realMigrator(t, systemd)
	r := box(t, "real-race", slow())
	const racers = 4
	type end struct {
		done appliance.Migrated
		err  error
	}
	ends := make(chan end, racers)
	for range racers {
		go func() {
			done, err := m.Up(t.Context(), r)
			ends <- end{done, err}
		}()
	}
	applied := 0
	for range racers {
		x := <-ends
		must(t, x.err)
		applied += len(x.done.Applied)
	}
	if applied != 3 {
		t.Errorf("%d migrations applied by all together", applied)
	}
	wantRuns(t, r)
}

// wantRuns wants each migration to have run exactly once.
func wantRuns(t *testing.T, r appliance.MigrateRequest) {
	t.Helper()
	if got := query(t, filepath.Join(r.VolumeDir, "coop.db"), "select group_concat(n, ' ') from (select n from runs order by n)"); got != "1 2 3" {
		t.Errorf("migrations that ran: %s", got)
	}
	if got := query(t, filepath.Join(r.VolumeDir, "coop.db"), "select count(*) from big"); got != "3000000" {
		t.Errorf("%s rows", got)
	}
}
