// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

func TestPostgres(t *testing.T) {
	s := newPgSite(t)
	for name, test := range map[string]func(*testing.T, *pgSite){
		"up": pgUp, "copy": pgCopy, "copy again": pgCopyAgain, "facts": pgFacts, "drop": pgDrop, "snapshot": pgSnapshot, "bad dumps": pgBadDumps,
	} {
		t.Run(name, func(t *testing.T) {
			inner := *s
			one := *s.cluster
			one.t, one.spoil, inner.cluster = t, nil, &one
			self, err := os.Executable()
			must(t, err)
			inner.units = newProcesses(t)
			inner.data = migrate.NewData(inner.units, self, &inner, nil)
			for g := range 9 {
				inner.do("postgres", fmt.Sprintf("drop database if exists coop_g%d with (force)", g+1))
			}
			test(t, &inner)
		})
	}
}

func pgUp(t *testing.T, s *pgSite) {
	m := migrate.New(s.units, s.program())
	r := s.request(1, good())
	status, err := m.Status(t.Context(), r)
	must(t, err)
	if status.Current != 0 || status.Newest != 3 || s.has("coop_g1") {
		t.Errorf("looking made something: %+v", status)
	}
	done, err := m.Up(t.Context(), r)
	must(t, err)
	if done.To != 3 || s.ask("coop_g1", "select count(*) from b") != "1" || s.has("coop") {
		t.Errorf("migrated %+v", done)
	}
	s.pgMeasured(r)
	// A stack that migrates by itself only needs the database.
	_, err = s.up(2, nil)
	must(t, err)
	_, err = s.up(2, nil)
	must(t, err)
	if got := s.ask("postgres", "select pg_get_userbyid(datdba) from pg_database where datname = 'coop_g2'"); got != "coop" {
		t.Errorf("the database belongs to %q", got)
	}
	must(t, os.WriteFile(s.password+"-wrong", []byte("wrong"), 0o600))
	r.PasswordFile += "-wrong"
	_, err = m.Up(t.Context(), r)
	wantProblem(t, err, "migrate.no-database")
	if strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), "ses ame") {
		t.Errorf("the password is in %v", err)
	}
}

// pgMeasured measures with migrations, of which one hides a table from its session.
func (s *pgSite) pgMeasured(r appliance.MigrateRequest) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(r.Migrations, "00004_fourth.sql"),
		[]byte("-- +goose NO TRANSACTION\n-- +goose Up\ncreate temp table b (n integer);\n"), 0o644))
	up := func(text string) (appliance.Migrated, error) {
		r.Facts = map[string]stacks.Fact{"rows": {Database: "main", SQL: text}}
		return migrate.New(s.units, s.program()).Up(s.t.Context(), r)
	}
	_, err := up("select count(*) from (select 1 from b for update) rows")
	wantProblem(s.t, err, "migrate.fact-failed")
	if err == nil || !strings.Contains(err.Error(), "read-only transaction") {
		s.t.Errorf("a fact that locks rows: %v", err)
	}
	done, err := up("select count(*) from b")
	must(s.t, err)
	if done.From != 4 || done.To != 4 || done.Facts["rows"] != 1 {
		s.t.Errorf("measured %+v", done)
	}
	if left := s.ask("postgres", "select count(*) from pg_stat_activity where application_name like 'rochdale%'"); left != "0" {
		s.t.Errorf("%s sessions of ours are left", left)
	}
}

// known is all that the server knows about a database and keeps elsewhere.
func (s *pgSite) known(name string) string {
	s.t.Helper()
	var b strings.Builder
	for _, text := range []string{
		"select string_agg(coalesce(r.rolname, '') || ' ' || array_to_string(setconfig, '|'), ';' order by r.rolname) from pg_db_role_setting s join pg_database d on d.oid = setdatabase left join pg_roles r on r.oid = setrole where datname = $1",
		"select string_agg(a::text, ';' order by a::text) from pg_database, unnest(datacl) a where datname = $1",
		"select datconnlimit || ' ' || pg_get_userbyid(datdba) || ' ' || pg_encoding_to_char(encoding) || ' ' || datcollate from pg_database where datname = $1",
	} {
		b.WriteString(s.ask("postgres", strings.ReplaceAll(text, "$1", "'"+name+"'")) + "\n")
	}
	return b.String()
}

