// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

// site is two generations of a stack's data on this machine.
type site struct {
	t     *testing.T
	units *processes
	data  migrate.Data
	log   *strings.Builder
	from  appliance.DataPlace
	to    appliance.DataPlace
}

func newSite(t *testing.T) *site {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	s := &site{t: t, units: newProcesses(t), log: &strings.Builder{}}
	s.data = migrate.NewData(s.units, self, nil, slog.New(slog.NewTextHandler(s.log, nil)))
	dir := folder(t)
	s.from, s.to = liteplace(t, dir, 1), liteplace(t, dir, 2)
	return s
}

// liteplace is one generation with an SQLite database, and a volume of files.
func liteplace(t *testing.T, dir string, generation int64) appliance.DataPlace {
	t.Helper()
	p := appliance.DataPlace{
		Stack: "delivery", User: childUser(), Generation: generation, Volumes: map[string]string{},
		Databases: map[string]stacks.Database{"main": {Engine: "sqlite", Volume: "data", Path: "rows/coop.db"}},
	}
	for _, volume := range []string{"data", "files"} {
		p.Volumes[volume] = owned(t, dir, strconv.FormatInt(generation, 10), volume)
	}
	owned(t, p.Volumes["data"], "rows")
	return p
}

func dbFile(p appliance.DataPlace) string { return filepath.Join(p.Volumes["data"], "rows", "coop.db") }

// rows runs statements in the place's database, as the stack does.
func rows(t *testing.T, p appliance.DataPlace, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+dbFile(p)+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
	must(t, err)
	for _, s := range statements {
		_, err := db.Exec(s)
		must(t, err)
	}
	must(t, db.Close())
	giveAll(t, p.Volumes["data"])
}

// giveAll gives everything in a folder to the stack.
func giveAll(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, childUser(), childUser()))
	}))
}

func count(database, table string) map[string]stacks.Fact {
	return map[string]stacks.Fact{table: {Database: database, SQL: "select count(*) from " + table}}
}

// killedWriter leaves a database as a kill -9 in the middle of its work does: the
// last rows are only in its log. It gives how many rows were acknowledged.
func killedWriter(t *testing.T, p appliance.DataPlace, mode string) int {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "write-rows", dbFile(p), mode)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	acknowledged, buf := "", make([]byte, 4096)
	for !strings.Contains(acknowledged, "begun <nil>\n") {
		n, err := out.Read(buf)
		must(t, err)
		acknowledged += string(buf[:n])
	}
	must(t, cmd.Process.Signal(syscall.SIGKILL))
	_ = cmd.Wait()
	return strings.Count(acknowledged, "\n") - 1
}

