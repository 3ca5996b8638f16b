// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/stacks"
)

const digest2 = "sha256:2222222222222222222222222222222222222222222222222222222222222222"

// next is a release that follows delivery().
func next(edit func(*appliance.Bundle)) appliance.Bundle {
	b := delivery()
	b.Digest, b.Stack.Manifest.Version = digest2, "1.1.0"
	b.Images = []appliance.Image{{Name: "coop", ConfigDigest: digest2}, {Name: "cache"}}
	if edit != nil {
		edit(&b)
	}
	return b
}

// updating runs a test on a box that serves release 1.0.0 with 12 orders and has
// the file of the next release.
func updating(t *testing.T, edit func(*appliance.Bundle), test func(t *testing.T, b *bench, d *appliance.Daemon)) {
	t.Helper()
	b := newBench(t)
	b.bundles.files = map[string]appliance.Bundle{"/next": next(edit)}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		test(t, b, d)
	})
}

func apply(d *appliance.Daemon, edit ...func(*appliance.UpdateRequest)) (appliance.Change, error) {
	r := appliance.UpdateRequest{Stack: "delivery", Digest: "/next"}
	for _, f := range edit {
		f(&r)
	}
	return d.Update(context.Background(), r, nil)
}

func TestUpdate(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		old, mark := b.serving(), len(b.engine.said())
		var gates []appliance.GateMode
		b.edge.set(func() {
			b.edge.watch = func(r appliance.Routes) { gates = append(gates, r.Hosts["rides.example"].Gate.Mode) }
		})
		c, err := apply(d)
		if err != nil {
			t.Fatal(err)
		}
		fresh := b.serving()
		if r := b.row(); r.Digest != digest2 || r.Version != "1.1.0" || r.Generation != 2 || fresh.Generation != 2 || fresh.Digest != digest2 {
			t.Errorf("row %+v, container %+v", r, fresh.Container)
		}
		want := []string{"routes", "stop coop after 3s", "start coop", "routes", "remove coop"}
		if got := b.engine.said()[mark:]; !slices.Equal(got, want) {
			t.Errorf("what happened: %v, want %v", got, want)
		}
		b.edge.set(func() {
			if !slices.Equal(gates, []appliance.GateMode{appliance.GateHold, appliance.GateOpen}) || b.edge.empty != 0 {
				t.Errorf("gates %v, %d times without an upstream", gates, b.edge.empty)
			}
		})
		if c.Outcome != appliance.Committed || c.From.Generation != 1 || c.Facts["orders"] != 12 || c.Held <= 0 || c.Reason != nil {
			t.Errorf("%+v", c)
		}
		if old.ID == fresh.ID {
			t.Error("the old container serves")
		}
		if m := b.migrator.asked[len(b.migrator.asked)-1]; !strings.HasPrefix(m.Migrations, b.paths.Bundles("delivery")+"/2222") || m.VolumeDir != b.paths.Volume("delivery", 2, "data") {
			t.Errorf("migrated %+v", m)
		}
		if _, err := os.Stat(b.paths.Generation("delivery", 1)); err != nil {
			t.Error("the old data are gone:", err)
		}
	})
}

// failure is one way in which an update comes to nothing.
type failure struct {
	edit   func(*appliance.Bundle)
	spoil  func(*bench)
	reason string
	early  bool // before anything of the stack was touched
	here   bool // it is for a reason of this machine
}

// told is the id of what a person is told: the makers of the stack are asked only about
// what is theirs.
func (f failure) told() string {
	switch {
	case f.early:
		return f.reason
	case f.here:
		return "update.put-back-here"
	default:
		return "update.put-back"
	}
}

