// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

func TestSwap(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		old, mark := b.serving(), len(b.engine.said())
		var leaving time.Time
		b.edge.set(func() {
			b.edge.inFlight = func(u string) int {
				if u != old.Address+":8080" {
					return 9
				}
				if leaving.IsZero() {
					leaving = time.Now()
				}
				if time.Since(leaving) < 10*time.Second {
					return 2
				}
				return 0
			}
		})
		if err := d.Restart(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		fresh := b.serving()
		if fresh.ID == old.ID || fresh.Generation != old.Generation || fresh.Digest != old.Digest {
			t.Errorf("old %+v, new %+v", old.Container, fresh.Container)
		}
		want := []string{"start coop", "routes", "stop coop after 7s", "remove coop"}
		if got := b.engine.said()[mark:]; !slices.Equal(got, want) {
			t.Errorf("what happened: %v, want %v", got, want)
		}
		if b.edge.empty != 0 || time.Since(leaving) < 10*time.Second {
			t.Errorf("the edge was without an upstream %d times; drained for %v", b.edge.empty, time.Since(leaving))
		}
		if r := b.row(); r.Generation != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// TestSwapDrainIsBounded: a request that never ends does not stop the swap.
func TestSwapDrainIsBounded(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.edge.set(func() { b.edge.inFlight = func(string) int { return 1 } })
		began := time.Now()
		if err := d.Restart(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("took %v", took)
		}
		b.serving()
	})
}

func TestSwapThatFails(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		old, taken := b.serving(), b.edge.taken
		b.engine.mu.Lock()
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Service.Name == "coop" && s.Suffix != old.spec.Suffix {
				return appliance.Problem("engine.unhealthy", nil, "log", "port in use")
			}
			return nil
		}
		b.engine.mu.Unlock()
		if err := d.Restart(t.Context(), "delivery", nil); !appliance.IsProblem(err, "engine.unhealthy") {
			t.Fatal(err)
		}
		if got := b.serving(); got.ID != old.ID || b.edge.taken != taken {
			t.Error("the old one was touched")
		}
		time.Sleep(2 * time.Minute)
		if got := b.serving(); got.ID != old.ID {
			t.Error("the old one was touched later")
		}
		if f := b.findings(); len(f) != 0 {
			t.Errorf("findings %v", f)
		}
	})
}

// TestSwapGoesOn ends the daemon at every step of a swap.
func TestSwapGoesOn(t *testing.T) {
	for _, id := range []string{"start", "switch", "drain", "retire"} {
		for _, when := range moments() {
			t.Run(string(when)+" "+id, func(t *testing.T) {
				b := newBench(t)
				synctest.Test(t, func(t *testing.T) {
					b.t = t
					d := b.up()
					old := b.serving()
					_ = b.diesAt(id, when, func() error { return d.Restart(t.Context(), "delivery", nil) })
					b.boot()
					defer func() { b.stop() }()
					time.Sleep(20 * time.Second)
					if got := b.serving(); got.ID == old.ID || b.edge.empty != 0 {
						t.Errorf("the swap was not gone on with; without upstream %d times", b.edge.empty)
					}
				})
			})
		}
	}
}

func TestManySwaps(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		for i := range 50 {
			if err := d.Restart(t.Context(), "delivery", nil); err != nil {
				t.Fatal(i, err)
			}
		}
		b.serving()
		if b.edge.empty != 0 || len(b.engine.containers) != 2 {
			t.Errorf("without upstream %d times, %d containers", b.edge.empty, len(b.engine.containers))
		}
	})
}

func TestOneOperationAtATime(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		var second error
		err := d.Restart(t.Context(), "delivery", func(e step.Event) {
			if e.Step == "start" && e.Kind == step.Started {
				second = d.Remove(t.Context(), "delivery", nil)
			}
		})
		if err != nil || !appliance.IsProblem(second, "daemon.busy") || appliance.ExitCode(second) != appliance.ExitLocked {
			t.Errorf("first %v, second %v", err, second)
		}
		b.serving()
	})
}

// TestAskerLeaves: a job goes on when nobody listens any more, and can be
// listened to again.
func TestAskerLeaves(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		old := b.serving()
		ctx, leave := context.WithCancel(t.Context())
		job := ""
		if err := d.Restart(ctx, "delivery", func(e step.Event) { job = e.Job; leave() }); err == nil {
			t.Error("the asker did not leave")
		}
		var kinds []string
		if err := d.WatchJob(t.Context(), job, func(e step.Event) { kinds = append(kinds, e.Step+" "+string(e.Kind)) }); err != nil {
			t.Fatal(err)
		}
		if kinds[0] != "start started" || kinds[len(kinds)-1] != " ended" {
			t.Errorf("events %v", kinds)
		}
		if b.serving().ID == old.ID {
			t.Error("the job did not go on")
		}
		again := 0
		if err := d.WatchJob(t.Context(), job, func(step.Event) { again++ }); err != nil || again != len(kinds) {
			t.Errorf("%d events afterwards, %d before, %v", again, len(kinds), err)
		}
		if err := d.WatchJob(t.Context(), "no such job", nil); !appliance.IsProblem(err, "daemon.no-job") {
			t.Error(err)
		}
	})
}

