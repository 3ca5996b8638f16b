// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"rochdale/stacks"
)

// TestSnapshotInUse takes snapshots while a writer never rests. Two tables change
// together: whoever sees two moments sees them differ.
func TestSnapshotInUse(t *testing.T) {
	s := newSite(t)
	into := owned(t, folder(t), "into")
	must(t, os.WriteFile(filepath.Join(into, "earlier.db"), []byte("old"), 0o600))
	rows(t, s.from, "create table log (n integer primary key, text)", "create table twin (n integer primary key)")
	self, err := os.Executable()
	must(t, err)
	writer := exec.Command(self, "write-rows", dbFile(s.from), "wal", "twin")
	said := &lines{}
	writer.Stdout, writer.Stderr = said, t.Output()
	must(t, writer.Start())
	defer func() { _ = writer.Process.Kill(); _ = writer.Wait() }()
	facts := map[string]stacks.Fact{
		"log":  {Database: "main", SQL: "select count(*) from log"},
		"twin": {Database: "main", SQL: "select count(*) from twin"},
	}
	last := int64(0)
	for range 10 {
		wait(t, "a new row", func() bool { return said.n.Load() > last })
		snapshot, err := s.data.Snapshot(t.Context(), s.from, into, facts)
		must(t, err)
		file := filepath.Join(into, snapshot.Files["main"])
		if snapshot.Facts["log"] != snapshot.Facts["twin"] || strconv.FormatInt(snapshot.Facts["log"], 10) != query(t, file, "select count(*) from log") {
			t.Fatalf("facts %v, the copy has %s rows", snapshot.Facts, query(t, file, "select count(*) from log"))
		}
		if got := query(t, file, "pragma quick_check"); got != "ok" {
			t.Fatal(got)
		}
		if snapshot.Facts["log"] <= last {
			t.Errorf("no row in a snapshot that is new: %d after %d", snapshot.Facts["log"], last)
		}
		last = snapshot.Facts["log"]
	}
	list, err := os.ReadDir(into)
	must(t, err)
	names := []string{}
	for _, e := range list {
		if !strings.HasPrefix(e.Name(), "main.db-") { // made by the queries above
			names = append(names, e.Name())
		}
	}
	if !slices.Equal(names, []string{"main.db"}) {
		t.Errorf("the snapshot has the files %v", names)
	}
}

// lines counts those that a process prints.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) {
	l.n.Add(int64(bytes.Count(p, []byte("\n"))))
	return len(p), nil
}

func TestLoad(t *testing.T) {
	s := newSite(t)
	into := owned(t, folder(t), "into")
	rows(t, s.from, "create table log (n)", "insert into log values (1), (2)")
	_, err := s.data.Snapshot(t.Context(), s.from, into, nil)
	must(t, err)
	rows(t, s.to, "create table log (n)", "insert into log values (99)")
	must(t, os.WriteFile(dbFile(s.to)+"-wal", []byte("an old log"), 0o600))
	giveAll(t, s.to.Volumes["data"])
	must(t, s.data.Load(t.Context(), into, s.to))
	if got := query(t, dbFile(s.to), "select group_concat(n) from log"); got != "1,2" {
		t.Errorf("after loading: %s", got)
	}
	// What is not whole is refused, and what was there stays.
	file := filepath.Join(into, "main.db")
	whole := read(t, file)
	must(t, os.WriteFile(file, []byte(whole[:len(whole)-4096]), 0o600))
	wantProblem(t, s.data.Load(t.Context(), into, s.to), "migrate.damaged")
	must(t, os.Remove(file))
	wantProblem(t, s.data.Load(t.Context(), into, s.to), "migrate.no-snapshot")
	must(t, os.Symlink(dbFile(s.from), file))
	wantProblem(t, s.data.Load(t.Context(), into, s.to), "migrate.copy-failed")
	if got := query(t, dbFile(s.to), "select group_concat(n) from log"); got != "1,2" {
		t.Errorf("after loads that failed: %s", got)
	}
}

// TestDamagedDatabase spoils a page: no snapshot of it may count.
func TestDamagedDatabase(t *testing.T) {
	s := newSite(t)
	into := owned(t, folder(t), "into")
	rows(t, s.from, "create table log (n integer primary key, text)", "create index i on log (text)",
		"insert into log with recursive c(x) as (select 1 union all select x + 1 from c where x < 20000) select x, 'text ' || x from c")
	f, err := os.OpenFile(dbFile(s.from), os.O_WRONLY, 0)
	must(t, err)
	for at := int64(10); at < 60; at += 7 {
		_, err = f.WriteAt([]byte(strings.Repeat("garbage ", 512)), at*4096)
		must(t, err)
	}
	must(t, f.Close())
	if _, err := s.data.Snapshot(t.Context(), s.from, into, nil); err == nil {
		t.Error("a snapshot was made of it")
	}
	if left, err := os.ReadDir(into); err != nil || len(left) != 0 {
		t.Errorf("in the folder are %v", left)
	}
}

// TestFullDisk copies and saves onto a disk that is too small.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	rows(t, s.from, "create table log (n)", "insert into log values (zeroblob(8000000))")
	must(t, os.WriteFile(filepath.Join(s.from.Volumes["files"], "photo"), []byte(strings.Repeat("photo", 1<<20)), 0o600))
	giveAll(t, s.from.Volumes["files"])
	small := smallDisk(t, 4<<20)
	for what, do := range map[string]func() error{
		"a database": func() error {
			to := s.to
			to.Volumes = map[string]string{"data": owned(t, small, "data")}
			_, err := s.data.Copy(t.Context(), s.from, to, nil)
			return err
		},
		"files": func() error {
			to := s.to
			to.Databases, to.Volumes = nil, map[string]string{"files": owned(t, small, "files")}
			_, err := s.data.Copy(t.Context(), s.from, to, nil)
			return err
		},
		"files of a stack in use": func() error {
			to := s.to
			to.Volumes = map[string]string{"files": owned(t, small, "files")}
			_, err := s.data.CopyFiles(t.Context(), s.from, to)
			return err
		},
		"a snapshot": func() error {
			_, err := s.data.Snapshot(t.Context(), s.from, owned(t, small, "into"), nil)
			return err
		},
	} {
		err := do()
		wantProblem(t, err, "migrate.disk-full")
		t.Log(what, err)
		must(t, os.RemoveAll(filepath.Join(small, "data")))
		must(t, os.RemoveAll(filepath.Join(small, "files")))
		if left, err := os.ReadDir(filepath.Join(small, "into")); err == nil && len(left) != 0 {
			t.Errorf("%s left %v", what, left)
		}
	}
	_, err := s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err) // the original is what it was
}

// smallDisk is a file system of a few bytes.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", size)); err != nil {
		t.Fatal("this test needs root, for a small disk: ", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}
