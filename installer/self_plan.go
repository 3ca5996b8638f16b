// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// takeover is the install plan of a program that follows another one, newer or
// older: packages, files and units as this program wants them, and then one unit
// after the other started with it. It leaves what an operator wrote as it is,
// and the stacks.
type takeover struct {
	*install
	self Self
}

// SelfPlan makes the plan by which this program takes over from the one before
// it. It must lie in its folder, and be on trial, or run already, or be the one
// that a failed trial gives back to.
func SelfPlan(o Options, f Facts, s Self) (step.Plan, error) {
	plan := step.Plan{Name: "self-update"}
	if err := takeable(o, f); err != nil {
		return plan, err
	}
	earlier, err := earlierConfig(f)
	if err != nil {
		return plan, err
	}
	i := &install{Deps: s.Deps, o: o, f: f, result: &Result{}}
	i.config = o.Config(earlier, i.rootPath())
	t := takeover{i, s}
	if err := t.called(); err != nil {
		return plan, err
	}
	plan.Key = i.programName()
	for _, one := range []func() (step.Step, bool){
		i.unmask, i.engineConfig, i.packages, i.engine, i.users, i.folders, i.swap, i.clock, t.settings, i.firewall, i.updates, i.units,
		t.daemon, t.edge,
	} {
		if s, needed := one(); needed {
			plan.Steps = append(plan.Steps, s)
		}
	}
	return plan, nil
}

// takeable finds what makes a takeover impossible.
func takeable(o Options, f Facts) error {
	switch r := f.Installed.Record; {
	case f.Installed.Err != "":
		return appliance.Problem("install.record-unreadable", nil, "detail", f.Installed.Err)
	case r == nil || !r.Removed.IsZero():
		return appliance.Problem("cli.not-installed", nil).WithCode(appliance.ExitNotThere)
	case r.Finished.IsZero():
		return appliance.Problem("self.unfinished", nil)
	case f.ProgramErr != "":
		return appliance.Problem("install.program-unreadable", nil, "file", o.Program, "detail", f.ProgramErr)
	case f.RootErr != "":
		return appliance.Problem("install.option-acme-root", nil, "file", o.ACMERoot, "detail", f.RootErr)
	}
	return nil
}

// called wants somebody to be there who puts this program back if it fails.
func (t takeover) called() error {
	l, err := t.self.Ledger()
	if err != nil {
		return err
	}
	me := t.programName()
	mine := t.self.Current().Program == me || l.Trial != nil && slices.Contains([]string{l.Trial.To.Program, l.Trial.From.Program}, me)
	if !mine || !sameFile(t.o.Program, t.binary(me)) {
		return appliance.Problem("self.not-called", nil).WithCode(appliance.ExitUsage)
	}
	return nil
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// settings are what the edge reads. The document of the operator stays as it was
// written; a program reads those of the one before it.
func (t takeover) settings() (step.Step, bool) {
	return step.Step{
		ID:      "settings",
		Effects: effect("writes", t.Paths.Edge()),
		Done: func(context.Context) (bool, error) {
			_, settings, err := t.configFiles()
			return err == nil && there(settings), err
		},
		Do: func(context.Context, step.Report) error {
			_, settings, err := t.configFiles()
			if err != nil {
				return err
			}
			return t.put(settings)
		},
	}, true
}

// turning is one unit that is started with this program.
type turning struct {
	unitLink
	mark  func() (string, error)
	quiet func(ctx context.Context, report step.Report) // before the unit is restarted; may be nil
	ready func(ctx context.Context) error
}

func (t takeover) daemon() (step.Step, bool) {
	return t.turn(turning{unitLinks()[0], t.daemonMark, t.awaitJobs, t.daemonReady}), true
}

func (t takeover) edge() (step.Step, bool) {
	return t.turn(turning{unitLinks()[1], t.edgeMark, nil, t.self.Witness.Edge}), true
}

func (t takeover) turn(u turning) step.Step {
	return step.Step{
		ID:       u.name,
		Effects:  append(effect("writes", t.link(u.name)), effect("starts", u.unit)...),
		Estimate: 3 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			want, err := u.mark()
			if err != nil || t.programAt(u.name) != t.programName() || !t.applied(u.unit, want) {
				return false, err
			}
			up, err := t.runs(ctx, u.unit, t.programName())
			return up && u.ready(ctx) == nil, err
		},
		Do: func(ctx context.Context, report step.Report) error {
			if u.quiet != nil {
				u.quiet(ctx, report)
			}
			return t.restartWith(ctx, u)
		},
	}
}