func failures() map[string]failure {
	sick := func(b *bench) {
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Digest == digest2 {
				return appliance.Problem("engine.unhealthy", nil, "log", "no such table")
			}
			return nil
		}
	}
	return map[string]failure{
		"image missing":    {spoil: func(b *bench) { b.engine.broken = digest2 }, reason: "engine.image", early: true},
		"never healthy":    {spoil: sick, reason: "engine.unhealthy"},
		"probe fails":      {spoil: func(b *bench) { b.engine.probe = errors.New("500") }, reason: "update.probe"},
		"migration fails":  {spoil: func(b *bench) { b.migrator.err = appliance.Problem("migrate.failed", nil) }, reason: "migrate.copy-not-changed"},
		"disk full":        {spoil: func(b *bench) { b.data.err = appliance.Problem("migrate.disk-full", nil) }, reason: "migrate.disk-full", here: true},
		"no room":          {spoil: func(b *bench) { b.space.free = 256<<20 + 1<<19 }, reason: "update.no-room", early: true},
		"no memory":        {edit: func(b *appliance.Bundle) { b.Stack.Manifest.Needs.Memory = 1 << 30 }, spoil: func(b *bench) { b.space.memory = 1 << 20 }, reason: "update.no-memory", early: true},
		"rows lost":        {spoil: func(b *bench) { b.migrator.before = func() { b.data.set(2, map[string]int64{"orders": 11}) } }, reason: "update.fact"},
		"must not be zero": {edit: mustBeZero, reason: "update.fact"},
		"another database": {edit: withQueue(7), reason: "update.fact"},
		"a fact fails":     {spoil: func(b *bench) { b.migrator.before = func() { b.data.set(2, nil) } }, reason: "migrate.fact-failed"},
		"another's fails":  {edit: onlyQueue, spoil: func(b *bench) { b.migrator.before = func() { b.data.set(2, nil) } }, reason: "migrate.fact-failed"},
		"both fail": {spoil: func(b *bench) {
			b.migrator.err = appliance.Problem("migrate.failed", nil)
			b.migrator.before = func() { b.data.set(2, nil) }
		}, reason: "migrate.copy-not-changed"},
		"is not up in time": {spoil: func(b *bench) { b.engine.slow = digest2 }, reason: "update.not-up", here: true},
		"takes too long":    {spoil: func(b *bench) { b.data.takes = time.Minute }, reason: "update.over-budget", here: true},
	}
}

func mustBeZero(b *appliance.Bundle) {
	b.Stack.Manifest.Facts = map[string]stacks.Fact{"orders": {Database: "main", Must: new(int64), Check: []string{"update"}}}
}

// withQueue adds a database without migrations, of which one number is known.
func withQueue(must int64) func(*appliance.Bundle) {
	return func(b *appliance.Bundle) {
		m := &b.Stack.Manifest
		m.Databases["queue"] = stacks.Database{Engine: "sqlite", Volume: "data", Path: "queue.db"}
		m.Facts["waiting"] = stacks.Fact{Database: "queue", Must: &must, Check: []string{"update"}}
	}
}

func onlyQueue(b *appliance.Bundle) {
	withQueue(0)(b)
	delete(b.Stack.Manifest.Facts, "orders")
}

// TestFactsTakeNoChildOfTheirOwn when they are of the database that is migrated;
// visitors would wait for it.
func TestFactsTakeNoChildOfTheirOwn(t *testing.T) {
	for name, v := range map[string]struct {
		edit     func(*appliance.Bundle)
		migrated []string // facts that are measured with the migrations
		children []string
		facts    map[string]int64
	}{
		"one database":  {nil, []string{"orders"}, nil, map[string]int64{"orders": 12}},
		"two databases": {withQueue(0), []string{"orders"}, []string{"waiting"}, map[string]int64{"orders": 12, "waiting": 0}},
		"the other one": {onlyQueue, nil, []string{"waiting"}, map[string]int64{"waiting": 0}},
		"no migrations": {func(b *appliance.Bundle) { b.Stack.Manifest.Migrations = stacks.Migrations{} }, nil, []string{"orders"}, map[string]int64{"orders": 12}},
		"no facts":      {func(b *appliance.Bundle) { b.Stack.Manifest.Facts = nil }, nil, nil, nil},
		"for drills": {func(b *appliance.Bundle) {
			b.Stack.Manifest.Facts["orders"] = stacks.Fact{Database: "main", Check: []string{"drill"}}
		}, nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			updating(t, v.edit, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.data.children()
				b.migrator.asked = nil
				c, err := apply(d)
				if err != nil {
					t.Fatal(err)
				}
				var migrated []string
				for _, r := range b.migrator.asked {
					migrated = slices.AppendSeq(migrated, maps.Keys(r.Facts))
				}
				if got := b.data.children(); !slices.Equal(got, v.children) || !slices.Equal(migrated, v.migrated) || !maps.Equal(c.Facts, v.facts) {
					t.Errorf("children for %q, with the migrations %q, facts %v", got, migrated, c.Facts)
				}
			})
		})
	}
}

