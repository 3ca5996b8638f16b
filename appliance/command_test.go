// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
	"rochdale/stacks"
)

// migratesItself gives a release a program of its own that migrates.
func migratesItself(b *appliance.Bundle) {
	b.Stack.Manifest.Migrations = stacks.Migrations{Database: "main", Command: []string{"rake", "db:migrate"}, Service: "coop"}
	b.Stack.Services[1].Health = &stacks.Health{Test: []string{"/coop", "ready"}}
}

// once makes every such program take some time and end with a code. during, if set,
// is called while it runs.
func (b *bench) once(takes time.Duration, code int, during func(appliance.ContainerSpec)) {
	b.spoil(func(b *bench) {
		b.engine.once = func(s appliance.ContainerSpec) (time.Duration, int) {
			if during != nil {
				during(s)
			}
			return takes, code
		}
	})
}

// about are the notes of the engine on the containers of some services.
func (b *bench) about(mark int, services ...string) (all []string) {
	for _, line := range b.engine.said()[mark:] {
		if words := strings.Fields(line); len(words) > 1 && slices.Contains(services, words[1]) {
			all = append(all, line)
		}
	}
	return all
}

// nothingOfCommands wants no container of such a program, running or not.
func (b *bench) nothingOfCommands() {
	b.t.Helper()
	all, err := b.engine.List(context.Background(), "")
	if err != nil || slices.ContainsFunc(all, func(x appliance.Container) bool { return x.Service == "coop_migrate" }) {
		b.t.Errorf("left over: %+v, %v", all, err)
	}
}

// TestOwnMigrationAtTheFirstStart runs it on a PostgreSQL that is healthy and has the
// generation's database, before the services, in the cage of the one that it is for.
func TestOwnMigrationAtTheFirstStart(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	migratesItself(&b.bundles.bundle)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		var spec appliance.ContainerSpec
		b.once(time.Minute, 0, func(s appliance.ContainerSpec) {
			spec = s
			if db := b.engine.running("cache"); len(db) != 1 || db[0].Health != "healthy" {
				t.Errorf("it runs beside the servers %+v", db)
			}
			if m := b.migrator.asked; len(m) != 1 || m[0].Migrations != "" || m[0].Generation != 1 || m[0].Address == "" {
				t.Errorf("before it the migrator was asked for %+v", m)
			}
		})
		b.up()
		defer func() { b.stop() }()
		want := []string{"start cache", "start coop_migrate", "remove coop_migrate", "start coop"}
		if got := b.about(0, "cache", "coop", "coop_migrate"); !slices.Equal(got, want) {
			t.Errorf("what happened: %q, want %q", got, want)
		}
		b.nothingOfCommands()
		if !spec.Once || spec.Probe != (appliance.Probe{}) || spec.Service.Health != nil || !slices.Equal(spec.Service.Command, []string{"rake", "db:migrate"}) {
			t.Errorf("it was told %+v", spec)
		}
		if spec.Env["DATABASE"] != "postgres://coop@cache/coop_g1" || spec.User != stackUser || spec.Secrets["database-password"] == "" {
			t.Errorf("it was told %+v", spec)
		}
		service := b.serving().spec
		spec.Once, spec.Probe, spec.Suffix, spec.Service = service.Once, service.Probe, service.Suffix, service.Service
		if !reflect.DeepEqual(spec, service) {
			t.Errorf("it has another cage than its service: %+v, not %+v", spec, service)
		}
	})
}

// TestOwnMigrationRunsOnce: the row says that a release has migrated its generation.
func TestOwnMigrationRunsOnce(t *testing.T) {
	b := newBench(t)
	migratesItself(&b.bundles.bundle)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		for name, again := range map[string]func() error{
			"start":   func() error { _, err := b.apply(nil); return err },
			"restart": func() error { return d.Restart(t.Context(), "delivery", nil) },
			"down and up": func() error {
				if err := d.Remove(t.Context(), "delivery", nil); err != nil {
					return err
				}
				_, err := b.apply(nil)
				return err
			},
		} {
			if err := again(); err != nil {
				t.Fatal(name, err)
			}
			b.serving()
		}
		if got := b.about(0, "coop_migrate"); !slices.Equal(got, []string{"start coop_migrate", "remove coop_migrate"}) || len(b.migrator.asked) != 0 {
			t.Errorf("what happened: %q, migrations %+v", got, b.migrator.asked)
		}
	})
}

