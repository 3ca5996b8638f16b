// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

func startSteps() []string {
	return []string{"unpack", "network", "images", "data", "database", "migrate", "start", "commit", "route", "certificate"}
}

func TestApply(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.boot()
		defer func() { b.stop() }()
		var steps []string
		r, err := b.apply(func(e step.Event) {
			if e.Kind == step.Done {
				steps = append(steps, e.Step)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Generation != 1 || r.Digest != digest1 || r.Version != "1.0.0" || r.Committed.IsZero() || r.Settings == "" {
			t.Errorf("row %+v", r)
		}
		if !slices.Equal(steps, startSteps()) {
			t.Errorf("steps %v", steps)
		}
		c := b.serving()
		want := map[string]string{"COOP_BASE_URL": "https://rides.example", "COOP_PROXY": "172.18.0.1", "COOP_NAME": "Delivery co-op"}
		if fmt.Sprint(c.spec.Env) != fmt.Sprint(want) || c.spec.Probe != (appliance.Probe{Port: 8080, Path: "/healthz"}) {
			t.Errorf("coop was told %v, probe %v", c.spec.Env, c.spec.Probe)
		}
		volume := b.paths.Volume("delivery", 1, "data")
		if c.spec.Volumes["data"] != volume {
			t.Errorf("volumes %v", c.spec.Volumes)
		}
		for dir, mode := range map[string]fs.FileMode{volume: 0o700, filepath.Dir(volume): 0o711} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", dir, info, err)
			}
		}
		if m := b.migrator.asked; len(m) != 1 || m[0].VolumeDir != volume || filepath.Base(m[0].Migrations) != "migrations" {
			t.Errorf("migrations %+v", m)
		}
		if h := b.edge.host("www.rides.example"); h.RedirectTo != "rides.example" {
			t.Errorf("alias %+v", h)
		}
		if !slices.Equal(b.edge.warmed, []string{"rides.example", "www.rides.example"}) {
			t.Errorf("warmed %v", b.edge.warmed)
		}
		if again, err := b.apply(nil); err != nil || again != r {
			t.Errorf("again: %+v %v", again, err)
		}
		if got := b.serving(); got.ID != c.ID {
			t.Error("a second start replaced the container")
		}
	})
}

// TestApplyGoesOn ends the daemon at every step of a start, and
// looks at what the next daemon makes of it without being asked.
func TestApplyGoesOn(t *testing.T) {
	for _, id := range startSteps() {
		for _, when := range moments() {
			t.Run(string(when)+" "+id, func(t *testing.T) {
				b := newBench(t)
				synctest.Test(t, func(t *testing.T) {
					b.t = t
					b.boot()
					err := b.diesAt(id, when, func() error {
						_, err := b.apply(nil)
						return err
					})
					if last := id == "certificate" && when != before; err == nil && !last {
						t.Error("the start did not notice its end")
					}
					b.boot()
					defer func() { b.stop() }()
					time.Sleep(20 * time.Second)
					b.serving()
					if r := b.row(); r.Generation != 1 {
						t.Errorf("row %+v", r)
					}
					if open, err := b.store.Requests(t.Context()); err != nil || len(open) != 0 {
						t.Errorf("left open: %v %v", open, err)
					}
				})
			})
		}
	}
}

func TestApplyThatFails(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.boot()
		defer func() { b.stop() }()
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Service.Name == "coop" {
				return appliance.Problem("engine.unhealthy", nil, "log", "no such table")
			}
			return nil
		}
		_, err := b.apply(nil)
		var failed *step.Error
		if !appliance.IsProblem(err, "engine.unhealthy") || !errors.As(err, &failed) || failed.Step != "start" {
			t.Fatal(err)
		}
		if n := len(b.engine.running("coop")) + len(b.engine.running("cache")); n != 0 {
			t.Errorf("%d containers were left running", n)
		}
		if r := b.row(); r.Stack != "" {
			t.Errorf("a failed start was committed: %+v", r)
		}
		if h := b.edge.host("rides.example"); h.Upstream != "" {
			t.Errorf("the edge leads to %s", h.Upstream)
		}
		b.engine.sick = nil
		if r, err := b.apply(nil); err != nil || r.Generation != 1 {
			t.Errorf("%+v %v", r, err)
		}
		b.serving()
	})
}

func TestApplyRefuses(t *testing.T) {
	b := newBench(t)
	b.writeConfig(testConfig + "# nothing more\n")
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.boot()
		defer func() { b.stop() }()
		_, err := d.Apply(t.Context(), appliance.ApplyRequest{Stack: "decisions"}, nil)
		if !appliance.IsProblem(err, "daemon.not-configured") {
			t.Error(err)
		}
		b.bundles.bundle.Stack.Manifest.Name = "other"
		b.stop()
		d = b.boot()
		other, err := b.bundles.Unpack(t.Context(), appliance.Source{File: "/other"}, b.paths.Bundles("delivery"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Apply(t.Context(), appliance.ApplyRequest{Stack: "delivery", Digest: other.Digest}, nil)
		if !appliance.IsProblem(err, "daemon.other-stack") {
			t.Error(err)
		}
	})
}

// TestApplyBundle: a stack begins with the bundle that was unpacked for it, and keeps
// it when it is asked to run again without it.
func TestApplyBundle(t *testing.T) {
	b := newBench(t)
	asked := delivery()
	asked.Digest = "sha256:" + strings.Repeat("3", 64)
	b.bundles.files = map[string]appliance.Bundle{"/asked": asked}
	if _, err := b.bundles.Unpack(t.Context(), appliance.Source{File: "/asked"}, b.paths.Bundles("delivery")); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.boot()
		defer func() { b.stop() }()
		if _, err := d.Apply(t.Context(), appliance.ApplyRequest{Stack: "delivery", Digest: "sha256:gone"}, nil); err == nil {
			t.Error("another bundle was taken for one that is not there")
		}
		got, err := d.Apply(t.Context(), appliance.ApplyRequest{Stack: "delivery", Digest: asked.Digest}, nil)
		if err != nil || got.Digest != asked.Digest {
			t.Errorf("%+v, %v", got, err)
		}
		if again, err := b.apply(nil); err != nil || again != got {
			t.Errorf("asked again: %+v, %v", again, err)
		}
	})
}

// TestApplyKeepsRelease: a stack that ran is not updated by starting it.
func TestApplyKeepsRelease(t *testing.T) {
	b := newBench(t)
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.up()
		before := b.row()
		b.stop()
		old := b.bundles.bundle
		b.bundles.bundle.Digest = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
		b.boot()
		_, err := b.apply(nil)
		if !appliance.IsProblem(err, "daemon.bundle-lost") {
			t.Errorf("another release was started on the data: %v", err)
		}
		b.stop()
		b.bundles.bundle = old
		b.boot()
		defer func() { b.stop() }()
		if r, err := b.apply(nil); err != nil || r != before {
			t.Errorf("%+v %v", r, err)
		}
	})
}

// TestLostStateLeavesDataAlone: numbers of folders that are there are not used.
func TestLostStateLeavesDataAlone(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(b.paths.Generation("delivery", 7), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.boot()
		defer func() { b.stop() }()
		if r, err := b.apply(nil); err != nil || r.Generation != 8 {
			t.Errorf("%+v %v", r, err)
		}
	})
}