func TestUpdateThatFails(t *testing.T) {
	for name, f := range failures() {
		t.Run(name, func(t *testing.T) {
			updating(t, f.edit, func(t *testing.T, b *bench, d *appliance.Daemon) {
				before, row := b.serving(), b.row()
				if f.spoil != nil {
					b.engine.mu.Lock()
					f.spoil(b)
					b.engine.mu.Unlock()
				}
				c, err := apply(d)
				var e *appliance.Error
				if want := f.told(); !errors.As(err, &e) || e.ID != want {
					t.Fatalf("%v, want %s", err, want)
				}
				if c.Outcome != appliance.PutBack || c.Reason == nil || c.Reason.ID != f.reason {
					t.Errorf("%+v, reason %v", c, c.Reason)
				}
				b.stillServes(before, row)
				if c.Held > 10*time.Second {
					t.Errorf("held for %v", c.Held)
				}
				time.Sleep(time.Minute) // reconciling finds nothing to do
				b.stillServes(before, row)
			})
		})
	}
}

// stillServes wants the box as it was: the same container, its row, its data, an
// open gate and nothing left of the new release.
func (b *bench) stillServes(before twinContainer, row appliance.Release) {
	b.t.Helper()
	now := b.serving()
	if now.ID != before.ID || now.Digest != before.Digest || b.row() != row {
		b.t.Errorf("serving %+v, row %+v", now.Container, b.row())
	}
	if g := b.edge.host("rides.example").Gate; g.Mode != appliance.GateOpen {
		b.t.Errorf("the gate is %s", g.Mode)
	}
	if _, err := os.Stat(b.paths.Generation("delivery", 2)); err == nil {
		b.t.Error("the new generation is still there")
	}
	all, err := b.engine.List(context.Background(), "delivery")
	if err != nil || len(all) != 2 {
		b.t.Errorf("%d containers, %v", len(all), err)
	}
}

func TestUpdateIsPostponed(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		before, row := b.serving(), b.row()
		b.edge.set(func() { b.edge.inFlight = func(string) int { return 1 } })
		began := time.Now()
		c, err := apply(d)
		if !appliance.IsProblem(err, "update.postponed") || c.Outcome != appliance.Postponed {
			t.Fatal(c.Outcome, err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("visitors waited %v", took)
		}
		if slices.Contains(b.engine.said(), "stop coop after 3s") {
			t.Error("the old release was stopped")
		}
		b.stillServes(before, row)
		b.edge.set(func() { b.edge.inFlight = nil })
		if c, err := apply(d); err != nil || c.Outcome != appliance.Committed {
			t.Error("it is not tried again:", err)
		}
	})
}

func TestUpdateInAWindow(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.data.takes = 4 * time.Minute
		var gate appliance.Gate
		b.edge.set(func() {
			b.edge.watch = func(r appliance.Routes) {
				if g := r.Hosts["rides.example"].Gate; g.Mode != appliance.GateOpen {
					gate = g
				}
			}
		})
		began := time.Now()
		c, err := apply(d, func(r *appliance.UpdateRequest) { r.Window = 10 * time.Minute })
		if err != nil || c.Outcome != appliance.Committed {
			t.Fatal(c.Outcome, err)
		}
		if gate.Mode != appliance.GateClosed || gate.Until.Before(began.Add(9*time.Minute)) {
			t.Errorf("the gate was %+v", gate)
		}
	})
}

func TestUpdateIsRefused(t *testing.T) {
	for want, edit := range map[string]func(*appliance.Bundle){
		"update.same":        func(b *appliance.Bundle) { b.Digest = digest1 },
		"update.path":        func(b *appliance.Bundle) { b.Stack.Manifest.Upgrade.From = ">=1.0.5" },
		"daemon.other-stack": func(b *appliance.Bundle) { b.Stack.Manifest.Name = "care" },
	} {
		t.Run(want, func(t *testing.T) {
			updating(t, edit, func(t *testing.T, b *bench, d *appliance.Daemon) {
				before, row := b.serving(), b.row()
				if _, err := apply(d); !appliance.IsProblem(err, want) {
					t.Error(err)
				}
				b.stillServes(before, row)
				if all, err := b.store.Changes(t.Context(), "", 10); len(all) != 0 || err != nil {
					t.Error("a refused update has a history:", all, err)
				}
			})
		})
	}
}

