// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package migrate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/migrate"
)

func realData(t *testing.T, units migrate.Units) migrate.Data {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	return migrate.NewData(units, self, nil, slog.New(slog.DiscardHandler))
}

// realSite is two generations as the daemon lays them out: the folders above the
// volumes are root's, and others may only pass through.
func realSite(t *testing.T, stack string) (from, to appliance.DataPlace) {
	t.Helper()
	top := filepath.Join("/var/lib/rochdale-test", stack)
	must(t, os.RemoveAll(top))
	t.Cleanup(func() { must(t, os.RemoveAll(top)) })
	from, to = liteplace(t, top, 1), liteplace(t, top, 2)
	from.Stack, to.Stack = stack, stack
	must(t, errors.Join(os.Chmod(top, 0o711), os.Chmod(filepath.Dir(top), 0o711)))
	return from, to
}

func TestRealCopy(t *testing.T) {
	from, to := realSite(t, "real-copy")
	acknowledged := killedWriter(t, from, "wal")
	must(t, os.WriteFile(filepath.Join(from.Volumes["files"], "photo"), []byte("photo"), 0o640))
	must(t, os.Symlink("/etc/shadow", filepath.Join(from.Volumes["files"], "link")))
	giveAll(t, from.Volumes["files"])
	d := realData(t, systemd)
	_, err := d.CopyFiles(t.Context(), from, to)
	must(t, err)
	done, err := d.Copy(t.Context(), from, to, count("main", "log"))
	must(t, err)
	if got, want := dump(t, dbFile(to)), dump(t, dbFile(from)); got != want || acknowledged < 200 {
		t.Errorf("the copy of %d bytes holds\n%s\nthe original\n%s", done.Bytes, got, want)
	}
	info, err := os.Stat(filepath.Join(to.Volumes["files"], "photo"))
	must(t, err)
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != stackUser || info.Mode().Perm() != 0o640 {
		t.Errorf("the file belongs to %d, mode %v", owner.Uid, info.Mode())
	}
	if target, err := os.Readlink(filepath.Join(to.Volumes["files"], "link")); target != "/etc/shadow" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	got, err := d.Facts(t.Context(), to, count("main", "log"))
	must(t, err)
	size, err := d.Size(t.Context(), to)
	must(t, err)
	if got["log"] < int64(acknowledged) || got["log"] != done.Facts["log"] || size < done.Bytes/2 {
		t.Errorf("facts %v, with the copy %v, size %d", got, done.Facts, size)
	}
}

func TestRealSnapshot(t *testing.T) {
	from, to := realSite(t, "real-snapshot")
	rows(t, from, "create table log (n)", "insert into log values (1), (2)")
	into := owned(t, filepath.Dir(filepath.Dir(from.Volumes["data"])), "into")
	d := realData(t, systemd)
	s, err := d.Snapshot(t.Context(), from, into, count("main", "log"))
	must(t, err)
	if s.Facts["log"] != 2 || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	must(t, d.Load(t.Context(), into, to))
	if got := query(t, dbFile(to), "select count(*) from log"); got != "2" {
		t.Errorf("loaded were %s rows", got)
	}
}

// TestRealDataLinks has links where root would follow them out of a volume.
func TestRealDataLinks(t *testing.T) {
	from, to := realSite(t, "real-data-links")
	outside := filepath.Join(t.TempDir(), "outside.db")
	must(t, os.WriteFile(outside, []byte("dear"), 0o666))
	must(t, os.Symlink(outside, dbFile(from)))
	d := realData(t, systemd)
	_, err := d.Copy(t.Context(), from, to, nil)
	wantProblem(t, err, "migrate.no-database")
	_, err = d.Facts(t.Context(), from, count("main", "log"))
	wantProblem(t, err, "migrate.no-database")
	must(t, os.Remove(dbFile(from)))
	rows(t, from, "create table log (n)")
	must(t, os.Symlink(outside, dbFile(to)))
	must(t, os.Symlink(outside, dbFile(to)+"-wal"))
	_, err = d.Copy(t.Context(), from, to, nil)
	must(t, err)
	if read(t, outside) != "dear" {
		t.Error("the child wrote outside of its volume")
	}
	if info, err := os.Lstat(dbFile(to)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the copy is %v, %v", info, err)
	}
}

func TestRealDataCage(t *testing.T) {
	from, to := realSite(t, "real-data-cage")
	rows(t, from, "create table log (n)")
	var seen bytes.Buffer
	_, err := realData(t, tee{spy{systemd}, &seen}).Copy(t.Context(), from, to, nil)
	wantProblem(t, err, "migrate.data-broken-off")
	self, err := os.Executable()
	must(t, err)
	var v view
	must(t, json.Unmarshal(seen.Bytes(), &v))
	for what, ok := range map[string]bool{
		"only its own files": strings.Join(v.Files, " ") == "/from/data/rows/coop.db "+self,
		"no network":         v.Network != "",
		"cannot write root":  strings.Contains(v.RootWrite, "read-only"),
		"files are safe":     strings.Contains(v.FilesWrite, "read-only"),
		"target writable":    v.TargetWrite == "",
		"no powers left":     v.Capabilities == 0,
		"not root again":     v.RootAgain != "",
		"no new powers":      v.NoNewPrivileges == 1,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, v)
		}
	}
}

// TestRealCopyLeftover loses the parent in the middle: the unit goes on, and the
// next copy waits for it. Halt ends what nobody waits for.
func TestRealCopyLeftover(t *testing.T) {
	from, to := realSite(t, "real-copy-left")
	rows(t, from, "create table log (n integer primary key, text)", "insert into log with recursive c(x) as (select 1 union all select x + 1 from c where x < 1500000) select x, 'some text to fill the pages with' from c")
	unit := migrate.DataUnit("copy", from.Stack)
	lose := func() {
		t.Helper()
		asked, err := json.Marshal([]appliance.DataPlace{from, to})
		must(t, err)
		self, err := os.Executable()
		must(t, err)
		parent := exec.Command(self, "be-copying-parent", string(asked))
		parent.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		must(t, parent.Start())
		wait(t, "the unit", func() bool {
			p, err := systemd.Show(t.Context(), unit, "ActiveState")
			return err == nil && p["ActiveState"] == "active"
		})
		must(t, syscall.Kill(-parent.Process.Pid, syscall.SIGKILL)) // systemd-run with it, as a killed service has it
		if err := parent.Wait(); err == nil {
			t.Fatal("the first run ended before it was killed")
		}
	}
	lose()
	d := realData(t, systemd)
	_, err := d.Copy(t.Context(), from, to, nil)
	must(t, err)
	if got := query(t, dbFile(to), "select count(*) from log"); got != "1500000" {
		t.Errorf("%s rows", got)
	}
	must(t, os.Remove(dbFile(to)))
	lose()
	must(t, d.Halt(t.Context(), from.Stack))
	p, err := systemd.Show(t.Context(), unit, "ActiveState")
	must(t, err)
	if _, err := os.Lstat(dbFile(to)); p["ActiveState"] == "active" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Halt the unit is %v, the copy %v", p, err)
	}
}
