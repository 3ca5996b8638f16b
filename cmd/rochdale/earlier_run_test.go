// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/step"
)

// goingOn is a daemon that goes on by itself with what an interrupted run asked for,
// until somebody has followed that to its end.
type goingOn struct {
	exampleDaemon
	plan     string // that it goes on with
	followed *atomic.Bool
	orders   *atomic.Int32
}

func (g goingOn) Jobs(context.Context, int) ([]appliance.Job, error) {
	return []appliance.Job{{ID: "01OTHER", Plan: g.plan, Key: "shop"}, {ID: "01SAME", Plan: g.plan, Key: "delivery"}}, nil
}

func (g goingOn) WatchJob(_ context.Context, job string, watch func(step.Event)) error {
	watch(step.Event{Job: job, Plan: g.plan, Step: "load", Index: 1, Total: 1, Kind: step.Started})
	g.followed.Store(job == "01SAME")
	return appliance.Problem("daemon.stopping", nil) // how it ended is not what counts
}

func (g goingOn) Recover(context.Context, appliance.RecoverRequest, func(step.Event)) (appliance.Release, error) {
	return appliance.Release{}, g.order()
}

func (g goingOn) Apply(context.Context, appliance.ApplyRequest, func(step.Event)) (appliance.Release, error) {
	return appliance.Release{}, g.order()
}

func (g goingOn) order() error {
	g.orders.Add(1)
	if g.followed.Load() {
		return nil
	}
	return appliance.Problem("daemon.busy", nil, "stack", "delivery", "plan", g.plan).WithCode(appliance.ExitLocked)
}

// TestGoesOnWithTheSame: a run after one that was interrupted waits for what the daemon
// does about that one, and for nothing else.
func TestGoesOnWithTheSame(t *testing.T) {
	recovers := func(a *app, report func(string)) error {
		return a.newRescuer(appliance.Config{}, nil).Recover(t.Context(), "delivery", appliance.RescuePoint{}, report)
	}
	applies := func(a *app, report func(string)) error { return a.box().Apply(t.Context(), "delivery", "", report) }
	for _, c := range []struct {
		name, plan string
		do         func(*app, func(string)) error
		orders     int32
		noted      []string
	}{
		{"a recovery", "stack-recover", recovers, 2, []string{"load"}},
		{"an installation", "stack-start", applies, 2, []string{"load"}},
		{"a recovery, and something else", "stack-remove", recovers, 1, nil},
		{"an installation, and something else", "stack-recover", applies, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _ := testApp(false, nil)
			a.paths = appliance.Paths{Root: t.TempDir()}
			if err := os.MkdirAll(a.paths.Run(), 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := api.Listen(t.Context(), a.paths.DaemonSocket())
			if err != nil {
				t.Fatal(err)
			}
			d := goingOn{plan: c.plan, followed: &atomic.Bool{}, orders: &atomic.Int32{}}
			go func() { _ = api.Serve(t.Context(), l, d, slog.New(slog.DiscardHandler)) }()
			var noted []string
			err = c.do(a, func(note string) { noted = append(noted, note) })
			if waited := c.orders > 1; waited != (err == nil) || !waited && !appliance.IsProblem(err, "daemon.busy") {
				t.Error(err)
			}
			if n := d.orders.Load(); n != c.orders || !slices.Equal(noted, c.noted) {
				t.Errorf("%d orders, noted %v", n, noted)
			}
		})
	}
}
