// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"

	"rochdale/appliance/step"
)

// removeRequest is what a removal was begun with.
type removeRequest struct {
	Stack string `json:"stack"`
}

// Remove takes a stack down: its containers, its network and its images go, its
// bundle, its data and its row stay, so that Apply finds them again.
func (d *Daemon) Remove(ctx context.Context, stack string, watch func(step.Event)) error {
	_, ok, err := d.Store.Release(ctx, stack)
	if err != nil {
		return err
	}
	if !ok {
		return Problem("daemon.no-stack", nil, "stack", stack).WithCode(ExitUsage)
	}
	return d.perform(ctx, stack, func() operation { return d.removeOperation(removeRequest{stack}) }, watch)
}

func (d *Daemon) removeOperation(r removeRequest) operation {
	x := &removal{Daemon: d, stack: r.Stack}
	return operation{request: r, plan: step.Plan{Name: "stack-remove", Key: r.Stack, Steps: []step.Step{
		{ID: "mark", Do: x.mark},
		{ID: "route", Do: x.unroute},
		{ID: "stop", Do: x.stop, Effects: []step.Effect{{Kind: "removes", What: "containers"}}},
		{ID: "clean", Do: x.clean, Effects: []step.Effect{{Kind: "removes", What: "images"}}},
	}}}
}

type removal struct {
	*Daemon
	stack string
}

// mark is the moment from which nothing starts the stack again.
func (x *removal) mark(ctx context.Context, _ step.Report) error {
	row, ok, err := x.Store.Release(ctx, x.stack)
	if err != nil || !ok {
		return err
	}
	row.Stopped = true
	return x.Store.Commit(ctx, row)
}

// unroute is no reason to fail: the edge may be gone already, and is told again
// and again if it is not.
func (x *removal) unroute(ctx context.Context, report step.Report) error {
	x.views.point(x.stack, "")
	if err := x.route(ctx); err != nil {
		report(err.Error())
	}
	return nil
}

// stop ends the containers, the last started first.
func (x *removal) stop(ctx context.Context, _ step.Report) error {
	row, _, err := x.Store.Release(ctx, x.stack)
	if err != nil {
		return err
	}
	c := &crew{release: row}
	if b, err := x.openBundle(ctx, row); err == nil {
		c.bundle = b
	}
	all, err := x.Engine.List(ctx, x.stack)
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b Container) int { return c.rank(b.Service) - c.rank(a.Service) })
	for _, one := range all {
		if err := x.retire(ctx, c, one); err != nil {
			return err
		}
	}
	return nil
}

// rank is the place of a service in the order in which they start.
func (c *crew) rank(service string) int { return slices.Index(c.names(), service) }

func (x *removal) clean(ctx context.Context, _ step.Report) error {
	if err := x.Engine.RemoveNetwork(ctx, x.stack); err != nil {
		return err
	}
	x.views.forget(x.stack)
	_, err := x.prune(ctx)
	return err
}
