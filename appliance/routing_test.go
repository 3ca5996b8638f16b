// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

// gates collects what the edge is told of the stack's gate from now on.
func (b *bench) gates() *[]appliance.GateMode {
	var all []appliance.GateMode
	b.edge.set(func() {
		b.edge.watch = func(r appliance.Routes) { all = append(all, r.Hosts["rides.example"].Gate.Mode) }
	})
	return &all
}

// besides runs a test on a box that was just started again. Its other stack, care, can
// not be looked at: its bundle is gone. The edge still leads to it.
func besides(t *testing.T, test func(t *testing.T, b *bench, d *appliance.Daemon)) {
	t.Helper()
	b := newBench(t)
	b.writeConfig(strings.Replace(testConfig, "stacks:\n", "stacks:\n  care: {domain: care.example, aliases: [old.care.example]}\n", 1))
	b.bundles.files = map[string]appliance.Bundle{"/next": next(nil)}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		lost := appliance.Release{Stack: "care", Digest: "sha256:" + strings.Repeat("3", 64), Version: "1.0.0", Generation: 1, Committed: time.Now()}
		if err := b.store.Commit(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		b.edge.set(func() {
			b.edge.routes.Hosts["care.example"] = appliance.Host{Stack: "care", Upstream: "172.19.0.2:3000", Gate: appliance.Gate{Mode: appliance.GateOpen}}
			b.edge.routes.Hosts["old.care.example"] = appliance.Host{Stack: "care", RedirectTo: "care.example", Gate: appliance.Gate{Mode: appliance.GateOpen}}
		})
		b.stop()
		test(t, b, b.boot())
	})
}

// leadsToBoth wants the edge to lead to the stack that is well, and to the one that is
// not where it led before.
func (b *bench) leadsToBoth() {
	b.t.Helper()
	b.serving()
	if h := b.edge.host("care.example"); h.Upstream != "172.19.0.2:3000" || h.Gate.Mode != appliance.GateOpen {
		b.t.Errorf("the edge leads to %+v", h)
	}
	if h := b.edge.host("old.care.example"); h.RedirectTo != "care.example" {
		b.t.Errorf("the old name leads to %+v", h)
	}
	if b.edge.empty != 0 {
		b.t.Errorf("%d times without an upstream", b.edge.empty)
	}
}

// TestAnotherStackIsNotWaitedFor: a stack that nobody could look at since the daemon
// began keeps what the edge has for it, and is in nobody's way.
func TestAnotherStackIsNotWaitedFor(t *testing.T) {
	besides(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		time.Sleep(5 * time.Minute)
		b.leadsToBoth()
		gates := b.gates()
		c, err := apply(d)
		if err != nil || c.Outcome != appliance.Committed {
			t.Fatal(c.Outcome, err)
		}
		if want := []appliance.GateMode{appliance.GateHold, appliance.GateOpen}; !slices.Equal(*gates, want) {
			t.Errorf("gates %v, want %v", *gates, want)
		}
		b.leadsToBoth()
		b.engine.crash("coop")
		time.Sleep(time.Minute)
		if err := d.Restart(t.Context(), "delivery", nil); err != nil {
			t.Error(err)
		}
		b.leadsToBoth()
	})
}

// TestNamesChangeBesideAnotherStack: the edge has the new names when it is said so.
func TestNamesChangeBesideAnotherStack(t *testing.T) {
	besides(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := d.Hosts(t.Context(), appliance.HostsRequest{Stack: "delivery", Domain: "new.example", Aliases: []string{"rides.example"}}, nil); err != nil {
			t.Fatal(err)
		}
		web := b.engine.running("coop")
		if h := b.edge.host("new.example"); len(web) != 1 || h.Upstream != web[0].Address+":8080" {
			t.Errorf("the new name leads to %+v", h)
		}
		if h := b.edge.host("care.example"); h.Upstream != "172.19.0.2:3000" {
			t.Errorf("the other stack's leads to %+v", h)
		}
	})
}

// TestUpdateRightAfterTheStart: visitors are held and waited for, also when nobody has
// looked at the stack yet.
func TestUpdateRightAfterTheStart(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		before, row := b.serving(), b.row()
		b.stop()
		gates := b.gates()
		asked := ""
		b.edge.set(func() {
			b.edge.inFlight = func(upstream string) int {
				asked = upstream
				return 3
			}
		})
		b.engine.mu.Lock()
		b.engine.containers[before.ID].Health = "starting" // so that a look takes its time
		b.engine.mu.Unlock()
		c, err := apply(b.boot())
		if !appliance.IsProblem(err, "update.postponed") || c.Outcome != appliance.Postponed {
			t.Error(c.Outcome, err)
		}
		if len(*gates) == 0 || (*gates)[0] != appliance.GateHold {
			t.Errorf("gates %v", *gates)
		}
		if asked != before.Address+":8080" {
			t.Errorf("requests at %q were waited for", asked)
		}
		b.stillServes(before, row)
	})
}

// TestUpdateWithoutTheEdge: nothing is stopped before the edge holds the visitors, and
// the release is taken when it does.
func TestUpdateWithoutTheEdge(t *testing.T) {
	besides(t, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		b.stop()
		b.edge.set(func() { b.edge.down = true })
		d := b.boot()
		mark := len(b.engine.said())
		c, err := apply(d)
		if !appliance.IsProblem(err, "update.put-back-here") || c.Outcome != appliance.PutBack || c.Reason.ID != "edge.unreachable" {
			t.Fatal(c, err)
		}
		if said := b.engine.said()[mark:]; slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, "stop") }) {
			t.Errorf("what happened: %v", said)
		}
		b.edge.set(func() { b.edge.down = false })
		time.Sleep(time.Minute)
		b.leadsToBoth()
		if c, err := apply(d); err != nil || c.Outcome != appliance.Committed {
			t.Error(c.Outcome, err)
		}
		b.leadsToBoth()
	})
}

// TestRestartWithoutTheEdge: what was not looked at before is not taken for something
// that does not run.
func TestRestartWithoutTheEdge(t *testing.T) {
	updating(t, nil, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		before := b.serving()
		b.stop()
		b.edge.set(func() { b.edge.down = true })
		b.engine.mu.Lock()
		b.engine.containers[before.ID].Health = "starting" // so that a look takes its time
		b.engine.mu.Unlock()
		d := b.boot()
		time.AfterFunc(15*time.Second, func() { b.engine.setDown(true) }) // and then nobody can look
		if err := d.Restart(t.Context(), "delivery", nil); !appliance.IsProblem(err, "edge.unreachable") {
			t.Fatal(err)
		}
		b.edge.set(func() { b.edge.down = false })
		time.Sleep(time.Minute)
		if h := b.edge.host("rides.example"); h.Upstream != before.Address+":8080" {
			t.Errorf("the edge leads to %+v", h)
		}
		b.engine.setDown(false)
		time.Sleep(2 * time.Minute)
		b.serving()
		if b.edge.empty != 0 {
			t.Errorf("%d times without an upstream", b.edge.empty)
		}
	})
}
