// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/installer/testhost/acmetest"
	"rochdale/stacks/coop/walk"
)

const (
	recoverPlan   = "recover"       // of the command
	stackPlan     = "stack-recover" // of the daemon, in the command's step "stacks"
	recoverPoints = 3               // of the command, in a short run
)

// stackSteps are those of stackPlan: a machine that is not recovered yet can not be
// asked. Whoever is recovered undisturbed is held to them.
var stackSteps = strings.Fields("fetch unpack network images data database load facts migrate start commit route certificate")

// killRecovery loses a machine and recovers it on one machine after the other, each of
// which is killed at another point: the command before and after each of its steps, and
// the daemon before and after each of those by which it brings a stack back. All have to
// end as the one did that nobody disturbed.
func killRecovery(t *testing.T) {
	ctx := within(t, 4*time.Hour)
	if err := testhost.Setup(ctx, os.Stderr); err != nil {
		t.Fatal(err)
	}
	authority, err := acmetest.Start(ctx, acmetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := authority.Close(); err != nil {
			t.Error(err)
		}
	})
	k := &killedRecovery{store: overS3(t, ctx), o: box.Options{Binary: failpoints(t), CA: authority, AptCache: cache(t)}, aside: filepath.Join(t.TempDir(), "aside")}
	o := k.o
	o.Name = "first"
	first := boot(t, o)
	k.lost = useAndSave(t, ctx, first, k.store, loss{})
	if err := first.Machine.Close(); err != nil {
		t.Fatal(err)
	}
	copyStore(t, ctx, k.store.folder, k.aside)

	var points []string
	t.Run("undisturbed", func(t *testing.T) {
		b := k.machine(t, ctx)
		points = recoverySteps(t, ctx, b, k.lost.pages)
		recoverBox(t, ctx, b, k.lost.pages, nil)
		k.want = k.look(t, ctx, b)
		if got := stepsOf(t, ctx, b, stackPlan); !slices.Equal(got, stackSteps) {
			t.Errorf("the steps of %s are %v, and not %v", stackPlan, got, stackSteps)
		}
	})
	points = slices.Concat(bothSides(recoverPlan, points), bothSides(stackPlan, stackSteps))
	for _, p := range points {
		if t.Failed() {
			return
		}
		t.Run(p, func(t *testing.T) {
			b := k.machine(t, ctx)
			killRecoveryAt(t, ctx, b, k.lost.pages, p)
			recoverBox(t, ctx, b, k.lost.pages, nil)
			for _, d := range k.want.Differences(k.look(t, ctx, b)) {
				t.Error(d)
			}
		})
	}
	t.Logf("killed at %d points, each ended as the undisturbed one: %v", len(points), !t.Failed())
}

// killedRecovery is what every recovery of a matrix begins with.
type killedRecovery struct {
	store place
	o     box.Options
	lost  life
	aside string // where the store is kept as the lost machine left it
	want  box.Snapshot
}

// machine is a bare one with the kit, before the store as it was.
func (k *killedRecovery) machine(t *testing.T, ctx context.Context) *box.Box {
	t.Helper()
	copyStore(t, ctx, k.aside, k.store.folder)
	b := boot(t, k.o)
	bringKit(t, ctx, b, k.store, k.lost.pages)
	return b
}

// look wants a recovered machine to be well and to serve what was saved, and gives what
// it has in common with every other one.
func (k *killedRecovery) look(t *testing.T, ctx context.Context, b *box.Box) box.Snapshot {
	t.Helper()
	servesLost(t, ctx, b, k.lost)
	s, err := b.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// copyStore makes a folder as another one is.
func copyStore(t *testing.T, ctx context.Context, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "cp", "--archive", from, to).CombinedOutput(); err != nil { // extended attributes too
		t.Fatalf("%v: %s", err, out)
	}
}

// servesLost wants the order of the lost machine, its certificate, and a box that is well.
func servesLost(t *testing.T, ctx context.Context, b *box.Box, lost life) {
	t.Helper()
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	o := lost.options
	o.Transport = b.Transport()
	if err := walk.Verify(ctx, o, lost.receipt); err != nil {
		t.Fatalf("the order of the lost machine: %v", err)
	}
	if serial := certificateOf(t, b); serial.Cmp(lost.certificate) != 0 {
		t.Errorf("the certificate is %x, the lost machine had %x", serial, lost.certificate)
	}
	healthy(t, b)
}