func TestBadVersionIsNotTriedAgain(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.migrator.err = appliance.Problem("migrate.failed", nil, "file", "2.sql")
		if _, err := apply(d); err == nil {
			t.Fatal("it was taken")
		}
		b.migrator.err = nil
		_, err := apply(d)
		var e *appliance.Error
		if !errors.As(err, &e) || e.ID != "update.bad-version" || len(e.Places) != 1 || e.Places[0].ID != "migrate.copy-not-changed" {
			t.Fatal(err)
		}
		again := func(r *appliance.UpdateRequest) { r.Again = true }
		if _, err := apply(d, again); err != nil {
			t.Error(err)
		}
	})
}

// TestUpdateGoesOn ends the daemon at every step of an update: before the commit
// the old release serves on its own data, after it the new one does.
func TestUpdateGoesOn(t *testing.T) {
	for name, edit := range map[string]func(*appliance.Bundle){
		"": nil, "another server": func(b *appliance.Bundle) { b.Stack.Services[0].Memory *= 2 },
	} {
		for _, id := range append(beforeCommit(), "commit", "route", "retire") {
			for _, when := range moments() {
				t.Run(fmt.Sprint(name, " ", when, " ", id), func(t *testing.T) {
					updating(t, edit, func(t *testing.T, b *bench, d *appliance.Daemon) { b.goesOn(d, id, when) })
				})
			}
		}
	}
}

func beforeCommit() []string {
	return []string{"open", "images", "room", "data", "hold", "stop", "copy", "migrate", "facts", "start", "probe"}
}

func (b *bench) goesOn(d *appliance.Daemon, id string, when moment) {
	b.t.Helper()
	old, server, row := b.serving(), b.engine.running("cache")[0].Digest, b.row()
	_ = b.diesAt(id, when, func() error {
		_, err := apply(d)
		return err
	})
	b.boot()
	time.Sleep(time.Minute)
	all, err := b.store.Changes(context.Background(), "delivery", 10)
	if err != nil || len(all) != 1 {
		b.t.Fatal(all, err)
	}
	if r := b.row(); r.Generation == 2 {
		if slices.Contains(beforeCommit(), id) {
			b.t.Errorf("killed at %s, and the new release runs", id)
		}
		if c := b.serving(); c.Generation != 2 || b.edge.host("rides.example").Gate.Mode != appliance.GateOpen || all[0].Outcome != appliance.Committed {
			b.t.Errorf("%+v, %+v", c.Container, all)
		}
		return
	}
	if !slices.Contains(beforeCommit(), id) && id != "commit" {
		b.t.Errorf("killed at %s, and the old release runs", id)
	}
	b.stillServesAfterCrash(old, row)
	if now := b.engine.running("cache")[0].Digest; now != server {
		b.t.Errorf("killed at %s: the server is %s and was %s", id, now, server)
	}
	if len(all) == 1 && all[0].Outcome != appliance.Interrupted {
		b.t.Errorf("%+v", all[0])
	}
}

func (b *bench) stillServesAfterCrash(old twinContainer, row appliance.Release) {
	b.t.Helper()
	c := b.serving()
	if c.Generation != 1 || c.Digest != old.Digest || b.row() != row || b.edge.host("rides.example").Gate.Mode != appliance.GateOpen {
		b.t.Errorf("serving %+v, row %+v", c.Container, b.row())
	}
	if _, err := os.Stat(b.paths.Generation("delivery", 2)); err == nil {
		b.t.Error("the new generation is still there")
	}
}