// writeRows fills a database as fast as it can and prints a line for each row
// that was acknowledged, until it is killed. It is killed within a transaction.
func writeRows(file, mode string, twin bool) int {
	if id := childUser(); id != os.Geteuid() {
		if err := errors.Join(syscall.Setgid(id), syscall.Setuid(id)); err != nil {
			return 1
		}
	}
	db, err := sql.Open("sqlite", "file:"+file+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode("+mode+")&_pragma=wal_autocheckpoint(50)&_pragma=cache_size(1)&_pragma=synchronous(FULL)")
	if err == nil {
		db.SetMaxOpenConns(1)
		_, err = db.Exec("pragma user_version = 42; pragma application_id = 77; create table if not exists log (n integer, text)")
	}
	for n := 1; err == nil; n++ {
		var tx *sql.Tx
		if tx, err = db.Begin(); err != nil {
			break
		}
		_, err = tx.Exec("insert into log values ((select coalesce(max(n), 0) + 1 from log), ?)", strings.Repeat("text", 700)+time.Now().String())
		if twin && err == nil {
			_, err = tx.Exec("insert into twin select max(n) from log")
		}
		if err == nil {
			err = tx.Commit()
		}
		fmt.Println(n)
		if n == 200 && !twin { // the killer comes in the middle of this one
			_, err := db.Exec("begin immediate; update log set text = text || 'never'; insert into log select n + 1000000, text from log")
			fmt.Println("begun", err)
			select {}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// dump is everything in a database, for comparisons.
func dump(t *testing.T, file string) string {
	t.Helper()
	var b strings.Builder
	for _, text := range []string{
		"select group_concat(sql, ';') from (select sql from sqlite_master order by name)",
		"select count(*) || ' ' || coalesce(sum(n), 0) || ' ' || coalesce(sum(rowid * n), 0) || ' ' || coalesce(max(text), '') from log",
		"select user_version from pragma_user_version",
		"select application_id from pragma_application_id",
		"select journal_mode from pragma_journal_mode",
	} {
		b.WriteString(query(t, file, text) + "\n")
	}
	return b.String()
}

func TestCopyOfAKilledWriter(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t)
			acknowledged := killedWriter(t, s.from, mode)
			if _, err := os.Stat(dbFile(s.from) + map[string]string{"wal": "-wal", "delete": "-journal"}[mode]); err != nil {
				t.Fatalf("the writer left nothing to take into account: %v", err)
			}
			before := read(t, dbFile(s.from))
			// What an earlier, longer life of the target left must not come back.
			rows(t, s.to, "create table log (n)", "insert into log values (1)")
			must(t, os.WriteFile(dbFile(s.to)+"-wal", []byte("an old log"), 0o600))
			giveAll(t, s.to.Volumes["data"])
			done, err := s.data.Copy(t.Context(), s.from, s.to, count("main", "log"))
			must(t, err)
			if mode == "wal" && read(t, dbFile(s.from)) != before {
				t.Error("the original was written to")
			}
			if left, err := filepath.Glob(dbFile(s.to) + "-*"); err != nil || len(left) != 0 {
				t.Errorf("beside the copy are %v", left)
			}
			got, want := dump(t, dbFile(s.to)), dump(t, dbFile(s.from))
			if got != want {
				t.Errorf("the copy holds\n%s\nthe original\n%s", got, want)
			}
			var rows int
			if _, err := fmt.Sscan(strings.Split(got, "\n")[1], &rows); err != nil || rows < acknowledged || done.Facts["log"] != int64(rows) {
				t.Errorf("%d rows of %d acknowledged ones, facts %v, %v", rows, acknowledged, done.Facts, err)
			}
			info, err := os.Stat(dbFile(s.to))
			must(t, err)
			if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != childUser() || done.Bytes < info.Size() {
				t.Errorf("the copy belongs to %d and has %d bytes, %d were told", uid, info.Size(), done.Bytes)
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	return string(data)
}

// TestCopyOfNothing has a database that was never made, and one in the target
// that must not stay.
func TestCopyOfNothing(t *testing.T) {
	s := newSite(t)
	rows(t, s.to, "create table log (n)")
	_, err := s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err)
	if _, err := os.Lstat(dbFile(s.to)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target still has a database: %v", err)
	}
}

// TestMovedDatabase is a release that keeps its database somewhere else.
func TestMovedDatabase(t *testing.T) {
	s := newSite(t)
	rows(t, s.from, "create table log (n)", "insert into log values (7)")
	s.to.Databases = map[string]stacks.Database{"main": {Engine: "sqlite", Volume: "files", Path: "new.db"}}
	_, err := s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err)
	if got := query(t, filepath.Join(s.to.Volumes["files"], "new.db"), "select n from log"); got != "7" {
		t.Errorf("the moved database holds %s", got)
	}
	if _, err := os.Lstat(dbFile(s.to)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is also where it was: %v", err)
	}
}

// TestCopyAgain kills the child in the middle, and then the caller, and wants the
// next copy to be whole.
func TestCopyAgain(t *testing.T) {
	s := newSite(t)
	rows(t, s.from, "create table log (n integer primary key, text)", "insert into log with recursive c(x) as (select 1 union all select x + 1 from c where x < 400000) select x, 'some text to fill the pages with' from c")
	temp := filepath.Join(filepath.Dir(dbFile(s.to)), ".coop.db.rochdale-tmp")
	child, killed := s.caught(t.Context(), temp)
	must(t, child.Signal(syscall.SIGKILL))
	wantProblem(t, <-killed, "migrate.data-broken-off")

	ctx, cancel := context.WithCancel(t.Context())
	child, killed = s.caught(ctx, temp)
	cancel() // the child goes on
	if err := <-killed; !errors.Is(err, context.Canceled) {
		t.Fatalf("the caller was told %v", err)
	}
	before := s.units.runs
	must(t, child.Signal(syscall.SIGCONT))
	_, err := s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err)
	if got := query(t, dbFile(s.to), "select count(*) || ' ' || sum(n) from log"); got != "400000 80000200000" {
		t.Errorf("the copy holds %s", got)
	}
	if _, err := os.Lstat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a half copy is left: %v", err)
	}
	if s.units.runs != before+1 {
		t.Errorf("%d children more", s.units.runs-before)
	}
}

