// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

// A short run takes plansSlice of the plans, and changeSlice points of each.
const (
	plansSlice  = 3
	changeSlice = 2
)

// TestKillChanges kills the daemon with SIGKILL before and after the steps of an
// update, a way back, a restore and everything that is done with copies. The next
// start has to end each by itself, in the old state or the new one. `make torture`
// takes every plan and every point.
func TestKillChanges(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{Binary: failpoints(t)})
	ctx := within(t, 3*time.Hour)
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	k := &killed{t: t, b: b, releases: newReleases(t)}
	k.o = walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "first"}
	if k.receipt, err = walk.Order(ctx, k.o); err != nil {
		t.Fatal(err)
	}
	if k.auditor, err = walk.NewAuditor(ctx, k.o, k.receipt); err != nil {
		t.Fatal(err)
	}
	plans := []struct {
		name  string
		ready func()
		args  []string
		ended func() // looks at what the next start made of it; may be nil
	}{
		{"backup", nil, []string{"backup", "run"}, nil},
		{"dump", nil, []string{"backup", "run", "--databases"}, nil},
		{"check", nil, []string{"backup", "check"}, nil},
		{"prune", k.tooMany, []string{"backup", "prune"}, k.pruned},
		{"drill", nil, []string{"backup", "drill"}, nil},
		{"update", k.nextRelease, []string{"update", "apply", "--window", "3m", "--from", bundleIn}, nil},
		{"rollback", k.updated, []string{"update", "rollback", "--yes"}, nil},
		{"restore", nil, []string{"restore", "--yes"}, nil},
	}
	if !torture() { // a copy is made first in any case: others need one
		rand.Shuffle(len(plans)-1, func(i, j int) { plans[1+i], plans[1+j] = plans[1+j], plans[1+i] })
		plans = plans[:1+plansSlice]
	}
	for _, x := range plans {
		t.Run(x.name, func(t *testing.T) {
			k.t = t
			k.matrix(ctx, x.ready, x.ended, append([]string{"rochdale"}, x.args...))
		})
	}
	// The doctor rightly says that the daemon keeps crashing; nothing else is wrong.
	if s, err := b.Status(ctx); err != nil || slices.ContainsFunc(s.Findings, func(f box.Finding) bool {
		return f.Severity == "failure" && f.ID != "doctor.unit-crashing"
	}) {
		t.Errorf("%+v, %v", s.Findings, err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Error(err)
	}
}

// killed is a box whose daemon is killed.
type killed struct {
	t        *testing.T
	b        *box.Box
	releases *releases
	o        walk.Options
	receipt  walk.Receipt
	auditor  *walk.Auditor
	many     int // snapshots of databases before a prune
}

// matrix runs a command once undisturbed, for the names of its steps, and then
// once for each point at which the daemon is killed.
func (k *killed) matrix(ctx context.Context, ready, ended func(), args []string) {
	k.t.Helper()
	if ready != nil {
		ready()
	}
	plan, steps := k.steps(ctx, args)
	var points []string
	for _, s := range steps {
		points = append(points, s+"/before", s+"/after")
	}
	if !torture() {
		points = choose(k.t, steps)
		points = points[:min(changeSlice, len(points))]
	}
	for _, p := range points {
		if ready != nil {
			ready()
		}
		k.at(ctx, plan+"/"+p, args)
		if ended != nil {
			ended()
		}
		if k.t.Failed() {
			return
		}
	}
	k.t.Logf("%s: killed at %d of %d points, each ended by itself: %v", plan, len(points), 2*len(steps), points)
	if !slices.Contains([]string{"stack-update", "stack-restore"}, plan) {
		return
	}
	if !torture() {
		steps = steps[rand.IntN(len(steps)):][:1]
	}
	for _, s := range steps {
		if ready != nil {
			ready()
		}
		k.plug(ctx, plan, s, args)
	}
	k.t.Logf("%s: the plug pulled in %v", plan, steps)
}

