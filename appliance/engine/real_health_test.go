// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package engine_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"rochdale/appliance"
	"rochdale/appliance/engine"
	"rochdale/stacks"
)

func TestRealHealthGate(t *testing.T) {
	e := realEngine(t)
	health := &stacks.Health{
		Test:     []string{"/service", "as-service", "fetch", "http://127.0.0.1:8080/healthz"},
		Interval: 10 * time.Minute, Timeout: 5 * time.Second, Retries: 3,
	}
	t.Run("own test, sooner than the engine's first", func(t *testing.T) {
		s := newSpec(t, e, "gate-own", "serve")
		s.Service.Health = health
		c, err := e.Start(t.Context(), s)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		must(t, e.WaitHealthy(ctx, c.ID))
	})
	t.Run("the engine says unhealthy", func(t *testing.T) {
		s := newSpec(t, e, "gate-sick", "deaf")
		sick := *health
		sick.Interval, sick.Retries = time.Second, 1
		s.Service.Health = &sick
		c, err := e.Start(t.Context(), s)
		must(t, err)
		err = e.WaitHealthy(t.Context(), c.ID)
		wantProblem(t, err, "engine.unhealthy")
		if p := problem(err); !strings.Contains(p.Args["log"], "I hear nothing") || !strings.Contains(p.Args["reason"], "refused") {
			t.Errorf("arguments %v", p.Args)
		}
	})
	t.Run("never answers the probe", func(t *testing.T) {
		s := newSpec(t, e, "gate-deaf", "deaf")
		s.Probe = appliance.Probe{Port: 8080, Path: "/healthz"}
		c, err := e.Start(t.Context(), s)
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		wantProblem(t, e.WaitHealthy(ctx, c.ID), "engine.unhealthy")
	})
	t.Run("the image's own test, which needs a shell that is not there", func(t *testing.T) {
		s := newSpec(t, e, "gate-shell", "serve")
		ref, err := e.Load(t.Context(), testImage(t, "shell", "one", func(c *v1.Config) {
			c.Healthcheck = &v1.HealthConfig{Test: []string{"CMD-SHELL", "true"}, Interval: 5 * time.Second, Retries: 1}
		}))
		must(t, err)
		s.Image, s.Probe = ref, appliance.Probe{Port: 8080, Path: "/healthz"}
		c, err := e.Start(t.Context(), s)
		must(t, err)
		wantProblem(t, e.WaitHealthy(t.Context(), c.ID), "engine.unhealthy")
	})
	t.Run("nothing to ask", func(t *testing.T) {
		c, err := e.Start(t.Context(), newSpec(t, e, "gate-none", "deaf"))
		must(t, err)
		must(t, e.WaitHealthy(t.Context(), c.ID))
	})
}

func TestRealMemoryLimitBites(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "hungry", "eat", "200")
	c, err := e.Start(t.Context(), s)
	must(t, err)
	err = e.WaitHealthy(t.Context(), c.ID)
	wantProblem(t, err, "engine.out-of-memory")
	t.Log(err)
	if p := problem(err); p.Args["code"] != "137" || p.Args["memory"] != "64" || !strings.Contains(p.Args["log"], "I am hungry") {
		t.Errorf("arguments %v", p.Args)
	}
	if c := only(t, e, "hungry"); !c.OOMKilled || c.ExitCode != 137 {
		t.Errorf("container %+v", c)
	}
}

func TestRealStats(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "stats", "serve"))
	before, err := e.Stats(t.Context(), c.ID)
	must(t, err)
	get(t, c, "/eat?mb=30")
	after, err := e.Stats(t.Context(), c.ID)
	must(t, err)
	t.Logf("held %d bytes, then %d", before, after)
	if before <= 0 || after-before < 29<<20 || after > 64<<20 {
		t.Errorf("held %d bytes, then %d", before, after)
	}
}