func TestHosts(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		old := b.serving()
		r := appliance.HostsRequest{Stack: "delivery", Domain: "new.example", Aliases: []string{"rides.example", "www.rides.example"}}
		if err := d.Hosts(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		coop := b.engine.running("coop")
		if len(coop) != 1 || coop[0].ID == old.ID || coop[0].spec.Env["COOP_BASE_URL"] != "https://new.example" {
			t.Errorf("%+v", coop)
		}
		if h := b.edge.host("new.example"); h.Upstream != coop[0].Address+":8080" {
			t.Errorf("%+v", h)
		}
		if h := b.edge.host("rides.example"); h.RedirectTo != "new.example" {
			t.Errorf("%+v", h)
		}
		text, err := os.ReadFile(b.paths.Config())
		if err != nil || !strings.Contains(string(text), "# our box") || !strings.Contains(string(text), "domain: new.example") {
			t.Errorf("%s %v", text, err)
		}
		c, err := appliance.ReadConfig(b.paths.Config())
		if err != nil || !slices.Equal(c.Stacks["delivery"].Hosts(), []string{"new.example", "rides.example", "www.rides.example"}) {
			t.Errorf("%+v %v", c, err)
		}
		// Other aliases alone need no other containers.
		r.Aliases = nil
		if err := d.Hosts(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.engine.running("coop"); got[0].ID != coop[0].ID {
			t.Error("the container was swapped for an alias")
		}
		if h := b.edge.host("rides.example"); h != (appliance.Host{}) {
			t.Errorf("%+v", h)
		}
		time.Sleep(2 * time.Minute)
		if got := b.engine.running("coop"); len(got) != 1 || got[0].ID != coop[0].ID || b.edge.empty != 0 {
			t.Error("it did not come to rest")
		}
	})
}

// TestManyHostsDoNotStopHealing: an authority that does not answer for many names
// keeps the stack from being looked after for a short while only.
func TestManyHostsDoNotStopHealing(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.edge.warm = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		r := appliance.HostsRequest{Stack: "delivery", Domain: "rides.example"}
		for i := range appliance.MaxAliases {
			r.Aliases = append(r.Aliases, fmt.Sprintf("a%d.example", i))
		}
		began := time.Now()
		if err := d.Hosts(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("nobody looked after the stack for %v", took)
		}
	})
}

func TestHostsRefuses(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		before, err := os.ReadFile(b.paths.Config())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			r  appliance.HostsRequest
			id string
		}{
			{appliance.HostsRequest{Stack: "delivery", Domain: "Not A Name"}, "config.value"},
			{appliance.HostsRequest{Stack: "delivery", Domain: ""}, "config.value"},
			{appliance.HostsRequest{Stack: "delivery", Domain: "a.example", Aliases: []string{"a.example"}}, "config.host-twice"},
			{appliance.HostsRequest{Stack: "other", Domain: "a.example"}, "daemon.no-stack"},
		} {
			if err := d.Hosts(t.Context(), c.r, nil); !appliance.IsProblem(err, c.id) {
				t.Errorf("%+v: %v, want %s", c.r, err, c.id)
			}
		}
		after, err := os.ReadFile(b.paths.Config())
		if err != nil || string(after) != string(before) {
			t.Error("the configuration was changed")
		}
	})
}

// TestEditedConfigurationIsFollowed: what an operator writes into the file
// comes into force at a reload, and also when the daemon was dead meanwhile.
func TestEditedConfigurationIsFollowed(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		b.writeConfig(strings.ReplaceAll(testConfig, "domain: rides.example", "domain: second.example"))
		if err := d.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if c := b.engine.running("coop"); len(c) != 1 || c[0].spec.Env["COOP_BASE_URL"] != "https://second.example" {
			t.Errorf("%+v", c)
		}
		b.stop()
		b.writeConfig(testConfig)
		b.boot()
		time.Sleep(time.Minute)
		b.serving()
		// A bad one is a finding; the last good one stays, over a restart too.
		b.writeConfig("schema: 1\nstacks: {delivery: {domain: 7 7}}\n")
		if err := b.d.Reload(t.Context()); !appliance.IsProblem(err, "config.value") {
			t.Error(err)
		}
		for range 2 {
			if f := b.findings(); !slices.Equal(f, []string{"warning config.value"}) {
				t.Errorf("findings %v", f)
			}
			b.serving()
			b.stop()
			b.engine.crash("coop")
			b.boot()
			time.Sleep(time.Minute)
		}
		b.stop()
		_ = os.Remove(b.paths.Config())
		_ = os.Remove(b.paths.GoodConfig())
		b.boot()
		defer func() { b.stop() }()
		if f := b.findings(); !slices.Contains(f, "failure config.missing") {
			t.Errorf("findings %v", f)
		}
	})
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		if err := d.Remove(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if len(b.engine.containers)+len(b.engine.networks)+len(b.engine.images) != 0 {
			t.Errorf("left: %v %v %v", b.engine.containers, b.engine.networks, b.engine.images)
		}
		stops := slices.DeleteFunc(b.engine.said(), func(l string) bool { return !strings.HasPrefix(l, "stop") })
		if !slices.Equal(stops, []string{"stop coop after 7s", "stop cache after 3s"}) {
			t.Errorf("stopped %v", stops)
		}
		if h := b.edge.host("rides.example"); h != (appliance.Host{}) {
			t.Errorf("the edge has %+v", h)
		}
		if _, err := os.Stat(b.paths.Volume("delivery", 1, "data")); err != nil {
			t.Error(err)
		}
		s, err := d.Status(t.Context())
		if err != nil || !s.Healthy || s.Stacks[0].State != appliance.StateStopped {
			t.Errorf("%+v %v", s, err)
		}
		if err := d.Restart(t.Context(), "delivery", nil); !appliance.IsProblem(err, "daemon.stack-stopped") {
			t.Error(err)
		}
		r, err := b.apply(nil)
		if err != nil || r.Generation != 1 || r.Stopped {
			t.Errorf("%+v %v", r, err)
		}
		b.serving()
	})
}

