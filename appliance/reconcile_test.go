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

func TestCrashIsHealed(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		before := b.serving()
		b.engine.crash("coop")
		time.Sleep(3 * time.Second)
		after := b.serving()
		if after.Name != before.Name || after.Address == before.Address {
			t.Errorf("was %s at %s, is %s at %s", before.Name, before.Address, after.Name, after.Address)
		}
		if f := b.findings(); len(f) != 0 {
			t.Errorf("one crash is a finding: %v", f)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		for range 6 {
			b.engine.crash("coop")
			time.Sleep(40 * time.Second)
		}
		starts := 0
		for _, line := range b.engine.said() {
			if line == "start coop" {
				starts++
			}
		}
		if starts < 5 || starts > 7 {
			t.Errorf("%d starts", starts)
		}
		if f := b.findings(); !slices.Contains(f, "warning daemon.crash-loop") {
			t.Errorf("findings %v", f)
		}
		b.engine.crash("coop")
		time.Sleep(2 * time.Second)
		if f := b.findings(); !slices.Contains(f, "failure daemon.crash-loop") {
			t.Errorf("while it waits: %v", f)
		}
		if got := b.edge.host("rides.example").Upstream; got != "" {
			t.Errorf("the edge leads to %s, where nothing is", got)
		}
		s, err := b.d.Status(t.Context())
		if err != nil || s.Healthy || s.Stacks[0].State != appliance.StateFailing {
			t.Errorf("%+v %v", s, err)
		}
		time.Sleep(20 * time.Minute)
		b.serving()
		if f := b.findings(); len(f) != 0 {
			t.Errorf("long after: %v", f)
		}
	})
}

// TestNeverComesUp: a service that can not start is tried again with growing
// pauses, and never in a tight loop.
func TestNeverComesUp(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		b.engine.mu.Lock()
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Service.Name != "coop" {
				return nil
			}
			b.engine.named("rochdale-delivery-coop-" + s.Suffix).end(3)
			return appliance.Problem("engine.ended", nil, "log", "no such table")
		}
		b.engine.mu.Unlock()
		b.engine.crash("coop")
		time.Sleep(30 * time.Minute)
		starts := 0
		for _, line := range b.engine.said() {
			if line == "start coop" {
				starts++
			}
		}
		if starts < 8 || starts > 25 {
			t.Errorf("%d starts in half an hour", starts)
		}
		if f := b.findings(); !slices.Contains(f, "failure engine.ended") {
			t.Errorf("findings %v", f)
		}
	})
}

func TestReboot(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		b.stop()
		b.engine.crash("coop")
		b.engine.crash("cache")
		b.engine.setDown(true)
		taken := b.edge.taken
		b.boot()
		defer func() { b.stop() }()
		time.Sleep(45 * time.Second)
		if b.edge.taken != taken || b.edge.host("rides.example").Upstream == "" {
			t.Error("the edge was told a guess while the engine was down")
		}
		if f := b.findings(); !slices.Contains(f, "failure engine.unreachable") {
			t.Errorf("findings %v", f)
		}
		before := len(b.engine.said())
		b.engine.setDown(false)
		time.Sleep(40 * time.Second)
		b.serving()
		starts := slices.DeleteFunc(b.engine.said()[before:], func(l string) bool { return !strings.HasPrefix(l, "start") })
		if !slices.Equal(starts, []string{"start cache", "start coop"}) {
			t.Errorf("started %v", starts)
		}
		if f := b.findings(); len(f) != 0 {
			t.Errorf("findings %v", f)
		}
	})
}

func TestSuperfluousContainersEnd(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		good := b.serving()
		spec := good.spec
		spec.Suffix, spec.Digest = "oldone", "sha256:old"
		old, err := b.engine.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		b.edge.set(func() {
			b.edge.inFlight = func(u string) int {
				if u == old.Address+":8080" && time.Since(began) < 40*time.Second {
					return 1
				}
				return 0
			}
		})
		b.d.Wake()
		time.Sleep(20 * time.Second)
		if len(b.engine.running("coop")) != 2 {
			t.Error("a container with a request on its way was ended")
		}
		time.Sleep(time.Minute)
		if got := b.serving(); got.ID != good.ID {
			t.Error("the wrong one was ended")
		}
		if !slices.Contains(b.engine.said(), "stop coop after 7s") {
			t.Errorf("no grace: %v", b.engine.said())
		}
	})
}

// TestStrangersAreLeftAlone: without a row nobody knows what should run.
func TestStrangersAreLeftAlone(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		c := b.serving()
		if err := b.store.Forget(t.Context(), "delivery"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if got := b.engine.running("coop"); len(got) != 1 || got[0].ID != c.ID {
			t.Errorf("%+v", got)
		}
		if f := b.findings(); !slices.Contains(f, "warning daemon.stray") {
			t.Errorf("findings %v", f)
		}
	})
}

func TestUnhealthyIsRestarted(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		first := b.serving()
		b.engine.mu.Lock()
		b.engine.containers[first.ID].Health = "unhealthy"
		b.engine.mu.Unlock()
		time.Sleep(time.Minute)
		if f := b.findings(); !slices.Contains(f, "failure daemon.unhealthy") {
			t.Errorf("findings %v", f)
		}
		time.Sleep(2 * time.Minute)
		if got := b.serving(); got.ID == first.ID {
			t.Error("it was not restarted")
		}
		if f := b.findings(); len(f) != 0 {
			t.Errorf("findings %v", f)
		}
	})
}

func TestEdgeFollowsWhenItIsBack(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		b.edge.set(func() { b.edge.down = true })
		b.engine.crash("coop")
		time.Sleep(2 * time.Minute)
		if f := b.findings(); !slices.Contains(f, "failure daemon.edge-silent") {
			t.Errorf("findings %v", f)
		}
		b.edge.set(func() { b.edge.down = false })
		time.Sleep(4 * time.Second)
		b.serving()
		// An edge that outlived a lost state is told a higher version.
		b.edge.set(func() { b.edge.routes.Version = 4000 })
		b.engine.crash("coop")
		time.Sleep(5 * time.Second)
		b.serving()
		if v := b.edge.routes.Version; v < 4001 {
			t.Errorf("version %d", v)
		}
	})
}
