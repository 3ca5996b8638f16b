// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/installer/testhost/acmetest"
)

// slice is how many points of the kill matrix a short run takes.
const slice = 3

// TestKillMatrix kills the installer with SIGKILL before and after its steps,
// runs it again, and compares the machine with one that was installed without
// a disturbance, by the declared fields of [box.Snapshot].
func TestKillMatrix(t *testing.T) {
	t.Parallel()
	binary := failpoints(t)
	proxy := cache(t)
	ca, err := acmetest.Start(t.Context(), acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ca.Close(); err != nil {
			t.Error(err)
		}
	})
	o := box.Options{Binary: binary, AptCache: proxy, CA: ca}

	calm := boot(t, o)
	steps := planned(t, calm)
	if _, err := calm.Install(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	healthy(t, calm)
	want, err := calm.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := calm.Close(); err != nil {
		t.Fatal(err)
	}
	points := choose(t, steps)
	for _, point := range points {
		t.Run(point, func(t *testing.T) { killAt(t, o, point, want) })
	}
	t.Logf("%d of %d points, all ended in the undisturbed state: %v", len(points), 2*len(steps), !t.Failed())
}

func killAt(t *testing.T, o box.Options, point string, want box.Snapshot) {
	b := boot(t, o)
	ctx := within(t, 6*time.Minute)
	r, err := b.Exec(ctx, testhost.Command{Args: b.InstallArgs("--json"), Env: []string{"ROCHDALE_FAILPOINT=install/" + point}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 128+9 {
		t.Fatalf("the installer was to be killed at %s; it ended with code %d\n%s\n%s", point, r.Code, r.Stdout, r.Stderr)
	}
	if _, err := b.Install(ctx); err != nil {
		t.Fatalf("the second run: %v", err)
	}
	healthy(t, b)
	got, err := b.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range want.Differences(got) {
		t.Errorf("killed at %s, run again: %s", point, d)
	}
}

// planned reads the step ids of the installation from its own plan.
func planned(t *testing.T, b *box.Box) []string {
	t.Helper()
	r, err := b.Exec(t.Context(), testhost.Command{Args: b.InstallArgs("--plan", "--json")})
	if err != nil || (r.Code != 0 && r.Code != 3) {
		t.Fatalf("install --plan: code %d, %v\n%s\n%s", r.Code, err, r.Stdout, r.Stderr)
	}
	steps, err := planSteps(r.Stdout)
	if err != nil || len(steps) < 10 {
		t.Fatalf("install --plan --json has %d steps (%v):\n%s", len(steps), err, r.Stdout)
	}
	return steps
}

func planSteps(out string) ([]string, error) {
	d := json.NewDecoder(stringReader(out))
	for d.More() {
		var line struct {
			Type  string
			Steps []struct{ ID string }
		}
		if err := d.Decode(&line); err != nil {
			return nil, err
		}
		if len(line.Steps) > 0 {
			var ids []string
			for _, s := range line.Steps {
				ids = append(ids, s.ID)
			}
			return ids, nil
		}
	}
	return nil, fmt.Errorf("no line holds the plan")
}

func choose(t *testing.T, steps []string) []string {
	t.Helper()
	var points []string
	for _, s := range steps {
		points = append(points, s+"/before", s+"/after")
	}
	if torture() {
		return points
	}
	seeded(t).Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	points = points[:min(slice, len(points))]
	slices.Sort(points)
	return points
}

// failpoints builds the product with the points at which it kills itself.
// Everything else in it is the same.
func failpoints(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rochdale")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "failpoints", "-trimpath", "-ldflags", "-s -w", "-o", path, "rochdale/cmd/rochdale")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with failpoints: %v\n%s", err, out)
	}
	return path
}
