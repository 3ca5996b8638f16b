// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"rochdale/appliance/step"
)

// A transition takes a stack from one release and generation to another: an
// update, a way back, a restore. Visitors are held meanwhile, the generation that
// runs is never written to again, and one row decides. Whatever goes wrong before
// that row is put back by [transition.ended]; nothing that comes after it can
// undo it.

// transitionRequest is what a transition was begun with.
type transitionRequest struct {
	ID    string     `json:"id"` // of the [Change]
	Stack string     `json:"stack"`
	Kind  ChangeKind `json:"kind"`
	// Suffix is in the names of the new containers.
	Suffix string    `json:"suffix"`
	Began  time.Time `json:"began"`
	// Digest is that of the bundle, for an update.
	Digest string `json:"digest,omitempty"`
	// Again tries a bundle that was put back before.
	Again bool `json:"again,omitempty"`
	// Window is how long visitors see the maintenance page; 0: they are held.
	Window time.Duration `json:"window,omitempty"`
	// Snapshot and Files are what a restore takes from Repository; see [Restorable].
	Repository string `json:"repository,omitempty"`
	Snapshot   string `json:"snapshot,omitempty"`
	Files      string `json:"files,omitempty"`
}

// transition is the work of one. Only the change in the store and the row
// outlive this process.
type transition struct {
	*Daemon
	transitionRequest
	// resumed is true for one that an earlier process left in the middle. It is
	// not gone on with unless its row was committed: visitors were held too long.
	resumed  bool
	change   Change
	from, to *crew
	held     time.Time        // when the gate closed
	deadline time.Time        // of everything up to the commit
	before   map[string]int64 // facts of the data that it begins with
	after    map[string]int64 // those of the new data, as far as they are measured
	took     StackBackup      // what a restore takes
}

// The budget of a hold: everything from closing the gate to opening it, going
// back included.
const (
	holdBudget  = 10 * time.Second
	backReserve = 2500 * time.Millisecond // of it, to go back in
	drainBudget = 3 * time.Second
	// holdGrace is how much longer the gate holds: on a machine that is busy a way
	// back may take more than what is kept for it, and a late answer is better for
	// visitors than none.
	holdGrace = 15 * time.Second
	// windowDrain is how long requests may take when there is a window.
	windowDrain = 30 * time.Second
)

// errOverBudget ends the steps of a hold that took too long.
var errOverBudget = errors.New("visitors would have waited too long")

// steps are the second half of every transition: from the closed gate on. middle
// is what it does while nothing of the stack runs.
func (t *transition) steps(middle ...step.Step) []step.Step {
	all := []step.Step{
		{ID: "hold", Do: t.hold, Estimate: time.Second},
		{ID: "stop", Do: t.stop, Estimate: time.Second},
	}
	all = append(all, middle...)
	all = append(all,
		step.Step{ID: "start", Do: t.timed(t.start), Estimate: 3 * time.Second},
		step.Step{ID: "probe", Do: t.timed(t.probe)},
		step.Step{ID: "commit", Do: t.commit},
	)
	for i := range all {
		all[i].Done, all[i].Do = t.committed, t.explained(all[i].Do)
	}
	return append(all,
		step.Step{ID: "route", Do: t.openNew},
		step.Step{ID: "retire", Do: t.retireOld, Estimate: time.Second},
	)
}

// committed tells whether the row says what this transition wanted it to.
func (t *transition) committed(ctx context.Context) (bool, error) {
	if t.change.ID == "" {
		c, ok, err := t.Store.Change(ctx, t.ID)
		if err != nil || !ok {
			return false, err
		}
		t.change = c
	}
	row, ok, err := t.Store.Release(ctx, t.Stack)
	want := t.change.To
	return ok && want.Generation > 0 && row.Generation == want.Generation && row.Digest == want.Digest, err
}

// timed bounds a step by what is left of the hold.
func (t *transition) timed(do func(context.Context, step.Report) error) func(context.Context, step.Report) error {
	return func(ctx context.Context, report step.Report) error {
		inner, cancel := context.WithDeadlineCause(ctx, t.deadline, errOverBudget)
		defer cancel()
		err := do(inner, report)
		if err != nil && ctx.Err() == nil && errors.Is(context.Cause(inner), errOverBudget) {
			return t.overBudget(err)
		}
		return err
	}
}