// furnished makes a database with everything that a copy leaves out.
func (s *pgSite) furnished(name string) {
	s.t.Helper()
	s.do("postgres", "drop role if exists reader", "drop role if exists keeper", "create role reader", "create role keeper", "create database "+name)
	s.do(name, "create schema extra", "create table jobs (n integer primary key, text text)", "insert into jobs select i, 'job ' || i from generate_series(1, 1000) i")
	s.do("postgres",
		"alter database "+name+" owner to keeper",
		"alter database "+name+` set search_path = "$user", extra, public`,
		"alter database "+name+" set work_mem = '7MB'",
		"alter database "+name+` set "my.words" = 'it''s a \ and a , here'`,
		"alter database "+name+" set DateStyle = 'German, DMY'",
		"alter database "+name+" set default_transaction_read_only = on",
		"alter database "+name+" set statement_timeout = '90s'",
		"alter role reader in database "+name+" set search_path = extra",
		"alter database "+name+" connection limit 42",
		"revoke connect on database "+name+" from public",
		"revoke temporary on database "+name+" from keeper",
		"grant connect on database "+name+" to reader with grant option",
	)
}

func pgCopy(t *testing.T, s *pgSite) {
	s.furnished("coop_g1")
	// The old release left a session in the middle of something.
	session, err := s.open("coop_g1").Conn(t.Context())
	must(t, err)
	_, err = session.ExecContext(t.Context(), "begin; set transaction read write; insert into jobs values (5000, 'never committed')")
	must(t, err)
	before := s.known("coop_g1")
	done, err := s.data.Copy(within(t), s.at(1), s.at(2), map[string]stacks.Fact{"jobs": {Database: "main", SQL: "select count(*) from public.jobs"}})
	must(t, err)
	if got := s.known("coop_g2"); got != before {
		t.Errorf("the copy is known as\n%s\nthe original as\n%s", got, before)
	}
	if got := s.known("coop_g1"); got != before {
		t.Errorf("the original is now known as\n%s\nit was\n%s", got, before)
	}
	if got := s.ask("coop_g2", "select count(*) || ' ' || max(text) from public.jobs"); got != "1000 job 999" || done.Bytes < 1<<20 || done.Facts["jobs"] != 1000 {
		t.Errorf("the copy of %+v holds %s", done, got)
	}
	if err := session.PingContext(t.Context()); err == nil {
		t.Error("the old session is still there")
	}
	// Again, over a copy that went on.
	s.do("coop_g2", "set default_transaction_read_only = off", "delete from public.jobs")
	_, err = s.data.Copy(within(t), s.at(1), s.at(2), nil)
	must(t, err)
	if got := s.ask("coop_g2", "select count(*) from public.jobs"); got != "1000" {
		t.Errorf("the second copy holds %s", got)
	}
	size, err := s.data.Size(t.Context(), s.at(1))
	must(t, err)
	if size < 1<<20 || size > 64<<20 {
		t.Errorf("a size of %d", size)
	}
	// A release whose database was never made, over one that is there.
	_, err = s.data.Copy(within(t), s.at(7), s.at(2), nil)
	must(t, err)
	if s.has("coop_g2") {
		t.Error("the copy of nothing is something")
	}
}

// pgCopyAgain kills the child while the server still copies for it.
func pgCopyAgain(t *testing.T, s *pgSite) {
	s.do("postgres", "create database coop_g1")
	s.do("coop_g1", "create table jobs as select i n, repeat('text', 100) || i as text from generate_series(1, 200000) i")
	kill := func() {
		t.Helper()
		s.do("postgres", "drop database if exists coop_g2")
		// The copy waits for a checkpoint, and this one never ends.
		pid, err := strconv.Atoi(s.ask("postgres", "select pid from pg_stat_activity where backend_type = 'checkpointer'"))
		must(t, err)
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
		defer func() { must(t, syscall.Kill(pid, syscall.SIGCONT)) }()
		killed := make(chan error, 1)
		go func() {
			_, err := s.data.Copy(within(t), s.at(1), s.at(2), nil)
			killed <- err
		}()
		s.session("query like 'create database%'")
		must(t, s.units.active(migrate.DataUnit("copy", "delivery")).cmd.Process.Signal(syscall.SIGKILL))
		wantProblem(t, <-killed, "migrate.data-broken-off")
	}
	kill()
	_, err := s.data.Copy(within(t), s.at(1), s.at(2), nil)
	must(t, err)
	if got := s.ask("coop_g2", "select count(*) || ' ' || sum(n) from jobs"); got != "200000 20000100000" {
		t.Errorf("the copy holds %s", got)
	}
	kill()
	must(t, s.data.Drop(within(t), s.at(2)))
	if s.has("coop_g2") || s.ask("postgres", "select count(*) from pg_stat_activity where application_name = 'rochdale-copy'") != "0" {
		t.Error("the server still copies for a child that is gone")
	}
}

