// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
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
	db.StopGrace = 30 * time.Second
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

// TestNeverTwoServers lets the server be that of another release, still running, which
// may have called it otherwise.
func TestNeverTwoServers(t *testing.T) {
	for _, name := range []string{"cache", "rows"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.bundles.bundle = onPostgres()
			synctest.Test(t, func(t *testing.T) {
				b.t = t
				b.up()
				defer func() { b.stop() }()
				db := b.engine.running("cache")[0]
				before := len(b.engine.said())
				b.engine.becomes(db.ID, name, "sha256:old")
				b.d.Wake()
				time.Sleep(time.Minute)
				said := slices.DeleteFunc(b.engine.said()[before:], func(line string) bool { return !strings.Contains(line, name) && !strings.Contains(line, "cache") })
				grace := "30s"
				if name != "cache" {
					grace = "10s" // nobody knows that service any more
				}
				if want := []string{"stop " + name + " after " + grace, "remove " + name, "start cache"}; !slices.Equal(said, want) {
					t.Errorf("what happened to the server: %q, want %q", said, want)
				}
				if now := b.engine.running("cache"); len(now) != 1 || now[0].Digest != db.Digest {
					t.Errorf("servers %+v", now)
				}
			})
		})
	}
}

// serverUpdate is one way in which a release that brings another database server ends.
type serverUpdate struct {
	spoil  func(b *bench, old string) // old is the digest of the server that runs
	window time.Duration
	reason string // "" when it is taken
	log    bool   // of a container that failed
}

func serverUpdates() map[string]serverUpdate {
	return map[string]serverUpdate{
		"taken":       {},
		"probe fails": {spoil: func(b *bench, _ string) { b.engine.probe = errors.New("500") }, reason: "update.probe", log: true},
		"server ends": {spoil: func(b *bench, old string) {
			b.engine.sick = func(s appliance.ContainerSpec) error {
				if s.Service.Name == "cache" && s.Digest != old {
					return appliance.Problem("engine.ended", nil)
				}
				return nil
			}
		}, reason: "engine.ended", log: true},
		"migration fails":    {spoil: func(b *bench, _ string) { b.migrator.err = appliance.Problem("migrate.failed", nil) }, reason: "migrate.copy-not-changed", log: true},
		"slow to end":        {spoil: slowToEnd, reason: "update.over-budget"},
		"slow with a window": {spoil: slowToEnd, window: 2 * time.Minute},
	}
}

func slowToEnd(b *bench, _ string) {
	b.engine.ends = map[string]time.Duration{"cache": 20 * time.Second}
}

// TestUpdateOfTheServer: a release that brings another database server replaces it
// while nothing else runs, and an update that is put back brings the old one back. At
// no time are there two.
func TestUpdateOfTheServer(t *testing.T) {
	for name, x := range serverUpdates() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.bundles.bundle = onPostgres()
			b.bundles.files = map[string]appliance.Bundle{"/next": anotherServer()}
			synctest.Test(t, func(t *testing.T) {
				b.t = t
				d := b.up()
				defer func() { b.stop() }()
				b.updatesServer(d, x)
			})
		})
	}
}

// anotherServer is a release whose server is made otherwise.
func anotherServer() appliance.Bundle {
	b := onPostgres()
	b.Digest, b.Stack.Manifest.Version = digest2, "1.1.0"
	b.Stack.Services[0].Memory *= 2
	return b
}

func (b *bench) updatesServer(d *appliance.Daemon, x serverUpdate) {
	b.t.Helper()
	b.data.set(1, map[string]int64{"orders": 12})
	before := b.engine.running("cache")[0]
	if x.spoil != nil {
		b.engine.mu.Lock()
		x.spoil(b, before.Digest)
		b.engine.mu.Unlock()
	}
	b.migrator.before = func() {
		if db := b.engine.running("cache"); len(db) != 1 || db[0].Digest == before.Digest || len(b.engine.running("coop")) != 0 {
			b.t.Errorf("migrations run beside %+v", db)
		}
	}
	fails := x.reason != ""
	c, err := apply(d, func(r *appliance.UpdateRequest) { r.Window = x.window })
	if (err != nil) != fails || fails && (c.Reason.ID != x.reason || (c.Log != "") != x.log) {
		b.t.Fatalf("%+v, %v, %v", c, c.Reason, err)
	}
	db, web := b.engine.running("cache"), b.serving()
	if len(db) != 1 || (db[0].Digest == before.Digest) != fails {
		b.t.Errorf("servers %+v", db)
	}
	if rows := b.paths.Shared("delivery", "rows"); db[0].spec.Volumes["rows"] != rows {
		b.t.Errorf("its files are in %v", db[0].spec.Volumes)
	}
	time.Sleep(time.Minute) // nothing is left to reconcile: each start has another address
	if now := b.engine.running("cache"); len(now) != 1 || now[0].Address != db[0].Address || b.serving().Address != web.Address {
		b.t.Errorf("servers %+v, before %+v", now, db)
	}
	if i := slices.IndexFunc(b.engine.said(), func(line string) bool { return strings.HasPrefix(line, "refuse") }); i >= 0 {
		b.t.Error(b.engine.said()[i])
	}
}

// TestBackToTheServerBefore: what took a window on the way there has one on the way
// back.
func TestBackToTheServerBefore(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	b.bundles.files = map[string]appliance.Bundle{"/next": anotherServer()}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		before := b.engine.running("cache")[0]
		b.engine.mu.Lock()
		slowToEnd(b, "")
		b.engine.mu.Unlock()
		if _, err := apply(d, func(r *appliance.UpdateRequest) { r.Window = 2 * time.Minute }); err != nil {
			t.Fatal(err)
		}
		back := appliance.RollbackRequest{Stack: "delivery"}
		if c, err := d.Rollback(t.Context(), back, nil); err == nil || c.Reason.ID != "update.over-budget" || b.row().Generation != 2 {
			t.Errorf("%+v, %v", c, err)
		}
		b.serving()
		back.Window = 2 * time.Minute
		if _, err := d.Rollback(t.Context(), back, nil); err != nil || b.row().Generation != 1 {
			t.Errorf("%+v, %v", b.row(), err)
		}
		if now := b.engine.running("cache"); len(now) != 1 || now[0].Digest != before.Digest || b.serving().Generation != 1 {
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