func TestOwnMigrationFailsAtTheFirstStart(t *testing.T) {
	for want, v := range map[string]struct {
		takes time.Duration
		code  int
	}{
		"migrate.command-failed": {time.Second, 3},
		"migrate.command-memory": {time.Second, 137},
		"migrate.command-slow":   {100 * time.Hour, 0},
	} {
		t.Run(want, func(t *testing.T) {
			b := newBench(t)
			migratesItself(&b.bundles.bundle)
			synctest.Test(t, func(t *testing.T) {
				b.t = t
				b.boot()
				defer func() { b.stop() }()
				b.once(v.takes, v.code, nil)
				began := time.Now()
				_, err := b.apply(nil)
				var failed *step.Error
				var e *appliance.Error
				if !errors.As(err, &failed) || failed.Step != "migrate" || !errors.As(err, &e) || e.ID != want {
					t.Fatal(err)
				}
				if e.Args["log"] != "last words" || e.Args["command"] != "rake db:migrate" || e.Args["service"] != "coop" || e.Args["stack"] != "delivery" {
					t.Errorf("arguments %v", e.Args)
				}
				if took := time.Since(began); took > 31*time.Minute {
					t.Errorf("it was waited for %v", took)
				}
				if all, err := b.engine.List(t.Context(), ""); err != nil || len(all) != 0 || b.row().Stack != "" {
					t.Errorf("left over: %+v, %v, %+v", all, err, b.row())
				}
				b.once(time.Second, 0, nil)
				if r, err := b.apply(nil); err != nil || r.Generation != 1 {
					t.Errorf("%+v, %v", r, err)
				}
				b.serving()
			})
		})
	}
}

// TestOwnMigrationIsGoneOnWith ends the daemon while the program runs for the first
// start. It goes on, and the next daemon waits for it; what nobody saw end runs again.
func TestOwnMigrationIsGoneOnWith(t *testing.T) {
	for name, v := range map[string]struct {
		away   time.Duration // how long no daemon runs
		ended  bool          // the program, meanwhile
		starts int
	}{
		"it still runs":  {10 * time.Second, false, 1},
		"it has ended":   {10 * time.Second, true, 2},
		"it hangs":       {40 * time.Minute, false, 1},
		"it is just now": {0, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			migratesItself(&b.bundles.bundle)
			synctest.Test(t, func(t *testing.T) {
				b.t = t
				b.boot()
				defer func() { b.stop() }()
				b.once(time.Minute, 0, nil)
				go func() { _, _ = b.apply(nil) }()
				time.Sleep(30 * time.Second)
				b.stop()
				runs := b.engine.running("coop_migrate")
				if len(runs) != 1 {
					t.Fatalf("while the daemon is dead %d run", len(runs))
				}
				if v.ended {
					b.spoil(func(b *bench) { b.engine.containers[runs[0].ID].end(0) })
				}
				time.Sleep(v.away)
				b.boot()
				time.Sleep(2 * time.Minute)
				b.nothingOfCommands()
				starts := slices.DeleteFunc(b.about(0, "coop_migrate"), func(line string) bool { return !strings.HasPrefix(line, "start") })
				if len(starts) != v.starts {
					t.Errorf("what happened: %q", b.about(0, "coop_migrate"))
				}
				if v.away < 30*time.Minute {
					b.serving()
				} else if b.row().Stack != "" {
					t.Errorf("one that hangs was taken: %+v", b.row())
				}
			})
		})
	}
}