func TestRollback(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if _, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); !appliance.IsProblem(err, "update.nothing-before") {
			t.Fatal(err)
		}
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		b.data.set(2, map[string]int64{"orders": 15})
		loss, err := d.WouldLose(t.Context(), "delivery")
		if err != nil || len(loss.Facts) != 1 || loss.Facts[0] != (appliance.FactChange{Name: "orders", Then: 12, Now: 15}) || loss.To.Version != "1.0.0" {
			t.Fatalf("%+v, %v", loss, err)
		}
		c, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil)
		if err != nil || c.Outcome != appliance.Committed {
			t.Fatal(c, err)
		}
		if r := b.row(); r.Generation != 1 || r.Digest != digest1 || b.serving().Generation != 1 {
			t.Errorf("%+v", r)
		}
		if _, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); !appliance.IsProblem(err, "update.nothing-before") {
			t.Error("a way back from a way back:", err)
		}
		if c, err := apply(d); err != nil || c.To.Generation != 3 {
			t.Error("the release can not be taken again:", c.To, err)
		}
	})
}

// TestRollbackThatFails leaves the data that it wanted to go back to.
func TestRollbackThatFails(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		b.engine.mu.Lock()
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Digest == digest1 {
				return appliance.Problem("engine.unhealthy", nil)
			}
			return nil
		}
		b.engine.mu.Unlock()
		if _, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); err == nil {
			t.Fatal("it went back")
		}
		for _, n := range []int64{1, 2} {
			if _, err := os.Stat(b.paths.Generation("delivery", n)); err != nil {
				t.Error(err)
			}
		}
		if c := b.serving(); c.Generation != 2 {
			t.Errorf("%+v", c.Container)
		}
	})
}

func TestTroubleInTheWatch(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			b.engine.crash("coop")
			time.Sleep(20 * time.Second)
		}
		b.engine.setDown(true)
		time.Sleep(time.Minute)
		if f := b.findings(); !slices.Contains(f, "failure update.failing-in-watch") {
			t.Errorf("findings %v", f)
		}
		b.engine.setDown(false)
		time.Sleep(20 * time.Minute)
		if f := b.findings(); slices.Contains(f, "failure update.failing-in-watch") {
			t.Errorf("findings %v", f)
		}
	})
}

// TestOldReleasesMakeRoom keeps the last two releases, and removes older ones.
func TestOldReleasesMakeRoom(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for i := range 4 {
			n := next(nil)
			n.Digest = "sha256:" + strings.Repeat(strconv.Itoa(i+3), 64)
			n.Images = []appliance.Image{{Name: fmt.Sprint("coop", i)}, {Name: "cache"}}
			n.Stack.Services[1].Image = fmt.Sprint("coop", i)
			b.bundles.files["/next"] = n
			b.bundles.files[n.Digest] = n
			if _, err := apply(d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Hour)
		for n, want := range map[int64]bool{1: false, 2: false, 3: true, 4: true, 5: true} {
			if _, err := os.Stat(b.paths.Generation("delivery", n)); (err == nil) != want {
				t.Errorf("generation %d: %v, wanted there: %v", n, err, want)
			}
		}
		kept, err := os.ReadDir(b.paths.Bundles("delivery"))
		if err != nil || len(kept) != 3 {
			t.Errorf("%d bundles, %v", len(kept), err)
		}
		b.engine.mu.Lock()
		defer b.engine.mu.Unlock()
		for i, want := range []bool{false, true, true, true} {
			if b.engine.images[fmt.Sprint("rochdale/coop", i)] != want {
				t.Errorf("image of release %d: %v", i, !want)
			}
		}
	})
}

// TestUpdateWantsACopy: before an update the databases are copied unless that was
// done lately, and what can not be copied is not updated.
func TestUpdateWantsACopy(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.fail("box", &backups.Problem{ID: "backups.disk-full", Args: map[string]string{"repository": "box"}})
		row := b.row()
		if _, err := apply(d); !appliance.IsProblem(err, "update.no-copy") || b.row() != row {
			t.Errorf("without a copy: %v, %+v", err, b.row())
		}
		b.vault.fail("box", nil)
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		if n := b.vault.count("box"); n != 1 || b.row().Digest == row.Digest {
			t.Errorf("%d copies, %+v", n, b.row())
		}
		mark := len(b.vault.heard(0))
		if _, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := apply(d); err != nil || slices.Contains(b.vault.heard(mark), "backup box") {
			t.Errorf("a second copy within the hour: %v, %v", err, b.vault.heard(mark))
		}
	})
}