// recoverySteps are those that the command has before it on this machine.
func recoverySteps(t *testing.T, ctx context.Context, b *box.Box, pages []string) []string {
	t.Helper()
	r, err := b.Exec(ctx, testhost.Command{Args: append(recoverArgs(pages), "--plan")})
	if err != nil || r.Code != 0 && r.Code != 3 {
		t.Fatalf("recover --plan: code %d, %v\n%s\n%s", r.Code, err, r.Stdout, r.Stderr)
	}
	steps, err := planSteps(r.Stdout)
	if err != nil || len(steps) < 10 || !slices.Contains(steps, "stacks") {
		t.Fatalf("recover --plan --json has the steps %v (%v):\n%s", steps, err, r.Stdout)
	}
	return steps
}

// stepsOf are the steps of the newest job of a plan, as the machine remembers them.
func stepsOf(t *testing.T, ctx context.Context, b *box.Box, plan string) (steps []string) {
	t.Helper()
	var list struct{ Jobs []struct{ ID, Plan string } }
	out := inside(t, ctx, b, "rochdale job list --json")
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, j := range list.Jobs {
		if j.Plan != plan {
			continue
		}
		for line := range strings.Lines(inside(t, ctx, b, "rochdale job show "+j.ID+" --json")) {
			var e struct{ Step string }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if e.Step != "" && !slices.Contains(steps, e.Step) {
				steps = append(steps, e.Step)
			}
		}
		return steps
	}
	return nil
}

func bothSides(plan string, steps []string) (points []string) {
	for _, s := range steps {
		points = append(points, plan+"/"+s+"/before", plan+"/"+s+"/after")
	}
	return points
}

// killRecoveryAt runs the command and wants it, or the daemon, to be killed at the point.
func killRecoveryAt(t *testing.T, ctx context.Context, b *box.Box, pages []string, point string) {
	t.Helper()
	if !strings.HasPrefix(point, stackPlan+"/") {
		killCommandAt(t, ctx, b, pages, point)
		return
	}
	killCommandAt(t, ctx, b, pages, recoverPlan+"/stacks/before") // now there is a daemon
	const file = "/var/lib/rochdale/failpoint"
	if err := b.WriteFile(ctx, file, []byte(point), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := b.Exec(ctx, testhost.Command{Args: recoverArgs(pages)})
	if err != nil || r.Code == 0 || r.Code == 3 {
		t.Fatalf("%s: the command did not see the daemon end: code %d, %v\n%s", point, r.Code, err, r.Stdout)
	}
	if _, err := b.ReadFile(ctx, file); err == nil {
		t.Fatalf("%s: nobody was killed\n%s\n%s", point, r.Stdout, r.Stderr)
	}
}

func killCommandAt(t *testing.T, ctx context.Context, b *box.Box, pages []string, point string) {
	t.Helper()
	r, err := b.Exec(ctx, testhost.Command{Args: recoverArgs(pages), Env: []string{"ROCHDALE_FAILPOINT=" + point}})
	if err != nil || r.Code != 128+9 {
		t.Fatalf("the recovery was to be killed at %s: code %d, %v\n%s\n%s", point, r.Code, err, r.Stdout, r.Stderr)
	}
}

// killOnTheWay kills one recovery at some points, one after the other: each run goes on
// from where the one before it was killed.
func killOnTheWay(t *testing.T, ctx context.Context, b *box.Box, pages []string) {
	t.Helper()
	chance := seeded(t)
	all := bothSides(recoverPlan, recoverySteps(t, ctx, b, pages))
	chosen := chance.Perm(len(all))[:recoverPoints]
	slices.Sort(chosen)
	points := make([]string, 0, len(chosen)+1)
	stack := bothSides(stackPlan, stackSteps)[chance.IntN(2*len(stackSteps))]
	before := slices.Index(all, recoverPlan+"/stacks/before")
	for _, at := range chosen {
		if stack != "" && at > before {
			points, stack = append(points, stack), ""
		}
		points = append(points, all[at])
	}
	if stack != "" {
		points = append(points, stack)
	}
	for _, p := range points {
		killRecoveryAt(t, ctx, b, pages, p)
	}
	t.Logf("killed at %d of %d points, one after the other: %v", len(points), len(all)+2*len(stackSteps), points)
}

// recoverArgs is the one command.
func recoverArgs(pages []string) []string {
	args := []string{box.Program, "recover", "--kit", "/root/rochdale-kit.age", "--json", "--no-input"}
	for i := range pages {
		args = append(args, "--pages", pageFile(i))
	}
	return args
}