// caught starts a copy and stops its child when the file is half there. One that
// was faster is let go, and another one caught.
func (s *site) caught(ctx context.Context, half string) (*os.Process, <-chan error) {
	s.t.Helper()
	for range 50 {
		ended := make(chan error, 1)
		must(s.t, errors.Join(os.RemoveAll(half), os.RemoveAll(dbFile(s.to))))
		go func() {
			_, err := s.data.Copy(ctx, s.from, s.to, nil)
			ended <- err
		}()
		wait(s.t, "the copy", func() bool {
			info, err := os.Stat(half)
			_, there := os.Stat(dbFile(s.to))
			return err == nil && info.Size() > 0 || there == nil
		})
		if u := s.units.active(migrate.DataUnit("copy", "delivery")); u != nil && u.cmd.Process.Signal(syscall.SIGSTOP) == nil {
			if _, err := os.Stat(half); err == nil {
				return u.cmd.Process, ended
			}
			must(s.t, u.cmd.Process.Signal(syscall.SIGCONT))
		}
		must(s.t, <-ended)
	}
	s.t.Fatal("no copy was caught in the middle")
	return nil, nil
}

// TestHalt ends a copy that nobody waits for any more.
func TestHalt(t *testing.T) {
	s := newSite(t)
	must(t, s.data.Halt(t.Context(), "delivery")) // nothing to end
	rows(t, s.from, "create table log (n integer primary key, text)", "insert into log with recursive c(x) as (select 1 union all select x + 1 from c where x < 400000) select x, 'some text to fill the pages with' from c")
	ended := make(chan error, 1)
	go func() {
		_, err := s.data.Copy(t.Context(), s.from, s.to, nil)
		ended <- err
	}()
	wait(t, "the copy", func() bool { return s.units.active(migrate.DataUnit("copy", "delivery")) != nil })
	must(t, s.data.Halt(t.Context(), "other"))
	must(t, s.data.Halt(t.Context(), "delivery"))
	wantProblem(t, <-ended, "migrate.data-broken-off")
	if _, err := os.Lstat(dbFile(s.to)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy that was ended is there: %v", err)
	}
}

