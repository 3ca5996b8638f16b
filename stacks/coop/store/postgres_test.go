// SPDX-License-Identifier: AGPL-3.0-or-later

package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"rochdale/stacks/coop/store/storetest"
)

// postgresBin is where Debian 12 keeps the server's programs.
const postgresBin = "/usr/lib/postgresql/15/bin/"

const needPostgres = "PostgreSQL 15 isn't installed, and the store has to be tested on it: apt-get install -y postgresql-15"

// cluster is a PostgreSQL server of this test's own, on a loopback port.
type cluster struct {
	port int
	made int
}

// newCluster makes and starts a server in a temporary folder, and stops it by its
// process when the test ends.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if _, err := os.Stat(postgresBin + "postgres"); err != nil {
		t.Fatal(needPostgres)
	}
	dir, err := os.MkdirTemp("", "coop-pg-") //nolint:usetesting // PostgreSQL runs as another user, and its socket wants a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as := asPostgres(t, dir)
	data := filepath.Join(dir, "data")
	initdb := exec.Command(postgresBin+"initdb", "-D", data, "-A", "trust", "-U", "coop", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	c := &cluster{port: freePort(t)}
	server := exec.Command(postgresBin+"postgres", "-D", data, "-c", "listen_addresses=127.0.0.1", "-p", strconv.Itoa(c.port), "-c", "unix_socket_directories=", "-c", "fsync=off")
	server.SysProcAttr, server.Dir = as, dir
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // "fast": ends sessions, then stops
		_ = server.Wait()
		_ = log.Close()
	})
	c.wait(t, log.Name())
	return c
}

// asPostgres gives the folder to the user that the server runs as: it refuses root.
func asPostgres(t *testing.T, dir string) *syscall.SysProcAttr {
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
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (c *cluster) address(name string) string {
	return fmt.Sprintf("postgres://coop@127.0.0.1:%d/%s?sslmode=disable", c.port, name)
}

func (c *cluster) admin(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", c.address("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (c *cluster) wait(t *testing.T, log string) {
	t.Helper()
	db := c.admin(t)
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for db.PingContext(ctx) != nil {
		if ctx.Err() != nil {
			said, _ := os.ReadFile(log)
			t.Fatalf("PostgreSQL didn't start:\n%s", said)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// database makes a new, migrated database and returns its address.
func (c *cluster) database(t *testing.T) string {
	t.Helper()
	db := c.admin(t)
	defer func() { _ = db.Close() }()
	c.made++
	name := fmt.Sprintf("coop%d", c.made)
	if _, err := db.Exec("create database " + name); err != nil {
		t.Fatal(err)
	}
	if err := storetest.Migrate(t.Context(), goose.DialectPostgres, "pgx", c.address(name)); err != nil {
		t.Fatal(err)
	}
	return c.address(name)
}
