// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance/text"
	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

const (
	// endBound is how long a command may take in which somebody was killed: the window
	// that an update is given, and a way back.
	endBound = 6 * time.Minute
	// writeBound is how long nobody can write after the box has settled.
	writeBound = time.Minute
	// strikes is how often a victim is looked for that was not there before the command
	// was over, and rounds how often `make torture` takes each case.
	strikes, rounds = 5, 2
	never           = 24 * time.Hour
)

// TestKillOthers kills with SIGKILL those whom the daemon has work done by: restic,
// dockerd and the server with the rows of the stack, each in the middle of a command
// that needs it, while somebody writes. The command has to end by itself, done or with
// an error in words; the box has to serve the old release or the new one with all that
// was acknowledged; and the copies have to be of use. A short run takes one command for
// each victim, by seed; `make torture` takes all of them twice.
func TestKillOthers(t *testing.T) {
	t.Parallel()
	ctx := within(t, 5*time.Hour)
	r := releasesOf(t, onPostgres(t))
	first, _ := r.next(release{})
	u := newUpdates(t, ctx, box.Options{Bundle: first}, r)
	o := &others{
		killed: killed{t: t, b: u.b, releases: r, o: u.o, receipt: u.receipt},
		chance: seeded(t), texts: text.Open(), took: map[string]time.Duration{}, pen: u.newPen(ctx),
	}
	o.saved() // whatever reads a copy needs one
	o.pen.begin(t, ctx)
	all := o.cases()
	t.Logf("cases: %v", all)
	for _, c := range all {
		t.Run(c.String(), func(t *testing.T) {
			o.t = t
			t.Cleanup(func() {
				if t.Failed() {
					explain(t, o.b)
				}
			})
			o.harm(ctx, c)
		})
	}
	written := o.pen.tally()
	t.Logf("%d cases; %d writes were acknowledged and not given up, %d failed", len(all), written.acknowledged, written.failed)
	journal, err := o.b.Output(ctx, "journalctl", "--no-pager", "--output=cat", "--unit=rochdale")
	if err != nil || strings.Contains(journal, "goroutine ") {
		t.Errorf("the daemon has panicked, %v", err)
	}
}

// others is a box on which those are killed who work for the daemon.
type others struct {
	killed
	chance *rand.Rand
	texts  *text.Catalogue
	took   map[string]time.Duration // by work that nobody was killed in
	pen    *pen
}

// hurt is one case.
type hurt struct {
	victim
	in string // see works
}

// String is its name.
func (c hurt) String() string { return c.name + " in " + c.in }

// victim is who is killed.
type victim struct {
	name string
	kill string // a script for the machine, which prints something before it kills
}

// work is a command of ours.
type work struct {
	args  []string
	ready func()
	// forgets is true when the data go back to what they were before ready.
	forgets bool
}

func (o *others) works() map[string]work {
	return map[string]work{
		"backup":   {args: []string{"backup", "run"}},
		"check":    {args: []string{"backup", "check"}},
		"prune":    {args: []string{"backup", "prune"}, ready: o.tooMany},
		"drill":    {args: []string{"backup", "drill"}},
		"restore":  {args: []string{"restore", "--yes"}, ready: o.saved, forgets: true},
		"update":   {args: []string{"update", "apply", "--window", "3m", "--from", bundleIn}, ready: o.nextRelease},
		"rollback": {args: []string{"update", "rollback", "--yes"}, ready: o.updated, forgets: true},
	}
}

// cases are those of this run. restic runs for a part of each command only, so it is
// waited for; of two servers it is the newest one that is killed, which in a drill is
// that of the copy.
func (o *others) cases() (all []hurt) {
	for _, x := range []struct {
		victim
		in []string
	}{
		{victim{"restic", `until pid=$(pgrep --newest '^restic-') && echo "$pid" && kill -KILL "$pid"; do sleep 0.02; done`},
			[]string{"backup", "check", "prune", "drill", "restore"}},
		{victim{"dockerd", `echo dockerd && systemctl kill --signal=KILL --kill-whom=main docker.service`},
			[]string{"update", "rollback", "backup", "drill", "restore"}},
		{victim{"database", `id=$(docker ps --quiet --filter label=coop.rochdale.service=db | head --lines=1)
pid=$(docker inspect --format '{{.State.Pid}}' "$id") && [ "$pid" -gt 1 ] && echo "$pid" && kill -KILL "$pid"`},
			[]string{"update", "backup", "drill", "restore"}},
	} {
		o.chance.Shuffle(len(x.in), func(i, j int) { x.in[i], x.in[j] = x.in[j], x.in[i] })
		if !torture() {
			x.in = x.in[:1]
		}
		for _, in := range x.in {
			all = append(all, hurt{x.victim, in})
		}
	}
	if torture() {
		all = slices.Repeat(all, rounds)
	}
	return all
}

// harm kills at some moment of the work: how long that takes undisturbed is known from
// a run before.
func (o *others) harm(ctx context.Context, c hurt) {
	o.t.Helper()
	for n := 0; n < tries && o.took[c.in] == 0; n++ {
		o.once(ctx, c, never)
	}
	if o.took[c.in] == 0 {
		o.t.Fatalf("%s: the machine is too busy", c.in)
	}
	for range strikes {
		if o.once(ctx, c, time.Duration(o.chance.Int64N(int64(o.took[c.in])))) {
			return
		}
	}
	o.t.Errorf("%v: it was over each time before somebody could be killed", c)
}

// outset is how everything is when the work begins.
type outset struct {
	written  tally        // before it was made ready
	before   string       // the version, too
	now      stackChanges // ready
	full     string       // the newest snapshot
	restarts int          // of the daemon
}