// plug ends the whole machine in the middle of a step, and boots what is left.
func (k *killed) plug(ctx context.Context, plan, step string, args []string) {
	k.t.Helper()
	seen := &sight{of: fmt.Appendf(nil, `"plan":%q,"step":%q`, plan, step), there: make(chan struct{})}
	p, err := k.b.Start(ctx, testhost.Command{Args: append(args, "--json"), Stdout: seen})
	if err != nil {
		k.t.Fatal(err)
	}
	select {
	case <-seen.there:
	case <-time.After(2 * time.Minute):
		k.t.Fatalf("%v never came to %s", args, step)
	}
	if err := k.b.PullPlug(); err != nil {
		k.t.Fatal(err)
	}
	if code, err := p.Wait(); code == 0 && err == nil {
		k.t.Errorf("%s: it ended before the plug was pulled", step)
	}
	if err := errors.Join(k.b.PowerOn(ctx), k.b.WaitHTTPS(ctx)); err != nil {
		k.t.Fatalf("%s: %v", step, err)
	}
	k.settled(ctx, plan+"/"+step+" and no power")
	if err := k.auditor.Verify(ctx); err != nil {
		k.t.Errorf("no power in %s: %v", step, err)
	}
}

// sight looks for words in what is written to it.
type sight struct {
	of    []byte
	there chan struct{}
	tail  []byte
	once  sync.Once
}

// Write implements io.Writer.
func (s *sight) Write(p []byte) (int, error) {
	s.tail = append(s.tail, p...)
	if bytes.Contains(s.tail, s.of) {
		s.once.Do(func() { close(s.there) })
	}
	s.tail = s.tail[max(0, len(s.tail)-len(s.of)):]
	return len(p), nil
}

// steps runs a command to its end and gives the plan's name and its steps.
func (k *killed) steps(ctx context.Context, args []string) (plan string, steps []string) {
	k.t.Helper()
	r, err := k.b.Exec(ctx, testhost.Command{Args: append(args, "--json")})
	if err != nil || r.Code != 0 {
		k.t.Fatalf("%v: code %d, %v\n%s\n%s", args, r.Code, err, r.Stdout, r.Stderr)
	}
	for line := range strings.Lines(r.Stdout) {
		var e struct{ Type, Plan, Step string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			k.t.Fatal(err)
		}
		if e.Type != "event" || e.Step == "" {
			continue
		}
		if e.Plan != plan { // a copy that is made first has a plan of its own
			plan, steps = e.Plan, nil
		}
		if !slices.Contains(steps, e.Step) {
			steps = append(steps, e.Step)
		}
	}
	if len(steps) == 0 {
		k.t.Fatalf("%v: no steps\n%s", args, r.Stdout)
	}
	return plan, steps
}

// at has the daemon killed at a point, and waits for what the next one makes of it.
func (k *killed) at(ctx context.Context, point string, args []string) {
	k.t.Helper()
	if err := k.b.WriteFile(ctx, "/var/lib/rochdale/failpoint", []byte(point), 0o600); err != nil {
		k.t.Fatal(err)
	}
	before := k.restarts(ctx)
	r, err := k.b.Exec(ctx, testhost.Command{Args: append(args, "--json")})
	if err != nil || r.Code == 0 {
		k.t.Fatalf("%s: the command did not see the daemon end: code %d, %v\n%s", point, r.Code, err, r.Stdout)
	}
	if now := k.restarts(ctx); now != before+1 {
		k.t.Errorf("%s: the daemon was started %d times", point, now-before)
	}
	k.settled(ctx, point)
	if err := k.auditor.Verify(ctx); err != nil {
		k.t.Errorf("%s: %v", point, err)
	}
}

func (k *killed) restarts(ctx context.Context) (n int) {
	k.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		out, err := k.b.Output(ctx, "systemctl", "show", "rochdale", "--property=NRestarts,ActiveState")
		if err == nil && strings.Contains(out, "ActiveState=active\n") {
			_, count, _ := strings.Cut(out, "NRestarts=")
			if _, err := fmt.Sscan(count, &n); err != nil {
				k.t.Fatal(err)
			}
			return n
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("the daemon does not come up: %s, %v", out, err)
		}
	}
}

// changes is the part of the status that tells of updates.
type changes struct {
	Stacks []stackChanges `json:"stacks"`
}

type stackChanges struct {
	Version string `json:"version"`
	State   string `json:"state"`
	Updates struct {
		Running bool `json:"running"`
		History []struct {
			ID      string `json:"id"`
			Outcome string `json:"outcome"`
		} `json:"history"`
	} `json:"updates"`
}