// restartWith turns the link and restarts the unit. A unit that does not start
// is started again by systemd, and its guard counts: so only the bound, or a
// link that was turned back, ends the waiting.
func (t takeover) restartWith(ctx context.Context, u turning) error {
	want, err := u.mark()
	if err != nil {
		return err
	}
	if err := t.claim(ctx, u); err != nil {
		return err
	}
	if err := t.systemd().DaemonReload(ctx); err != nil {
		return err
	}
	started := t.systemd().Restart(ctx, u.unit)
	if err := t.await(ctx, u); err != nil {
		return errors.Join(err, started)
	}
	return amend(t.Paths, t.Files, func(r *Record) { r.Applied[u.unit] = want })
}

// claim turns the link, unless the trial was lost meanwhile. What the unit was
// started with last is forgotten first: a kill in between restarts it once more.
func (t takeover) claim(ctx context.Context, u turning) error {
	return t.self.alone(ctx, func(l *Ledger) error {
		if l.Trial != nil && l.Trial.Phase == Backing && l.Trial.From.Program != t.programName() {
			return lost(u)
		}
		err := amend(t.Paths, t.Files, func(r *Record) {
			if r.Applied == nil {
				r.Applied = map[string]string{}
			}
			delete(r.Applied, u.unit)
		})
		if err != nil {
			return err
		}
		return t.point(t.programName(), u.name)
	})
}

func lost(u turning) error { return appliance.Problem("self.lost", nil, "unit", u.unit) }

// startBound is above what three starts that hang take.
const startBound = 5 * time.Minute

func (t takeover) await(ctx context.Context, u turning) error {
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	for {
		up, err := t.runs(ctx, u.unit, t.programName())
		if up {
			err = u.ready(ctx)
		}
		if up && err == nil {
			return nil
		}
		if t.programAt(u.name) != t.programName() {
			return lost(u)
		}
		if !wait(ctx, 500*time.Millisecond) {
			return appliance.Problem("self.silent", errors.Join(err, context.Cause(ctx)), "unit", u.unit)
		}
	}
}

// Bounds of what is waited for around the restart of the daemon, and then not
// any longer: jobs are gone on with after it, and the guard judges the stacks.
const (
	jobsBound   = 5 * time.Minute
	settleBound = time.Minute
)

// awaitJobs waits until the daemon does nothing else: the update of a stack that
// is under way would be put back.
func (t takeover) awaitJobs(ctx context.Context, report step.Report) {
	ctx, cancel := context.WithTimeout(ctx, jobsBound)
	defer cancel()
	for {
		status, err := t.self.Witness.Status(ctx)
		if err != nil {
			return // it does nothing at all
		}
		at := slices.IndexFunc(status.Jobs, func(j appliance.Job) bool {
			return !slices.Contains([]string{"install", "uninstall", "self-update"}, j.Plan)
		})
		if at < 0 {
			return
		}
		report(fmt.Sprintf("%s %s", status.Jobs[at].Plan, status.Jobs[at].Key))
		if !wait(ctx, time.Second) {
			return
		}
	}
}

// daemonReady gives the daemon some time to look at every stack once: the edge
// goes on with what it knows meanwhile.
func (t takeover) daemonReady(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	for {
		status, err := t.self.Witness.Status(ctx)
		if err != nil {
			return err
		}
		looking := slices.ContainsFunc(status.Stacks, func(s appliance.StackStatus) bool {
			return s.State == appliance.StateUnknown || s.State == appliance.StateStarting
		})
		if !looking || !wait(bounded, time.Second) {
			return ctx.Err()
		}
	}
}
