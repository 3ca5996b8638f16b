// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/stacks"
)

// onPostgres is the stack of the other tests with its rows in a server of its
// own, which the service "cache" runs.
func onPostgres() appliance.Bundle {
	b := delivery()
	m := &b.Stack.Manifest
	m.User = stackUser
	m.Databases = map[string]stacks.Database{"main": {Engine: "postgres", Service: "cache", Name: "coop"}}
	db := &b.Stack.Services[0]
	db.Mounts = []stacks.Mount{{Volume: "rows", Target: "/var/lib/postgresql/data"}}
	db.Health = &stacks.Health{Test: []string{"pg_isready"}}
	b.Stack.Services[1].Env["DATABASE"] = "postgres://coop@cache/${ROCHDALE_DATABASE}"
	return b
}

func TestStackOnPostgreSQL(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.migrator.before = func() {
			if len(b.migrator.asked) > 1 {
				return // started again, with nothing left to do
			}
			db := b.engine.running("cache")
			if len(db) != 1 || db[0].Health != "healthy" || len(b.engine.running("coop")) != 0 {
				t.Errorf("migrations run while %d servers and %d others run", len(db), len(b.engine.running("coop")))
			}
		}
		b.up()
		defer func() { b.stop() }()
		db, file := b.engine.running("cache")[0], b.paths.DatabasePassword("delivery")
		want := []appliance.MigrateRequest{{
			Stack: "delivery", User: stackUser, Database: onPostgres().Stack.Manifest.Databases["main"], Generation: 1,
			Migrations: b.migrator.asked[0].Migrations, Address: db.Address + ":5432", PasswordFile: file,
		}}
		if fmt.Sprint(b.migrator.asked) != fmt.Sprint(want) {
			t.Errorf("asked for %+v", b.migrator.asked)
		}
		b.secret(file)
		rows := b.paths.Shared("delivery", "rows")
		if db.spec.Volumes["rows"] != rows || db.Generation != 0 {
			t.Errorf("the server has the volumes %v and generation %d", db.spec.Volumes, db.Generation)
		}
		wantOwned(t, rows, stackUser, 0o700)
		wantOwned(t, filepath.Dir(rows), os.Getuid(), 0o711)
		wantOwned(t, b.paths.Volume("delivery", 1, "data"), stackUser, 0o700)
		web := b.serving()
		if got := web.spec.Env["DATABASE"]; got != "postgres://coop@cache/coop_g1" {
			t.Errorf("the service is told the database %q", got)
		}
		if err := b.d.Restart(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		if now := b.engine.running("cache"); len(now) != 1 || now[0].ID != db.ID || b.serving().ID == web.ID {
			t.Errorf("a swap should leave the server and replace the others: %+v", now)
		}
		time.Sleep(time.Minute) // reconciling leaves it too
		if now := b.engine.running("cache"); len(now) != 1 || now[0].ID != db.ID {
			t.Errorf("servers %+v", now)
		}
	})
}

// secret wants the password where only the stack and root read it, the same at
// every start, and nowhere else.
func (b *bench) secret(file string) {
	b.t.Helper()
	password, err := os.ReadFile(file)
	if err != nil || len(password) < 26 {
		b.t.Fatalf("password of %d characters, %v", len(password), err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o400 {
		b.t.Errorf("the password has %v, %v", info.Mode(), err)
	}
	if uid, _ := owned(b.t, file); uid != stackUser {
		b.t.Errorf("the password belongs to %d", uid)
	}
	for _, c := range append(b.engine.running("cache"), b.engine.running("coop")...) {
		if c.spec.Secrets["database-password"] != file {
			b.t.Errorf("%s has the secrets %v", c.Service, c.spec.Secrets)
		}
		if strings.Contains(fmt.Sprintf("%+v", c.spec), string(password)) {
			b.t.Errorf("the password is in the specification of %s", c.Service)
		}
	}
	if _, err := b.apply(nil); err != nil {
		b.t.Fatal(err)
	}
	again, err := os.ReadFile(file)
	if err != nil || string(again) != string(password) {
		b.t.Errorf("the password is another one after the next start: %v", err)
	}
}

// TestNeverTwoServers lets the server be that of another release, still running.
func TestNeverTwoServers(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		db := b.engine.running("cache")[0]
		other := db.spec
		other.Digest, other.Suffix = "sha256:old", "oldone"
		if err := b.engine.Remove(t.Context(), db.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := b.engine.Start(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		before := len(b.engine.said())
		b.d.Wake()
		time.Sleep(time.Minute)
		var said []string
		for _, line := range b.engine.said()[before:] {
			if strings.Contains(line, "cache") {
				said = append(said, line)
			}
		}
		if want := []string{"stop cache after 3s", "remove cache", "start cache"}; !slices.Equal(said, want) {
			t.Errorf("what happened to the server: %q, want %q", said, want)
		}
		if now := b.engine.running("cache"); len(now) != 1 || now[0].Digest != db.Digest {
			t.Errorf("servers %+v", now)
		}
	})
}

// TestDatabaseWithoutMigrations is a stack that migrates by itself: the database
// of its generation has to be there all the same.
func TestDatabaseWithoutMigrations(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	b.bundles.bundle.Stack.Manifest.Migrations = stacks.Migrations{}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		if len(b.migrator.asked) != 1 || b.migrator.asked[0].Migrations != "" || b.migrator.asked[0].Generation != 1 || b.migrator.asked[0].Address == "" {
			t.Errorf("asked for %+v", b.migrator.asked)
		}
	})
}
