// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// reconcileAll looks at every stack that has a row or containers, each by
// itself, so that a slow one holds nobody up.
func (d *Daemon) reconcileAll(ctx context.Context, wait *sync.WaitGroup) {
	names, err := d.stackNames(ctx)
	if err != nil {
		d.Log.Warn("can not look at the stacks", "error", err)
		return
	}
	for _, name := range names {
		visit, release, ok := d.lanes.visit(ctx, name)
		if !ok {
			continue // a job owns the stack, or the last look is not over
		}
		wait.Go(func() {
			defer release()
			d.reconcile(visit, name)
		})
	}
}

// stackNames are the stacks of the rows, and those of stray containers. A copy that
// is drilled belongs to its drill.
func (d *Daemon) stackNames(ctx context.Context) ([]string, error) {
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var names []string
	add := func(name string) {
		if !seen[name] && !IsDrill(name) {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, r := range rows {
		add(r.Stack)
	}
	all, err := d.Engine.List(ctx, "")
	if err != nil {
		return names, nil //nolint:nilerr // each stack's own look tells
	}
	for _, c := range all {
		add(c.Stack)
	}
	return names, nil
}

// reconcile brings the containers of one stack to what its row says, and tells
// the edge where its web service answers now.
func (d *Daemon) reconcile(ctx context.Context, stack string) {
	last, _ := d.views.get(stack)
	l := &look{Daemon: d, stack: stack, failed: maps.Clone(last.Failed)}
	if l.failed == nil {
		l.failed = map[string]attempts{}
	}
	err := l.run(ctx)
	if ctx.Err() != nil {
		return // an operation wants the stack, or the daemon ends
	}
	if err != nil {
		d.Log.Warn("reconcile", "stack", stack, "error", err)
		l.findings = append(l.findings, failing(stack, err))
	}
	d.views.change(stack, func(v *view) {
		v.Findings, v.Failed, v.Containers = l.findings, l.failed, l.containers
	})
	if !l.due.IsZero() {
		time.AfterFunc(time.Until(l.due), d.Wake)
	}
	d.routes.poke()
	if l.settings != "" {
		d.refresh(stack, l.settings)
	}
}

// failing is the finding of a stack that could not be brought to what it should be.
func failing(stack string, err error) Finding {
	var known *Error
	if errors.As(err, &known) {
		return Finding{Message: known.Message, Severity: Failure}
	}
	return Finding{Message: Message{ID: "daemon.stack-failing", Args: Args("stack", stack, "detail", err)}, Severity: Failure}
}

// look is one look at a stack.
type look struct {
	*Daemon
	stack      string
	c          *crew
	containers []Container
	findings   []Finding
	failed     map[string]attempts
	due        time.Time // when something is to be tried again; zero for nothing
	settings   string    // those that the containers should have been told and were not
}

func (l *look) run(ctx context.Context) error {
	row, ok, err := l.Store.Release(ctx, l.stack)
	if err != nil {
		return err
	}
	if err := l.see(ctx); err != nil {
		return err
	}
	switch {
	case !ok:
		return l.stray()
	case row.Stopped:
		return l.clear(ctx)
	}
	if err := l.meet(ctx, row); err != nil {
		return err
	}
	failed := errors.Join(l.settle(l.c), l.raise(ctx))
	if ctx.Err() != nil {
		// Whoever wants the stack now must find the edge pointed as it was.
		return context.Cause(ctx)
	}
	l.judge(ctx)
	if err := l.point(ctx); err != nil {
		// The edge is told again and again; until then it needs what it knows.
		return failed
	}
	if failed == nil && l.due.IsZero() && row.Settings != l.c.settings() {
		l.settings = l.c.settings()
	}
	return errors.Join(failed, l.dismiss(ctx))
}

// see lists the containers. A list that did not come leaves the last one: an
// empty one would say that nothing runs, and point the edge at nothing.
func (l *look) see(ctx context.Context) error {
	all, err := l.Engine.List(ctx, l.stack)
	if err != nil {
		return err
	}
	l.containers = all
	return nil
}

func (l *look) meet(ctx context.Context, row Release) error {
	b, err := l.openBundle(ctx, row)
	if err != nil {
		return err
	}
	l.c, err = l.crew(ctx, row, b)
	return err
}

// stray is for containers that no row speaks of. They may be all that is left
// of a box whose memory was lost, so they are left alone.
func (l *look) stray() error {
	if len(l.containers) > 0 {
		l.findings = append(l.findings, Finding{Message: Message{ID: "daemon.stray", Args: Args("stack", l.stack)}, Severity: Warning})
	}
	return nil
}

// clear is for a stack that should not run: what is left of it is stopped.
func (l *look) clear(ctx context.Context) error {
	l.views.point(l.stack, "")
	err := l.route(ctx)
	if errors.Is(err, errNoHosts) {
		err = nil // a finding of its own says so; the stack is to stop in any case
	}
	for _, x := range l.containers {
		err = errors.Join(err, l.retire(ctx, &crew{}, x))
	}
	return err
}

// raise starts what should run and does not, in the order in which services
// start. A service waits for another that is down only if it says so.
func (l *look) raise(ctx context.Context) (failed error) {
	down := map[string]bool{}
	for _, s := range l.c.services() {
		if slices.ContainsFunc(s.DependsOn, func(name string) bool { return down[name] }) {
			down[s.Name] = true
			continue
		}
		up, err := l.one(ctx, s)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		down[s.Name] = !up
		failed = errors.Join(failed, err)
	}
	return failed
}

// point says where the web service answers: addresses change at every start.
func (l *look) point(ctx context.Context) error {
	address := ""
	if web, ok := l.c.best(l.containers, l.c.bundle.Stack.Manifest.Web.Service); ok {
		address = l.c.upstream(web)
	}
	l.views.point(l.stack, address)
	return l.route(ctx)
}

// dismiss ends the containers of this stack that no service needs: leftovers of
// an interrupted swap, or of another release. The edge has left them already.
func (l *look) dismiss(ctx context.Context) error {
	for _, x := range slices.Clone(l.containers) {
		best, ok := l.c.best(l.containers, x.Service)
		if ok && best.ID == x.ID || !ok && l.c.belongs(x) {
			continue // it does the work, or it is the one to start again
		}
		if a := l.c.upstream(x); a != "" && x.Running() {
			if err := l.drain(ctx, a); err != nil {
				return err
			}
		}
		l.Log.Info("a container is not needed any more", "stack", l.stack, "name", x.Name)
		if err := l.retire(ctx, l.c, x); err != nil {
			return err
		}
	}
	return nil
}