// committed is the newest change that came to be, or "" if that is long ago.
func (s stackChanges) committed() string {
	for _, c := range s.Updates.History {
		if c.Outcome == "committed" {
			return c.ID
		}
	}
	return ""
}

// settled waits until nothing is under way and nothing is left of it, and the stack
// runs; and gives how the stack is then.
func (k *killed) settled(ctx context.Context, point string) stackChanges {
	k.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(300 * time.Millisecond) {
		var s changes
		left := "not looked for"
		r, err := k.b.Exec(ctx, testhost.Command{Args: []string{"rochdale", "status", "--json"}})
		if err == nil && json.Unmarshal([]byte(r.Stdout), &s) == nil && len(s.Stacks) == 1 && s.Stacks[0].State == "running" && !s.Stacks[0].Updates.Running && k.idle(ctx) {
			if left = k.left(ctx); left == "" {
				return s.Stacks[0]
			}
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("%s: it does not settle\nleft over: %s\n%s%s", point, left, r.Stdout, r.Stderr)
		}
	}
}

// left tells what is there beside the containers and the network of the stack: of
// copies that were drilled, and what was laid out for a backup or a restore. What
// should be there and is not, it tells too; "" is for neither.
func (k *killed) left(ctx context.Context) string {
	const label, containers = "label=coop.rochdale.stack", "docker ps --quiet --filter " // of any stack
	n := k.releases.containers()
	var wrong []string
	for _, of := range []struct {
		what string
		want int
	}{
		{containers + label, n},
		{containers + label + " --all", n},
		{"docker network ls --quiet --filter " + label, 1},
		{"find /var/lib/rochdale/backup /var/lib/rochdale/stacks -maxdepth 3 ( -path */stage/* -o -path */restored/* -o -path */stacks/drill-* )", 0},
	} {
		out, err := k.b.Output(ctx, strings.Fields(of.what)...)
		if got := len(strings.Fields(out)); err != nil || got != of.want {
			wrong = append(wrong, fmt.Sprintf("%s: %d and not %d, %v\n%s", of.what, got, of.want, err, out))
		}
	}
	return strings.Join(wrong, "\n")
}

// idle tells whether no job of the daemon goes on.
func (k *killed) idle(ctx context.Context) bool {
	out, err := k.b.Output(ctx, "rochdale", "job", "list", "--json")
	var jobs struct {
		Jobs []struct{ Outcome string } `json:"jobs"`
	}
	return err == nil && json.Unmarshal([]byte(out), &jobs) == nil &&
		!slices.ContainsFunc(jobs.Jobs, func(j struct{ Outcome string }) bool { return j.Outcome == "" })
}

func (k *killed) nextRelease() {
	k.t.Helper()
	next := release{migration: fmt.Sprintf("create table kept_%d (x integer);", k.releases.count)}
	file, _ := k.releases.next(next)
	k.releases.took(next)
	if err := k.b.CopyIn(k.t.Context(), file, bundleIn, 0o644); err != nil {
		k.t.Fatal(err)
	}
}

// updated makes sure that there is a release to go back to.
func (k *killed) updated() {
	k.t.Helper()
	k.nextRelease()
	if _, err := k.b.Output(k.t.Context(), "rochdale", "update", "apply", "--window", "3m", "--from", bundleIn); err != nil {
		k.t.Fatal(err)
	}
}

// keptDumps is how many snapshots of databases are kept however young they are.
const keptDumps = 8

// tooMany makes sure that there is something to forget.
func (k *killed) tooMany() {
	k.t.Helper()
	x := copies{t: k.t, b: k.b}
	for range keptDumps + 2 { // one too many on one side of the full hour at least
		x.must("backup", "run", "--databases")
	}
	k.many = k.dumps()
}

// pruned wants what there was too much of to be gone, and the rest to be whole.
func (k *killed) pruned() {
	k.t.Helper()
	if left := k.dumps(); left >= k.many || left < keptDumps {
		k.t.Errorf("of %d snapshots of databases %d are left", k.many, left)
	}
	(&copies{t: k.t, b: k.b}).must("backup", "check")
}

// dumps is how many snapshots of databases there are.
func (k *killed) dumps() (n int) {
	k.t.Helper()
	for _, s := range (&copies{t: k.t, b: k.b}).list("box").Snapshots {
		if s.Kind == "dump" {
			n++
		}
	}
	return n
}
