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

// removeRequest is what a removal was begun with.
type removeRequest struct {
	Stack string `json:"stack"`
}

// Remove takes a stack down: its containers, its network and its images go, its
// bundle, its data and its row stay, so that Apply finds them again. The databases of
// one with a server are dumped before the server stops; a second removal tries again
// what did not work the first time.
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
		{ID: "park", Done: x.saved, Do: x.park, Effects: writes(d.Paths.Parked(r.Stack)), Estimate: 2 * time.Second},
		{ID: "end", Done: x.ended, Do: x.end, Effects: []step.Effect{{Kind: "removes", What: "containers"}}},
		{ID: "clean", Do: x.clean, Effects: []step.Effect{{Kind: "removes", What: "images"}}},
	}}}
}

type removal struct {
	*Daemon
	stack string
}

// mark is the moment from which nothing starts the stack again. Whatever is parked of
// one that ran until now is of an earlier day.
func (x *removal) mark(ctx context.Context, _ step.Report) error {
	row, ok, err := x.Store.Release(ctx, x.stack)
	if err != nil || !ok {
		return err
	}
	if !row.Stopped {
		if err := x.unpark(x.stack); err != nil {
			return err
		}
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

// stop ends all containers but those of the database server.
func (x *removal) stop(ctx context.Context, _ step.Report) error {
	return x.retireAll(ctx, func(s stacks.Service) bool { return !s.Shared })
}

// saved tells whether there is nothing to dump: no server, or its dump is there.
func (x *removal) saved(ctx context.Context) (bool, error) {
	row, ok, err := x.Store.Release(ctx, x.stack)
	if err != nil || !ok {
		return !ok, err
	}
	b, err := x.openBundle(ctx, row)
	if err != nil {
		return false, nil //nolint:nilerr // the step tells of it
	}
	if !(&crew{bundle: b}).postgres() {
		return true, nil
	}
	_, err = x.readParked(row)
	return err == nil, nil
}

// park is no reason to fail either: whoever takes a stack down may do so because its
// database does not run any more. A finding tells what is missing.
func (x *removal) park(ctx context.Context, report step.Report) error {
	row, ok, err := x.Store.Release(ctx, x.stack)
	if err != nil || !ok {
		return err
	}
	if err := x.Daemon.park(ctx, row); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx) // the next start goes on with it
		}
		x.Log.Warn("the databases of a stack could not be dumped before it was stopped", "stack", x.stack, "error", err)
		report(err.Error())
	}
	return nil
}

func (x *removal) ended(ctx context.Context) (bool, error) {
	all, err := x.Engine.List(ctx, x.stack)
	return err == nil && len(all) == 0, err
}

// end stops what is left.
func (x *removal) end(ctx context.Context, _ step.Report) error { return x.retireAll(ctx, everything) }

// retireAll ends the containers of these services, and those of none, the last
// started first.
func (x *removal) retireAll(ctx context.Context, which func(stacks.Service) bool) error {
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
		if s, known := c.service(one.Service); known && !which(s) {
			continue
		}
		if err := x.retire(ctx, c, one); err != nil {
			return err
		}
	}
	return nil
}

// putAway is the end of a removal, for a stack of which only a server may run.
func (x *removal) putAway(ctx context.Context) error {
	quiet := func(string) {}
	done, err := x.saved(ctx)
	if err == nil && !done {
		err = x.park(ctx, quiet)
	}
	return errors.Join(err, x.end(ctx, quiet), x.clean(ctx, quiet))
}

// rank is the place of a service in the order in which they start.
func (c *crew) rank(service string) int { return slices.Index(c.names(), service) }

func (x *removal) clean(ctx context.Context, _ step.Report) error {
	if err := x.Engine.RemoveNetwork(ctx, x.stack); err != nil {
		return err
	}
	x.views.forget(x.stack)
	_, err := x.pruneBeside(ctx, x.stack)
	return err
}