// TestCopyOfFiles has what a stack can make that is hard to copy with its uid.
func TestCopyOfFiles(t *testing.T) {
	s := newSite(t)
	from, to := s.from.Volumes["files"], s.to.Volumes["files"]
	must(t, os.MkdirAll(filepath.Join(from, "locked", "deeper"), 0o700))
	for _, name := range []string{"locked/file", "locked/deeper/file", "photo"} {
		must(t, os.WriteFile(filepath.Join(from, name), []byte(name), 0o400))
		must(t, os.Chtimes(filepath.Join(from, name), time.Unix(1e9, 5), time.Unix(1e9, 5)))
	}
	must(t, os.Symlink("/etc/shadow", filepath.Join(from, "link")))
	must(t, syscall.Mkfifo(filepath.Join(from, "pipe"), 0o600))
	giveAll(t, from)
	must(t, os.Chmod(filepath.Join(from, "locked", "deeper"), 0o500))
	must(t, os.Chmod(filepath.Join(from, "locked"), 0o500))
	n, err := s.data.CopyFiles(t.Context(), s.from, s.to)
	must(t, err)
	if n != int64(len("locked/file"+"locked/deeper/file"+"photo")) {
		t.Errorf("%d bytes in the first pass", n)
	}
	second, err := s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err)
	if second.Bytes != 0 {
		t.Errorf("%d bytes in the second pass", second.Bytes)
	}
	for _, name := range []string{"locked/file", "locked/deeper/file", "photo"} {
		info, err := os.Lstat(filepath.Join(to, name))
		must(t, err)
		if info.Mode() != 0o400 || !info.ModTime().Equal(time.Unix(1e9, 5)) || read(t, filepath.Join(to, name)) != name || int(info.Sys().(*syscall.Stat_t).Uid) != childUser() {
			t.Errorf("%s is %v of %v", name, info.Mode(), info.ModTime())
		}
	}
	if info, err := os.Stat(filepath.Join(to, "locked", "deeper")); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("the folder is %v, %v", info.Mode(), err)
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); target != "/etc/shadow" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if !strings.Contains(s.log.String(), "were not copied") || !strings.Contains(s.log.String(), "pipe") {
		t.Errorf("the log says %q", s.log)
	}
	must(t, os.RemoveAll(filepath.Join(from, "locked")))
	_, err = s.data.Copy(t.Context(), s.from, s.to, nil)
	must(t, err)
	if _, err := os.Lstat(filepath.Join(to, "locked")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what the original lost is still there: %v", err)
	}
}

// TestUnreadableFile has one that the stack itself can not read.
func TestUnreadableFile(t *testing.T) {
	s := newSite(t)
	must(t, os.WriteFile(filepath.Join(s.from.Volumes["files"], "root's"), []byte("secret"), 0o600))
	must(t, os.Chmod(filepath.Join(s.from.Volumes["files"], "root's"), 0))
	_, err := s.data.CopyFiles(t.Context(), s.from, s.to)
	must(t, err) // the second pass tells
	_, err = s.data.Copy(t.Context(), s.from, s.to, nil)
	wantProblem(t, err, "migrate.copy-failed")
	if err == nil || !strings.Contains(err.Error(), "root's") {
		t.Errorf("the file is not named: %v", err)
	}
}

func TestFacts(t *testing.T) {
	s := newSite(t)
	rows(t, s.from, "create table log (n)", "insert into log values (3), (4)")
	ask := func(sql string) (map[string]int64, error) {
		return s.data.Facts(t.Context(), s.from, map[string]stacks.Fact{"one": {Database: "main", SQL: sql}, "two": {Database: "main", SQL: "select count(*) from log"}})
	}
	got, err := ask("select sum(n) from log")
	must(t, err)
	if len(got) != 2 || got["one"] != 7 || got["two"] != 2 {
		t.Errorf("facts %v", got)
	}
	for sql, detail := range map[string]string{
		"select sum(n) from missing":         "no such table",
		"select n from log":                  "more than one row",
		"select n from log where n > 4":      "no row",
		"select n, n from log":               "2 columns",
		"select null":                        "null",
		"select 'seven'":                     "not a whole number",
		"select 1.5":                         "not a whole number",
		"select 7.0":                         "not a whole number",
		"select 1; delete from log":          "",
		"select * from pragma_user_version(": "incomplete",
	} {
		_, err := ask(sql)
		if detail == "" { // the second statement may fail or not be run
			continue
		}
		wantProblem(t, err, "migrate.fact-failed")
		var e *appliance.Error
		if !errors.As(err, &e) || e.Args["fact"] != "one" || !strings.Contains(e.Args["detail"], detail) {
			t.Errorf("%s: %v, want %q", sql, err, detail)
		}
	}
	if got := query(t, dbFile(s.from), "select count(*) from log"); got != "2" {
		t.Errorf("a fact changed the rows: %s", got)
	}
	_, err = s.data.Facts(t.Context(), s.from, count("other", "log"))
	wantProblem(t, err, "migrate.fact-failed")
	must(t, os.Remove(dbFile(s.from)))
	_, err = ask("select 1")
	wantProblem(t, err, "migrate.no-database")
}