// overBudget tells what visitors would have waited for. A container that runs and is not
// ready may be of a bad release, or of a good one on a slow machine: what it was waited
// for with says more than that it took long.
func (t *transition) overBudget(err error) error {
	seconds := int(t.budget().Seconds())
	var sick *Error
	if errors.As(err, &sick) && sick.ID == "engine.unhealthy" {
		return Problem("update.not-up", err, "stack", t.Stack, "seconds", seconds, "service", sick.Args["service"], "reason", sick.Args["reason"])
	}
	return Problem("update.over-budget", err, "stack", t.Stack, "seconds", seconds)
}

// budget is how long visitors wait at most.
func (t *transition) budget() time.Duration { return max(holdBudget, t.Window) }

// explained makes of whatever fails one error that says what runs now, with what
// went wrong as its place. The makers of a stack are asked only about what is theirs.
func (t *transition) explained(do func(context.Context, step.Report) error) func(context.Context, step.Report) error {
	return func(ctx context.Context, report step.Report) error {
		err := do(ctx, report)
		if err == nil || ctx.Err() != nil || IsProblem(err, "update.postponed") {
			return err
		}
		why := MessageOf(err)
		e := Problem("update.put-back", err, "stack", t.Stack, "version", t.change.To.Version, "kept", t.change.From.Version)
		if ofThisMachine(why) {
			e.ID = "update.put-back-here"
		}
		e.Places = []Place{{Message: why}}
		return e
	}
}

// hold closes the gate and waits until nothing is on its way any more.
func (t *transition) hold(ctx context.Context, _ step.Report) error {
	t.held = time.Now()
	t.deadline = t.held.Add(t.budget() - backReserve)
	gate, limit := Gate{Mode: GateHold, Until: t.held.Add(holdBudget + holdGrace)}, drainBudget
	if t.Window > 0 {
		gate, limit = Gate{Mode: GateClosed, Until: t.held.Add(t.Window)}, windowDrain
	}
	if err := t.sight(ctx); err != nil {
		return err
	}
	t.views.gate(t.Stack, gate)
	if err := t.mustRoute(ctx); err != nil {
		return err
	}
	upstream, _ := t.views.upstream(t.Stack)
	if upstream == "" {
		return nil
	}
	return t.await(ctx, upstream, limit)
}

// sight finds where the release that runs answers, when nobody has looked at the
// stack since the daemon began: who does not know where the visitors are can not wait
// for them.
func (t *transition) sight(ctx context.Context) error {
	if _, seen := t.views.upstream(t.Stack); seen {
		return nil
	}
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return err
	}
	address := ""
	if x, ok := t.from.best(all, t.from.bundle.Stack.Manifest.Web.Service); ok {
		address = t.from.upstream(x)
	}
	t.views.point(t.Stack, address)
	return nil
}

// await waits until no request is at the address any more. Visitors who take
// longer are not cut off: the change waits for a better time.
func (t *transition) await(ctx context.Context, upstream string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		n, err := t.Edge.InFlight(ctx, upstream)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil && n == 0:
			return nil
		case time.Now().After(end):
			return Problem("update.postponed", err, "stack", t.Stack, "requests", n, "seconds", int(limit.Seconds()))
		}
		sleep(ctx, drainPause/2)
	}
}

// stop ends the release that ran. A shared service that the new one has otherwise is
// replaced now that nobody asks it anything.
func (t *transition) stop(ctx context.Context, report step.Report) error {
	if err := t.timed(t.stopOld)(ctx, report); err != nil {
		return err
	}
	if err := t.endServers(ctx); err != nil {
		return err
	}
	return t.timed(func(ctx context.Context, _ step.Report) error { return t.ensure(ctx, t.to, isShared) })(ctx, report)
}

// stopOld ends the containers of the release that ran; they stay, to be started
// again if need be.
func (t *transition) stopOld(ctx context.Context, _ step.Report) error {
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return err
	}
	for _, s := range slices.Backward(t.from.services()) {
		if s.Shared {
			continue
		}
		for _, x := range t.from.of(all, s.Name) {
			if err := t.Engine.Stop(ctx, x.ID, min(max(s.StopGrace, time.Second), drainBudget)); err != nil {
				return err
			}
		}
	}
	return nil
}

// endServers ends the shared services that the new release has otherwise; another one
// goes on with their files. Each is waited for as long as its release says, also when
// visitors wait too long meanwhile: the engine ends what it was told to end, and until
// then it takes no connection and its files are in use.
func (t *transition) endServers(ctx context.Context) error {
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return err
	}
	for _, x := range all {
		if s, known := t.to.service(x.Service); !known || !s.Shared || t.to.belongs(x) {
			continue
		}
		if err := t.retire(ctx, t.from, x); err != nil {
			return err
		}
	}
	return nil
}