// once does the work, and kills after the delay unless it is over by then.
func (o *others) once(ctx context.Context, c hurt, delay time.Duration) (hit bool) {
	o.t.Helper()
	w := o.works()[c.in]
	// The doctor rightly tells of an engine that is killed again and again.
	if err := command(o.t, o.b, "systemctl", "reset-failed", "docker.service"); err != nil {
		o.t.Fatal(err)
	}
	from := outset{before: o.settled(ctx, "before "+c.String()).Version, written: o.pen.tally()}
	if w.ready != nil {
		w.ready()
	}
	from.now, from.full, from.restarts = o.settled(ctx, "ready for "+c.String()), o.full(), o.restarts(ctx)
	began := time.Now()
	r, hit := o.run(ctx, c, w.args, delay)
	took := time.Since(began)
	got := o.told(c, r)
	switch {
	case hit:
		o.t.Logf("%v: killed after %v; ended after %v with code %d %v", c, delay, took, r.Code, got.reasons())
	case r.Code == 0:
		o.took[c.in] = took
	case !got.tooBusy():
		o.t.Fatalf("%s: nobody was killed, and code %d\n%s\n%s", c.in, r.Code, r.Stdout, r.Stderr)
	}
	o.whole(ctx, c, from, r.Code == 0)
	if hit {
		o.useful(c, from, r.Code == 0)
	}
	return hit
}

// run runs the command to its end, and kills the victim meanwhile.
func (o *others) run(ctx context.Context, c hurt, args []string, delay time.Duration) (r testhost.Result, hit bool) {
	o.t.Helper()
	bounded, cancel := context.WithTimeout(ctx, endBound)
	defer cancel()
	while, stop := context.WithCancel(ctx)
	var err error
	var running sync.WaitGroup
	running.Go(func() {
		defer stop()
		r, err = o.b.Exec(bounded, testhost.Command{Args: slices.Concat([]string{"rochdale"}, args, []string{"--json"})})
	})
	select {
	case <-while.Done():
	case <-time.After(delay):
		// What it printed counts, also when it was ended with the command.
		struck, _ := o.b.Exec(while, testhost.Command{Args: []string{"sh", "-c", c.kill}})
		hit = struck.Stdout != ""
	}
	running.Wait()
	if err != nil {
		o.t.Fatalf("%v: it does not end: %v\n%s\n%s", c, err, r.Stdout, r.Stderr)
	}
	return r, hit
}

// told wants a result, or an error in words that are known.
func (o *others) told(c hurt, r testhost.Result) (got updateAnswer) {
	o.t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	err := json.Unmarshal([]byte(lines[len(lines)-1]), &got)
	good := err == nil && got.Type == "result" && r.Code == 0
	if err == nil && got.Type == "error" && r.Code != 0 {
		good = !slices.ContainsFunc(got.reasons(), func(id string) bool {
			return !o.texts.Has(id) || strings.HasSuffix(id, ".unexpected")
		})
	}
	if !good || strings.Contains(r.Stderr, "goroutine ") {
		o.t.Errorf("%v: that is no clear answer: code %d, %v\n%s\n%s", c, r.Code, err, r.Stdout, r.Stderr)
	}
	return got
}

// whole wants the stack to run the old release or the new one, and the new one after
// success; all that was acknowledged to be there; and nothing to be left over.
func (o *others) whole(ctx context.Context, c hurt, from outset, done bool) {
	o.t.Helper()
	o.settled(ctx, c.String())
	o.pen.again(o.t, writeBound)
	now := o.settled(ctx, c.String()) // what it said before may have been of before
	to := from.before
	if c.in == "update" {
		to = o.releases.newest()
	}
	if now.Version != to && (done || now.Version != from.now.Version) {
		o.t.Errorf("%v: %s runs, which is neither %s nor %s; done: %v", c, now.Version, from.now.Version, to, done)
	}
	moved := now.committed() != "" && now.committed() != from.now.committed()
	if moves := c.in == "update" || o.works()[c.in].forgets; done && moved != moves {
		o.t.Errorf("%v: done, and in the history it is %v that something was committed", c, moved)
	}
	if w := o.pen.tally(); c.name == "restic" && w.failed > from.written.failed && !moved {
		o.t.Errorf("%v: writes failed, the last with %v", c, w.last)
	}
	if moved && o.works()[c.in].forgets {
		o.pen.forget(from.written.acknowledged)
	}
	if err := errors.Join(o.pen.check(ctx), walk.Verify(ctx, o.o, o.receipt)); err != nil {
		o.t.Errorf("%v: %v", c, err)
	}
	if n := o.restarts(ctx) - from.restarts; n != 0 {
		o.t.Errorf("%v: the daemon was started %d times", c, n)
	}
}

// useful wants a backup to count if it was done and not otherwise, the newest snapshot
// to be all that it says, the box to be well, and the repository to be free.
func (o *others) useful(c hurt, from outset, done bool) {
	o.t.Helper()
	made := o.full() != from.full
	// restic may have been killed when the snapshot was whole and it had not said so.
	if late := c.name == "restic" && !done; c.in == "backup" && made != done && !late {
		o.t.Errorf("%v: done: %v, but there is a snapshot: %v", c, done, made)
	}
	x := o.copies()
	x.must("backup", "drill") // a drill that failed is told until one does not
	healthyWith(o.t, o.b, o.releases.containers())
	x.must("backup", "run")
	x.must("backup", "check")
}

func (o *others) copies() *copies { return &copies{t: o.t, b: o.b, o: o.o} }

func (o *others) saved() { o.t.Helper(); o.copies().must("backup", "run") }

func (o *others) full() string { o.t.Helper(); return o.copies().list("box").newest("box", "full") }