// leaveBehind starts a container of such a program that nobody waits for.
func (b *bench) leaveBehind(digest string) {
	b.t.Helper()
	ctx := context.Background()
	if _, err := b.engine.Load(ctx, appliance.Image{Name: "coop"}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.engine.EnsureNetwork(ctx, "delivery"); err != nil {
		b.t.Fatal(err)
	}
	s := appliance.ContainerSpec{Stack: "delivery", Digest: digest, Generation: 1, Image: "rochdale/coop", Suffix: "behind", Once: true, Service: stacks.Service{Name: "coop_migrate"}}
	if _, err := b.engine.Start(ctx, s); err != nil {
		b.t.Fatal(err)
	}
}

// TestNeverTwoMigrations: what another release left running is ended first.
func TestNeverTwoMigrations(t *testing.T) {
	b := newBench(t)
	migratesItself(&b.bundles.bundle)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.leaveBehind("sha256:old")
		b.once(time.Second, 0, func(appliance.ContainerSpec) {
			if n := len(b.engine.running("coop_migrate")); n != 1 {
				t.Errorf("%d run at once", n)
			}
		})
		b.up()
		defer func() { b.stop() }()
		b.serving()
		b.nothingOfCommands()
	})
}

// TestStrayMigrationIsRemoved by reconciling, although it is of the release and the
// generation that run.
func TestStrayMigrationIsRemoved(t *testing.T) {
	b := newBench(t)
	migratesItself(&b.bundles.bundle)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		before := b.serving()
		b.leaveBehind(digest1)
		d.Wake()
		time.Sleep(time.Minute)
		b.nothingOfCommands()
		if now := b.serving(); now.ID != before.ID {
			t.Error("the service was replaced")
		}
	})
}

func TestUpdateWithOwnMigration(t *testing.T) {
	updating(t, migratesItself, func(t *testing.T, b *bench, d *appliance.Daemon) {
		mark := len(b.engine.said())
		b.migrator.asked = nil
		b.data.children()
		b.once(2*time.Second, 0, func(s appliance.ContainerSpec) {
			if s.Volumes["data"] != b.paths.Volume("delivery", 2, "data") || s.Generation != 2 || s.Digest != digest2 {
				t.Errorf("it works on %+v", s)
			}
			if g := b.edge.host("rides.example").Gate; g.Mode != appliance.GateHold || len(b.engine.running("coop")) != 0 {
				t.Errorf("the gate is %s, and %d services run", g.Mode, len(b.engine.running("coop")))
			}
			b.data.set(1, map[string]int64{"orders": 13}) // which was measured before it
		})
		c, err := apply(d)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"stop coop after 3s", "start coop_migrate", "remove coop_migrate", "start coop", "remove coop"}
		if got := b.about(mark, "coop", "coop_migrate"); !slices.Equal(got, want) {
			t.Errorf("what happened: %q, want %q", got, want)
		}
		if c.Outcome != appliance.Committed || !maps.Equal(c.Facts, map[string]int64{"orders": 12}) || c.Log != "" {
			t.Errorf("%+v", c)
		}
		if got := b.data.children(); !slices.Equal(got, []string{"orders"}) || len(b.migrator.asked) != 0 {
			t.Errorf("measured %q by themselves, migrated %+v", got, b.migrator.asked)
		}
		b.serving()
		b.nothingOfCommands()
	})
}

// TestUpdateOnPostgreSQLWithOwnMigration: making the database measures nothing yet.
func TestUpdateOnPostgreSQLWithOwnMigration(t *testing.T) {
	b := newBench(t)
	b.bundles.bundle = onPostgres()
	b.bundles.files = map[string]appliance.Bundle{"/next": onPostgres()}
	n := onPostgres()
	n.Digest, n.Stack.Manifest.Version, n.Images[0].ConfigDigest = digest2, "1.1.0", digest2
	migratesItself(&n)
	b.bundles.files["/next"] = n
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		b.migrator.asked = nil
		b.once(time.Second, 0, func(s appliance.ContainerSpec) {
			if len(b.migrator.asked) != 1 || s.Env["DATABASE"] != "postgres://coop@cache/coop_g2" {
				t.Errorf("migrator %+v, environment %v", b.migrator.asked, s.Env)
			}
			b.data.set(2, map[string]int64{"orders": 11})
		})
		before, row := b.serving(), b.row()
		c, err := apply(d)
		if err == nil || c.Reason == nil || c.Reason.ID != "update.fact" || c.Reason.Args["got"] != "11" {
			t.Errorf("rows that it lost: %+v, %v", c, err)
		}
		if m := b.migrator.asked[0]; m.Migrations != "" || len(m.Facts) != 0 {
			t.Errorf("asked for %+v", m)
		}
		b.stillServes(before, row)
	})
}