func pgFacts(t *testing.T, s *pgSite) {
	s.do("postgres", "create database coop_g1")
	s.do("coop_g1", "create table postings (amount bigint)", "insert into postings values (5), (-3)")
	facts := map[string]stacks.Fact{
		"ledger": {Database: "main", SQL: "select coalesce(sum(amount), 0) from postings"}, // numeric
		"count":  {Database: "main", SQL: "select count(*) from postings"},
	}
	got, err := s.data.Facts(t.Context(), s.at(1), facts)
	must(t, err)
	if len(got) != 2 || got["ledger"] != 2 || got["count"] != 2 {
		t.Errorf("facts %v", got)
	}
	for text, detail := range map[string]string{
		"select count(*) from missing":                                  "does not exist",
		"select sum(amount) / 2.0 from postings":                        "not a whole number",
		"select amount from postings":                                   "more than one row",
		"select 1, 2":                                                   "2 columns",
		"select sum(amount) from postings where false":                  "null",
		"select nextval('never')":                                       "does not exist",
		"select setval(pg_get_serial_sequence('a', 'n'), 5)":            "does not exist",
		"select count(*) from (select 1 from postings for update) rows": "read-only transaction",
	} {
		_, err := s.data.Facts(t.Context(), s.at(1), map[string]stacks.Fact{"one": {Database: "main", SQL: text}})
		wantProblem(t, err, "migrate.fact-failed")
		var e *appliance.Error
		if !errors.As(err, &e) || !strings.Contains(e.Args["detail"], detail) {
			t.Errorf("%s: %v, want %q", text, err, detail)
		}
	}
	_, err = s.data.Facts(t.Context(), s.at(3), facts)
	wantProblem(t, err, "migrate.no-database")
}

func pgDrop(t *testing.T, s *pgSite) {
	s.do("postgres", "create database coop_g4")
	session, err := s.open("coop_g4").Conn(t.Context())
	must(t, err)
	must(t, session.PingContext(t.Context()))
	must(t, s.data.Drop(within(t), s.at(4)))
	if s.has("coop_g4") || session.PingContext(t.Context()) == nil {
		t.Error("the database or a session in it is still there")
	}
	must(t, s.data.Drop(within(t), s.at(4)))
	runs := s.units.runs
	lite := s.at(4)
	lite.Databases = map[string]stacks.Database{"main": {Engine: "sqlite", Volume: "data", Path: "a.db"}}
	must(t, s.data.Drop(within(t), lite))
	if s.units.runs != runs {
		t.Error("a child was started to drop nothing")
	}
}

