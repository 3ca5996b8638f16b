// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"rochdale/appliance"
	"rochdale/appliance/migrate"
	"rochdale/stacks"
)

// postgresBin is where Debian 12 keeps the server's programs.
const postgresBin = "/usr/lib/postgresql/15/bin/"

const needPostgres = "PostgreSQL 15 isn't installed, and data has to be copied on it: apt-get install -y postgresql-15"

// cluster is a PostgreSQL of this test's own, set up as a stack's is: one role
// owns it, and nobody comes in without the password. It stands in for the
// container that it runs in on a box.
type cluster struct {
	t        *testing.T
	port     int
	password string // file
	bin      string // folder of the server's programs
	// spoil changes what the server's programs print and how they end.
	spoil func(p appliance.Program, out []byte, err error) ([]byte, error)
}

var _ migrate.Containers = (*cluster)(nil)

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if _, err := os.Stat(postgresBin + "postgres"); err != nil {
		t.Fatal(needPostgres)
	}
	dir, err := os.MkdirTemp("", "data-pg-") //nolint:usetesting // PostgreSQL runs as another user
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &cluster{t: t, password: filepath.Join(dir, "password"), bin: postgresBin}
	must(t, os.WriteFile(c.password, []byte("ses ame'\n"), 0o600))
	as := asPostgres(t, dir, c.password)
	data := filepath.Join(dir, "data")
	initdb := exec.Command(postgresBin+"initdb", "-D", data, "-A", "scram-sha-256", "--pwfile="+c.password, "-U", "coop", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c.port = l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	server := exec.Command(postgresBin+"postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(c.port), "-c", "unix_socket_directories=", "-c", "fsync=off")
	server.SysProcAttr, server.Dir = as, dir
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	server.Stdout, server.Stderr = log, log
	must(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // "fast": ends sessions, then stops
		_ = server.Wait()
		_ = log.Close()
	})
	db := c.open("postgres")
	wait(t, "the server", func() bool { return db.Ping() == nil })
	return c
}

// asPostgres gives files to the user that the server runs as: it refuses root.
func asPostgres(t *testing.T, paths ...string) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(needPostgres)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	for _, path := range paths {
		must(t, os.Chown(path, uid, gid))
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func (c *cluster) open(name string) *sql.DB {
	c.t.Helper()
	db, err := sql.Open("pgx", fmt.Sprintf("host=127.0.0.1 port=%d user=coop password='ses ame\\'' dbname=%s sslmode=disable", c.port, name))
	must(c.t, err)
	c.t.Cleanup(func() { _ = db.Close() })
	return db
}

// do runs statements in a database.
func (c *cluster) do(name string, statements ...string) {
	c.t.Helper()
	db := c.open(name)
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			c.t.Fatalf("%s: %v", s, err)
		}
	}
}

// ask gives the one value of a query.
func (c *cluster) ask(name, text string) string {
	c.t.Helper()
	db := c.open(name)
	defer func() { _ = db.Close() }()
	var s sql.NullString
	if err := db.QueryRow(text).Scan(&s); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	return s.String
}

func (c *cluster) has(name string) bool {
	return c.ask("postgres", "select count(*) from pg_database where datname = '"+name+"'") == "1"
}

// List gives the container that the server would be in.
func (c *cluster) List(context.Context, string) ([]appliance.Container, error) {
	return []appliance.Container{{ID: "other", Service: "web", State: "running"}, {ID: "server", Service: "db", State: "running", Address: "127.0.0.1"}}, nil
}

// Stream runs one of the server's own programs.
func (c *cluster) Stream(ctx context.Context, id string, p appliance.Program) error {
	if id != "server" || strings.Contains(strings.Join(p.Argv, " "), "ame'") {
		return errors.New("another container, or a password where everybody sees it")
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, p.Argv[0]), p.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.In, &out, &errs
	for name, value := range p.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	err := cmd.Run()
	if err != nil {
		err = appliance.Problem("engine.program-failed", err, "program", p.Argv[0], "detail", errs.String())
	}
	printed := out.Bytes()
	if c.spoil != nil {
		printed, err = c.spoil(p, printed, err)
	}
	if p.Out != nil && err == nil {
		_, err = io.Copy(p.Out, bytes.NewReader(printed))
	}
	return err
}

// pgSite is generations of a stack with its rows in a server.
type pgSite struct {
	*cluster
	units *processes
	data  migrate.Data
}

func newPgSite(t *testing.T) *pgSite {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	s := &pgSite{cluster: newCluster(t), units: newProcesses(t)}
	s.data = migrate.NewData(s.units, self, s, slog.New(slog.DiscardHandler))
	return s
}

// at is the place of a generation. It has a volume of files too.
func (s *pgSite) at(generation int64) appliance.DataPlace {
	return appliance.DataPlace{
		Stack: "delivery", User: childUser(), Generation: generation,
		Address: "127.0.0.1:" + strconv.Itoa(s.port), PasswordFile: s.password,
		Databases: map[string]stacks.Database{"main": {Engine: "postgres", Service: "db", Name: "coop"}},
	}
}

// up migrates a generation, which makes it.
func (s *pgSite) up(generation int64, files map[string]string) (appliance.Migrated, error) {
	s.t.Helper()
	r := s.request(generation, files)
	return migrate.New(s.units, s.program()).Up(s.t.Context(), r)
}

func (s *pgSite) program() string {
	self, err := os.Executable()
	must(s.t, err)
	return self
}

func (s *pgSite) request(generation int64, files map[string]string) appliance.MigrateRequest {
	s.t.Helper()
	p := s.at(generation)
	r := appliance.MigrateRequest{
		Stack: p.Stack, User: p.User, Database: p.Databases["main"], Generation: generation, Address: p.Address, PasswordFile: p.PasswordFile,
	}
	if files == nil {
		return r
	}
	r.Migrations = filepath.Join(folder(s.t), "migrations")
	must(s.t, os.Mkdir(r.Migrations, 0o755))
	must(s.t, os.Chmod(filepath.Dir(r.Migrations), 0o755))
	for name, text := range files {
		must(s.t, os.WriteFile(filepath.Join(r.Migrations, name), []byte(text), 0o644))
	}
	return r
}

// session waits until the server has one of which this is true.
func (s *pgSite) session(what string) {
	s.t.Helper()
	wait(s.t, what, func() bool {
		return s.ask("postgres", "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and "+what) != "0"
	})
}

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