func (t *transition) start(ctx context.Context, _ step.Report) error {
	for _, s := range t.to.services() {
		if s.Shared {
			continue
		}
		if err := t.begin(ctx, t.to, s, t.Suffix); err != nil {
			return err
		}
	}
	return nil
}

// web is the new web container.
func (t *transition) web(ctx context.Context) (Container, error) {
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return Container{}, err
	}
	x, ok := t.to.best(all, t.to.bundle.Stack.Manifest.Web.Service)
	if !ok {
		return x, Problem("daemon.web-gone", nil, "stack", t.Stack)
	}
	return x, nil
}

// probe asks the new release what its makers want to see answered before it may
// serve. It must also have come up without ending once in between.
func (t *transition) probe(ctx context.Context, _ step.Report) error {
	x, err := t.web(ctx)
	if err != nil {
		return err
	}
	web := t.to.bundle.Stack.Manifest.Web
	probes := []Probe{{Port: web.Port, Path: web.Health}}
	for _, p := range t.to.bundle.Stack.Manifest.Probes {
		probes = append(probes, Probe{Port: web.Port, Path: p.Path, Status: p.Status, Contains: p.Contains})
	}
	for _, p := range probes {
		if err := t.Engine.Probe(ctx, x.Address, p); err != nil {
			return Problem("update.probe", err, "stack", t.Stack, "path", p.Path, "detail", err)
		}
	}
	return nil
}

// commit is the moment from which the new release runs, whatever happens next.
func (t *transition) commit(ctx context.Context, _ step.Report) error {
	r := t.to.release
	r.Committed, r.Stopped, r.Settings = time.Now().UTC(), false, t.to.settings()
	t.to.release = r
	return t.Store.Commit(ctx, r)
}

// openNew leads visitors to what the row says. After a crash nothing but the row
// is known.
func (t *transition) openNew(ctx context.Context, _ step.Report) error {
	if t.to == nil {
		row, _, err := t.Store.Release(ctx, t.Stack)
		if err != nil {
			return err
		}
		if t.to, err = t.crewOf(ctx, row); err != nil {
			return err
		}
		if err := t.ensure(ctx, t.to, everything); err != nil {
			return err
		}
	}
	x, err := t.web(ctx)
	if err != nil {
		return err
	}
	return t.open(ctx, t.to.upstream(x))
}

// open opens the gate to upstream.
func (t *transition) open(ctx context.Context, upstream string) error {
	t.views.point(t.Stack, upstream)
	t.views.gate(t.Stack, Gate{})
	err := t.mustRoute(ctx)
	if err == nil && !t.held.IsZero() && t.change.Held == 0 {
		t.change.Held = time.Since(t.held)
	}
	return err
}

// retireOld removes the containers of the release that ran before.
func (t *transition) retireOld(ctx context.Context, _ step.Report) error {
	all, err := t.Engine.List(ctx, t.Stack)
	if err != nil {
		return err
	}
	for _, x := range all {
		if s, known := t.to.service(x.Service); known && (s.Shared || t.to.belongs(x)) {
			continue
		}
		if err := t.retire(ctx, t.to, x); err != nil {
			return err
		}
	}
	return nil
}

// crewOf gets everything ready that a release needs which ran before.
func (t *transition) crewOf(ctx context.Context, r Release) (*crew, error) {
	b, err := t.openBundle(ctx, r)
	if err != nil {
		return nil, err
	}
	return t.muster(ctx, r, b)
}

// place is where the data of a release is, for those who work on it.
func (t *transition) place(ctx context.Context, c *crew) (DataPlace, error) {
	return t.dataPlace(ctx, c)
}

func (d *Daemon) dataPlace(ctx context.Context, c *crew) (DataPlace, error) {
	m := c.bundle.Stack.Manifest
	p := DataPlace{
		Stack: c.release.Stack, User: m.User, Databases: m.Databases, Generation: c.release.Generation, Volumes: map[string]string{},
	}
	for name := range c.volumes() {
		if !c.shared(name) {
			p.Volumes[name] = c.volume(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Databases)) {
		if service := m.Databases[name].Service; service != "" {
			address, err := d.serverAddress(ctx, c, service)
			if err != nil {
				return p, err
			}
			p.Address, p.PasswordFile = address, d.Paths.DatabasePassword(c.release.Stack)
		}
	}
	return p, nil
}

// generationDir is the folder of a release's data.
func (t *transition) generationDir(r Release) string {
	return filepath.Clean(t.Paths.Generation(r.Stack, r.Generation))
}

func (t *transition) keep(ctx context.Context) error {
	if err := t.Store.KeepChange(ctx, t.change); err != nil {
		return fmt.Errorf("keep the history of stack %s: %w", t.Stack, err)
	}
	return nil
}