// pgSnapshot saves while two tables change together, and loads what was saved.
func pgSnapshot(t *testing.T, s *pgSite) {
	into := owned(t, folder(t), "into")
	s.furnished("coop_g1")
	s.do("coop_g1", "set default_transaction_read_only = off", "create table public.twin (n integer primary key)", "insert into public.twin select n from public.jobs")
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		conn, err := s.open("coop_g1").Conn(t.Context())
		for n := 10000; err == nil; n++ {
			select {
			case <-stop:
				stopped <- conn.Close()
				return
			default:
				_, err = conn.ExecContext(t.Context(), fmt.Sprintf("begin read write; insert into public.jobs values (%d, repeat('text', 500)); insert into public.twin values (%d); commit", n, n))
			}
		}
		stopped <- err
	}()
	facts := map[string]stacks.Fact{
		"jobs": {Database: "main", SQL: "select count(*) from public.jobs"},
		"twin": {Database: "main", SQL: "select count(*) from public.twin"},
	}
	var snapshot appliance.Snapshot
	for range 3 {
		var err error
		snapshot, err = s.data.Snapshot(within(t), s.at(1), into, facts)
		must(t, err)
	}
	close(stop)
	must(t, <-stopped)
	info, err := os.Lstat(filepath.Join(into, snapshot.Files["main"]))
	must(t, err)
	if info.Name() != "main.dump" || info.Size() != snapshot.Bytes || info.Mode() != 0o600 || int(info.Sys().(*syscall.Stat_t).Uid) != childUser() {
		t.Errorf("the dump is %v, told were %+v", info, snapshot)
	}
	if left := s.ask("postgres", "select count(*) from pg_stat_activity where application_name like 'rochdale%'"); left != "0" {
		t.Errorf("%s sessions of ours are left", left)
	}
	s.do("postgres", "create database coop_g3")
	s.do("coop_g3", "create table jobs (wrong integer)")
	must(t, s.data.Load(within(t), into, s.at(3)))
	got := s.ask("coop_g3", "select (select count(*) from public.jobs) || ' ' || (select count(*) from public.twin)")
	if want := fmt.Sprintf("%d %d", snapshot.Facts["jobs"], snapshot.Facts["twin"]); got != want || snapshot.Facts["jobs"] != snapshot.Facts["twin"] {
		t.Errorf("loaded were %s rows, the facts say %s", got, want)
	}
	want := strings.ReplaceAll(s.known("coop_g1"), "keeper UTF8", "coop UTF8")
	if got := s.known("coop_g3"); !strings.HasPrefix(got, strings.SplitAfter(want, "\n")[0]) || !strings.Contains(got, strings.SplitAfter(want, "\n")[2]) {
		t.Errorf("the loaded database is known as\n%s\nthe original as\n%s", got, want)
	}
	must(t, os.Remove(filepath.Join(into, "main.dump")))
	wantProblem(t, s.data.Load(within(t), into, s.at(3)), "migrate.no-snapshot")
	if s.ask("coop_g3", "select count(*) from public.jobs") == "0" {
		t.Error("a snapshot that is not whole took away what was there")
	}
}

// pgBadDumps are those that must not count.
func pgBadDumps(t *testing.T, s *pgSite) {
	s.do("postgres", "create database coop_g1")
	s.do("coop_g1", "create table jobs as select i n, repeat('text', 100) as text from generate_series(1, 3000) i")
	for what, spoil := range map[string]func(p appliance.Program, out []byte, err error) ([]byte, error){
		"nothing": func(appliance.Program, []byte, error) ([]byte, error) { return nil, nil },
		"half":    func(_ appliance.Program, out []byte, err error) ([]byte, error) { return out[:len(out)/2], err },
		"without its end": func(_ appliance.Program, out []byte, err error) ([]byte, error) {
			return out[:max(0, len(out)-1)], err
		},
		"another thing": func(appliance.Program, []byte, error) ([]byte, error) { return []byte("pg_dump: sorry"), nil },
		"a failure": func(_ appliance.Program, out []byte, _ error) ([]byte, error) {
			return out, errors.New("exit code 1")
		},
	} {
		into := owned(t, folder(t), "into")
		s.spoil = func(p appliance.Program, out []byte, err error) ([]byte, error) {
			if p.Argv[0] == "pg_dump" {
				return spoil(p, out, err)
			}
			return out, err
		}
		_, err := s.data.Snapshot(within(t), s.at(1), into, nil)
		wantProblem(t, err, "migrate.dump-failed")
		t.Log(what, err)
		if left, err := os.ReadDir(into); err != nil || len(left) != 0 {
			t.Errorf("%s: left were %v", what, left)
		}
	}
	s.spoil = nil
	into := owned(t, folder(t), "into")
	_, err := s.data.Snapshot(within(t), s.at(1), into, nil)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(into, "main.dump"), []byte("PGDMP and no more"), 0o600))
	wantProblem(t, s.data.Load(within(t), into, s.at(3)), "migrate.restore-failed")
	_, err = s.data.Snapshot(within(t), s.at(3), into, map[string]stacks.Fact{"bad": {Database: "main", SQL: "select count(*) from nothing"}})
	wantProblem(t, err, "migrate.fact-failed")
}
