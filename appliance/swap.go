// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"slices"
	"time"

	"rochdale/appliance/step"
	"rochdale/stacks"
)

// restartRequest is what a swap was begun with.
type restartRequest struct {
	Stack string `json:"stack"`
	// Suffix is in the names of the new containers, so that a swap that is gone
	// on with after a crash knows its own.
	Suffix string `json:"suffix"`
}

// Restart replaces the containers of a stack without dropping a request: the
// new ones start beside the old, on the same data. Shared services (a database)
// stay. When a new one does not become healthy the old ones serve on.
func (d *Daemon) Restart(ctx context.Context, stack string, watch func(step.Event)) error {
	if err := d.mustRun(ctx, stack); err != nil {
		return err
	}
	r := restartRequest{Stack: stack, Suffix: NewSuffix()}
	return d.perform(ctx, stack, func() operation { return d.restartOperation(r) }, watch)
}

// mustRun wants the stack to be one that runs.
func (d *Daemon) mustRun(ctx context.Context, stack string) error {
	row, ok, err := d.Store.Release(ctx, stack)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return Problem("daemon.no-stack", nil, "stack", stack).WithCode(ExitUsage)
	case row.Stopped:
		return Problem("daemon.stack-stopped", nil, "stack", stack).WithCode(ExitUsage)
	}
	return nil
}

// refreshAgain is how long a swap for new settings that failed rests.
const refreshAgain = 10 * time.Minute

// refresh swaps the containers of a stack that were told something else about
// this machine than is true now.
func (d *Daemon) refresh(stack, settings string) {
	last, _ := d.views.get(stack)
	if last.Refresh.Settings == settings && time.Since(last.Refresh.At) < refreshAgain {
		return
	}
	d.views.change(stack, func(v *view) { v.Refresh = refresh{Settings: settings, At: time.Now()} })
	d.jobs.Go(func() {
		d.Log.Info("the settings of this machine changed; the containers are swapped", "stack", stack)
		if err := d.Restart(d.base, stack, nil); err != nil && d.base.Err() == nil {
			d.Log.Warn("the containers could not be swapped", "stack", stack, "error", err)
		}
	})
}

func (d *Daemon) restartOperation(r restartRequest) operation {
	s := &swap{Daemon: d, restartRequest: r}
	return operation{request: r, after: s.ended, plan: step.Plan{Name: "stack-restart", Key: r.Stack, Steps: s.steps(nil)}}
}

// swap is the work of one swap.
type swap struct {
	*Daemon
	restartRequest
	c *crew
}

// steps are the same wherever containers are swapped. done may be nil.
func (s *swap) steps(done func(context.Context) (bool, error)) []step.Step {
	return []step.Step{
		{ID: "start", Done: done, Do: s.start, Estimate: 3 * time.Second},
		{ID: "switch", Done: done, Do: s.change},
		{ID: "drain", Done: done, Do: s.empty, Estimate: time.Second},
		{ID: "retire", Done: done, Do: s.leave, Estimate: time.Second},
	}
}

func (s *swap) prepare(ctx context.Context) ([]Container, error) {
	if s.c == nil {
		row, ok, err := s.Store.Release(ctx, s.Stack)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, Problem("daemon.no-stack", nil, "stack", s.Stack).WithCode(ExitUsage)
		}
		b, err := s.openBundle(ctx, row)
		if err != nil {
			return nil, err
		}
		if s.c, err = s.muster(ctx, row, b); err != nil {
			return nil, err
		}
	}
	return s.Engine.List(ctx, s.Stack)
}

func (s *swap) start(ctx context.Context, _ step.Report) error {
	s.c = nil // the settings may have changed in the step before
	if _, err := s.prepare(ctx); err != nil {
		return err
	}
	for _, x := range s.c.services() {
		suffix := s.Suffix
		if x.Shared {
			continue
		}
		if err := s.begin(ctx, s.c, x, suffix); err != nil {
			return err
		}
	}
	return nil
}

// change sends the requests to the new web container from now on.
func (s *swap) change(ctx context.Context, _ step.Report) error {
	all, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	fresh, _ := s.split(all)
	i := slices.IndexFunc(fresh, func(x Container) bool { return x.Service == s.c.bundle.Stack.Manifest.Web.Service && x.Running() })
	if i < 0 {
		return Problem("daemon.web-gone", nil, "stack", s.Stack)
	}
	old, _ := s.views.get(s.Stack)
	s.views.point(s.Stack, s.c.upstream(fresh[i]))
	err = s.mustRoute(ctx)
	if err != nil {
		s.views.change(s.Stack, func(v *view) { v.Upstream, v.Seen = old.Upstream, old.Seen })
	}
	return err
}

// empty waits until nothing is on its way in the old containers.
func (s *swap) empty(ctx context.Context, _ step.Report) error {
	all, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	_, old := s.split(all)
	for _, x := range old {
		if a := s.c.upstream(x); a != "" && x.Running() {
			if err := s.drain(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// leave ends the old containers, the last started first, and keeps what the new
// ones were told.
func (s *swap) leave(ctx context.Context, _ step.Report) error {
	all, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	_, old := s.split(all)
	for _, service := range slices.Backward(s.c.services()) {
		for _, x := range old {
			if x.Service != service.Name {
				continue
			}
			if err := s.retire(ctx, s.c, x); err != nil {
				return err
			}
		}
	}
	s.c.release.Settings = s.c.settings()
	return s.Store.Commit(ctx, s.c.release)
}

// split tells the new containers from the old ones of the same release.
func (s *swap) split(all []Container) (fresh, old []Container) {
	for _, x := range all {
		service, ok := s.c.service(x.Service)
		switch {
		case !ok || service.Shared || !s.c.belongs(x):
		case suffixOf(x) == s.Suffix:
			fresh = append(fresh, x)
		default:
			old = append(old, x)
		}
	}
	return fresh, old
}

// ended removes the new containers of a swap that failed before they were
// needed: the old ones serve on.
func (s *swap) ended(ctx context.Context, failed error) error {
	if failed == nil || s.c == nil {
		return nil
	}
	all, err := s.Engine.List(ctx, s.Stack)
	if err != nil {
		return nil //nolint:nilerr // reconciling sorts it out when the engine is back
	}
	fresh, old := s.split(all)
	if !allRun(old, s.c.services()) {
		return nil // the old ones are not whole any more; reconciling keeps what runs
	}
	upstream, _ := s.views.upstream(s.Stack)
	for _, x := range fresh {
		if a := s.c.upstream(x); a != "" && a == upstream {
			return nil // the edge went over to it already
		}
	}
	for _, x := range fresh {
		err = errors.Join(err, s.retire(ctx, s.c, x))
	}
	return err
}

func allRun(old []Container, services []stacks.Service) bool {
	for _, s := range services {
		if s.Shared {
			continue
		}
		if !slices.ContainsFunc(old, func(x Container) bool { return x.Service == s.Name && x.Running() }) {
			return false
		}
	}
	return true
}