func TestRealNetworksAreApart(t *testing.T) {
	e := realEngine(t)
	a := started(t, e, newSpec(t, e, "apart-a", "serve"))
	b := started(t, e, newSpec(t, e, "apart-b", "serve"))
	fetch := func(from appliance.Container, url string) error {
		_, err := e.Exec(t.Context(), from.ID, []string{"/service", "as-service", "fetch", url})
		return err
	}
	must(t, fetch(a, "http://web:8080/healthz")) // by its service's name
	must(t, fetch(b, "http://"+b.Address+":8080/healthz"))
	wantProblem(t, fetch(a, "http://"+b.Address+":8080/healthz"), "engine.program-failed")
	wantProblem(t, fetch(b, "http://"+a.Address+":8080/healthz"), "engine.program-failed")
	if _, err := os.Stat("/sys/class/net/" + engine.BridgeName("apart-a")); err != nil {
		t.Error(err)
	}
}

// TestRealOnceIsNotFound runs what does one thing beside its service. It reaches
// the service, and nobody who asks for the service meets it.
func TestRealOnceIsNotFound(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "once-apart", "serve")
	service := started(t, e, s)
	s.Suffix, s.Service.Name, s.Once = appliance.NewSuffix(), "web_migrate", true
	once, err := e.Start(t.Context(), s)
	must(t, err)
	fetch := func(from appliance.Container, host string) error {
		_, err := e.Exec(t.Context(), from.ID, []string{"/service", "as-service", "fetch", "http://" + host + ":8080/healthz"})
		return err
	}
	for began := time.Now(); fetch(once, "127.0.0.1") != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it does not listen, so that nothing is shown")
		}
	}
	must(t, fetch(once, "web"))
	wantProblem(t, fetch(service, "web_migrate"), "engine.program-failed")
	must(t, e.Remove(t.Context(), service.ID))
	wantProblem(t, fetch(once, "web"), "engine.program-failed")
	if c := only(t, e, "once-apart"); c.Health != "none" || c.Service != "web_migrate" {
		t.Errorf("container %+v", c)
	}
}

func TestRealStop(t *testing.T) {
	e := realEngine(t)
	c := started(t, e, newSpec(t, e, "stop", "serve"))
	must(t, e.Stop(t.Context(), c.ID, 30*time.Second))
	if c = only(t, e, "stop"); c.ExitCode != 0 {
		t.Errorf("not ended by SIGTERM: %+v", c)
	}
	if log := logs(t, e, c.ID, appliance.LogOptions{Tail: 1}); log != "goodbye\n" {
		t.Errorf("log %q", log)
	}
	must(t, e.Stop(t.Context(), c.ID, time.Second))
	deaf, err := e.Start(t.Context(), newSpec(t, e, "stop-deaf", "deaf"))
	must(t, err)
	for began := time.Now(); logs(t, e, deaf.ID, appliance.LogOptions{}) == ""; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("it does not say that it hears nothing")
		}
	}
	must(t, e.Stop(t.Context(), deaf.ID, time.Second))
	if c = only(t, e, "stop-deaf"); c.ExitCode != 137 || c.OOMKilled {
		t.Errorf("not killed after its grace: %+v", c)
	}
	must(t, e.Remove(t.Context(), c.ID))
	must(t, e.Remove(t.Context(), c.ID))
}

func TestRealCrashLoopIsNoticed(t *testing.T) {
	e := realEngine(t)
	s := newSpec(t, e, "loop", "exit", "1")
	for n := 1; n <= 3; n++ {
		c, err := e.Start(t.Context(), s)
		must(t, err)
		wantProblem(t, e.WaitHealthy(t.Context(), c.ID), "engine.ended")
		if c = only(t, e, "loop"); c.Crashes != n {
			t.Errorf("%d crashes counted after %d", c.Crashes, n)
		}
	}
	s.Suffix = appliance.NewSuffix() // a new container of the same service
	s.Service.Command = []string{"serve"}
	started(t, e, s)
	list, err := e.List(t.Context(), "loop")
	must(t, err)
	if len(list) != 2 || !list[0].Running() || list[0].Crashes != 3 {
		t.Errorf("newest first: %+v", list)
	}
}