func TestLink(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		for printed, want := range map[string]string{
			"/first-admin/abc\n": "https://rides.example/first-admin/abc",
			"//evil.example/":    "", "https://evil.example/": "", "/a /b": "", "/a\n/b": "", "/" + strings.Repeat("x", 3000): "",
		} {
			b.engine.mu.Lock()
			b.engine.prints = printed
			b.engine.mu.Unlock()
			got, err := d.Link(t.Context(), appliance.LinkRequest{Stack: "delivery"})
			if got != want || (want == "") != appliance.IsProblem(err, "daemon.link-failed") {
				t.Errorf("%.20q: %q %v", printed, got, err)
			}
		}
		b.engine.mu.Lock()
		b.engine.prints = "/reset/abc\n"
		b.engine.mu.Unlock()
		got, err := d.Link(t.Context(), appliance.LinkRequest{Stack: "delivery", Member: "ada@rides.example"})
		if err != nil || got != "https://rides.example/reset/abc" || !slices.Contains(b.engine.said(), "exec /coop reset-link ada@rides.example") {
			t.Errorf("for a member: %q, %v", got, err)
		}
		for _, bad := range []string{"ada", "-x@y", "@y", "a@", "a b@y", "a@y\x1b[2J", strings.Repeat("a", 254) + "@y"} {
			if _, err := d.Link(t.Context(), appliance.LinkRequest{Stack: "delivery", Member: bad}); !appliance.IsProblem(err, "daemon.member-form") {
				t.Errorf("%q: %v", bad, err)
			}
		}
		b.engine.mu.Lock()
		b.engine.prints = "\n"
		b.engine.mu.Unlock()
		if _, err := d.Link(t.Context(), appliance.LinkRequest{Stack: "delivery"}); !appliance.IsProblem(err, "daemon.has-admin") {
			t.Error(err)
		}
		lost := appliance.LinkRequest{Stack: "delivery", Member: "ada@rides.example"}
		if _, err := d.Link(t.Context(), lost); !appliance.IsProblem(err, "daemon.member-link-failed") {
			t.Error(err)
		}
		b.engine.mu.Lock()
		b.engine.execErr = appliance.Problem("engine.program-failed", nil, "program", "/coop", "code", 1, "detail", "no such member")
		b.engine.mu.Unlock()
		var refused *appliance.Error
		if _, err := d.Link(t.Context(), lost); !errors.As(err, &refused) || refused.Args["detail"] != "no such member" {
			t.Error(err)
		}
		b.engine.crash("coop")
		if _, err := d.Link(t.Context(), appliance.LinkRequest{Stack: "delivery"}); !appliance.IsProblem(err, "daemon.web-gone") {
			t.Error(err)
		}
	})
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		for _, c := range []struct{ stack, service, id string }{
			{"delivery", "", ""}, {"delivery", "cache", ""}, {"delivery", "nope", "daemon.no-service"}, {"nope", "", "daemon.no-stack"},
		} {
			var out strings.Builder
			err := d.Logs(t.Context(), appliance.LogsRequest{Stack: c.stack, Service: c.service}, &out)
			if c.id == "" && (err != nil || out.String() != "last words\n") || c.id != "" && !appliance.IsProblem(err, c.id) {
				t.Errorf("%+v: %q %v", c, out.String(), err)
			}
		}
	})
}

// TestDailyCleanUp removes what no row speaks of, and never data.
func TestDailyCleanUp(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		defer func() { b.stop() }()
		b.engine.mu.Lock()
		b.engine.images["rochdale/old"] = true
		b.engine.mu.Unlock()
		old := fmt.Sprintf("%s/%064d", b.paths.Bundles("delivery"), 9)
		data := b.paths.Generation("delivery", 99)
		for _, dir := range []string{old, data} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(49 * time.Hour)
		b.engine.mu.Lock()
		left := b.engine.images["rochdale/old"]
		b.engine.mu.Unlock()
		if _, err := os.Stat(old); left || err == nil {
			t.Error("an old image or bundle is still there")
		}
		if _, err := os.Stat(data); err != nil {
			t.Error("data was removed")
		}
		b.serving()
	})
}