func TestUpdateWhoseOwnMigrationFails(t *testing.T) {
	for name, v := range map[string]struct {
		takes  time.Duration
		code   int
		window time.Duration
		want   string
		held   time.Duration
	}{
		"a code":           {2 * time.Second, 3, 0, "migrate.command-failed", 10 * time.Second},
		"too much memory":  {2 * time.Second, 137, 0, "migrate.command-memory", 10 * time.Second},
		"it hangs":         {100 * time.Hour, 0, 0, "update.over-budget", 10 * time.Second},
		"a window is over": {100 * time.Hour, 0, 10 * time.Minute, "update.over-budget", 10 * time.Minute},
		"it hangs in one":  {100 * time.Hour, 0, 3 * time.Hour, "migrate.command-slow", 32 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			updating(t, migratesItself, func(t *testing.T, b *bench, d *appliance.Daemon) {
				before, row := b.serving(), b.row()
				b.once(v.takes, v.code, nil)
				b.data.drops = func() { b.nothingOfCommands() }
				c, err := apply(d, func(r *appliance.UpdateRequest) { r.Window = v.window })
				told := failure{reason: v.want, here: v.want == "update.over-budget"}.told()
				if !appliance.IsProblem(err, told) || c.Outcome != appliance.PutBack || c.Reason == nil || c.Reason.ID != v.want {
					t.Fatalf("%+v, reason %v, %v", c, c.Reason, err)
				}
				if c.Log != "last words" || c.Held > v.held {
					t.Errorf("last words %q, held for %v", c.Log, c.Held)
				}
				b.nothingOfCommands()
				b.stillServes(before, row)
				time.Sleep(time.Minute) // reconciling finds nothing to do
				b.stillServes(before, row)
			})
		})
	}
}

// TestUpdateIsKilledInItsOwnMigration: the program goes on while the daemon is dead,
// and is ended before the generation that it writes to is dropped.
func TestUpdateIsKilledInItsOwnMigration(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprint("it has ended: ", ended), func(t *testing.T) {
			updating(t, migratesItself, func(t *testing.T, b *bench, d *appliance.Daemon) {
				old, row := b.serving(), b.row()
				running := make(chan struct{})
				b.once(time.Hour, 0, func(appliance.ContainerSpec) { close(running) })
				go func() { _, _ = apply(d) }()
				<-running
				synctest.Wait()
				b.stop()
				runs := b.engine.running("coop_migrate")
				if len(runs) != 1 {
					t.Fatalf("%d run", len(runs))
				}
				if ended {
					b.spoil(func(b *bench) { b.engine.containers[runs[0].ID].end(0) })
				}
				b.data.drops = func() { b.nothingOfCommands() }
				b.boot()
				time.Sleep(time.Minute)
				b.stillServesAfterCrash(old, row)
				b.nothingOfCommands()
				all, err := b.store.Changes(t.Context(), "delivery", 10)
				if err != nil || len(all) != 1 || all[0].Outcome != appliance.Interrupted || all[0].Log != "last words" {
					t.Errorf("%+v, %v", all, err)
				}
			})
		})
	}
}

// TestOwnMigrationIsNotForSnapshots: their data are at the schema of their release.
func TestOwnMigrationIsNotForSnapshots(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		b.stop()
		migratesItself(&b.bundles.bundle)
		b.data.loads = map[string]int64{"orders": 12}
		d := b.boot()
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		if err := d.Drill(t.Context(), appliance.DrillRequest{}, nil); err != nil {
			t.Error(err)
		}
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil); err != nil {
			t.Error(err)
		}
		if _, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); err != nil {
			t.Error(err)
		}
		if got := b.about(0, "coop_migrate"); len(got) != 0 {
			t.Errorf("what happened: %q", got)
		}
	})
}

// TestRecoverMigrates as it does with migrations of ours, once.
func TestRecoverMigrates(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		migratesItself(&b.bundles.bundle)
		d := b.boot()
		for range 2 {
			if err := recoverNow(d, p); err != nil {
				t.Fatal(err)
			}
			b.whole(t)
		}
		if got := b.about(0, "coop_migrate"); !slices.Equal(got, []string{"start coop_migrate", "remove coop_migrate"}) {
			t.Errorf("what happened: %q", got)
		}
	})
}