// TestCopyMeasures has a database that the new release keeps, and one that it has
// no place for: facts of both are measured by the child that copies.
func TestCopyMeasures(t *testing.T) {
	s := newSite(t)
	rows(t, s.from, "create table log (n)", "insert into log values (3), (4)")
	s.from.Volumes["past"] = owned(t, filepath.Dir(s.from.Volumes["data"]), "past")
	s.from.Databases["old"] = stacks.Database{Engine: "sqlite", Volume: "past", Path: "old.db"}
	must(t, os.WriteFile(filepath.Join(s.from.Volumes["past"], "old.db"), []byte(read(t, dbFile(s.from))), 0o600))
	giveAll(t, s.from.Volumes["past"])
	copied := func(facts map[string]stacks.Fact) (appliance.Copied, error) {
		return s.data.Copy(t.Context(), s.from, s.to, facts)
	}
	got, err := copied(map[string]stacks.Fact{"kept": {Database: "main", SQL: "select sum(n) from log"}, "left": {Database: "old", SQL: "select count(*) from log"}})
	must(t, err)
	if len(got.Facts) != 2 || got.Facts["kept"] != 7 || got.Facts["left"] != 2 || got.Bytes == 0 || s.units.runs != 1 {
		t.Errorf("%+v of %d children", got, s.units.runs)
	}
	_, err = copied(count("other", "log"))
	wantProblem(t, err, "migrate.fact-failed")
	if s.units.runs != 1 {
		t.Error("a child was started for a fact of no database")
	}
	must(t, os.Remove(dbFile(s.to)))
	for _, text := range []string{"select sum(n) from missing", "insert into log values (9) returning n", "select 1; delete from log"} {
		_, err = copied(map[string]stacks.Fact{"bad": {Database: "main", SQL: text}})
		wantProblem(t, err, "migrate.fact-failed")
		if _, err := os.Lstat(dbFile(s.to)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it was copied all the same", text)
		}
	}
	if got := query(t, dbFile(s.from), "select sum(n) from log"); got != "7" {
		t.Errorf("a fact changed the rows: %s", got)
	}
}

// TestNothingToMeasure starts nothing.
func TestNothingToMeasure(t *testing.T) {
	s := newSite(t)
	got, err := s.data.Facts(t.Context(), s.from, nil)
	must(t, err)
	if got == nil || len(got) != 0 || s.units.runs != 0 {
		t.Errorf("facts %v of %d children", got, s.units.runs)
	}
}

func TestSize(t *testing.T) {
	s := newSite(t)
	must(t, os.WriteFile(filepath.Join(s.from.Volumes["files"], "photo"), make([]byte, 3<<20), 0o600))
	hole, err := os.Create(filepath.Join(s.from.Volumes["files"], "hole"))
	must(t, err)
	must(t, hole.Truncate(1<<40))
	must(t, hole.Close())
	reserved, err := os.Create(filepath.Join(s.from.Volumes["files"], "reserved"))
	must(t, err)
	must(t, syscall.Fallocate(int(reserved.Fd()), 0, 0, 64<<20))
	must(t, reserved.Close())
	giveAll(t, s.from.Volumes["files"])
	rows(t, s.from, "create table log (n)", "insert into log values (zeroblob(5000000))")
	n, err := s.data.Size(t.Context(), s.from)
	must(t, err)
	if n < 67<<20+5000000 || n > 76<<20 {
		t.Errorf("%d bytes", n)
	}
}
