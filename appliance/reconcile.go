// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"rochdale/stacks"
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

// stackNames are the stacks of the rows, and those of stray containers.
func (d *Daemon) stackNames(ctx context.Context) ([]string, error) {
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var names []string
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, r := range rows {
		add(r.Stack)
	}
	all, err := d.Engine.List(ctx, "")
	if err != nil {
		return names, nil // each stack's own look tells
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
	failed := l.raise(ctx)
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

func (l *look) see(ctx context.Context) (err error) {
	l.containers, err = l.Engine.List(ctx, l.stack)
	return err
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

// one brings one service up unless it is, or unless its turn comes later.
func (l *look) one(ctx context.Context, s stacks.Service) (up bool, err error) {
	x, running := l.c.best(l.containers, s.Name)
	switch {
	case running && x.Health == "healthy":
		return true, nil
	case running && x.Health == "unhealthy":
		return true, l.heal(ctx, s, x)
	case running:
		return l.attempt(ctx, s, func() error { return l.await(ctx, x) })
	}
	ended := l.c.of(l.containers, s.Name)
	if wait := l.wait(s, ended); wait > 0 {
		l.dueIn(wait)
		if last := l.failed[s.Name]; last.Err != nil {
			l.findings = append(l.findings, failing(l.stack, last.Err))
		}
		return false, nil
	}
	return l.attempt(ctx, s, func() error { return l.up(ctx, s, reuse(ended)) })
}

// wait is how long until the service is started again.
func (l *look) wait(s stacks.Service, ended []Container) time.Duration {
	f := l.failed[s.Name]
	wait := time.Until(f.Last.Add(backoff(f.Count + 1)))
	if len(ended) > 0 {
		wait = max(wait, time.Until(ended[0].Finished.Add(backoff(ended[0].Crashes))))
	}
	return wait
}

// attempt counts failures in a row.
func (l *look) attempt(ctx context.Context, s stacks.Service, do func() error) (bool, error) {
	err := do()
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err == nil {
		delete(l.failed, s.Name)
		return true, l.see(ctx)
	}
	f := attempts{Count: l.failed[s.Name].Count + 1, Last: time.Now(), Err: err}
	l.failed[s.Name] = f
	l.dueIn(backoff(f.Count + 1))
	return false, errors.Join(err, l.see(ctx))
}

// await gives a container that runs and has not shown itself yet some time.
func (l *look) await(ctx context.Context, x Container) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return l.Engine.WaitHealthy(ctx, x.ID)
}

func (l *look) up(ctx context.Context, s stacks.Service, suffix string) error {
	if err := l.load(ctx, l.c); err != nil {
		return err
	}
	l.Log.Info("starting", "stack", l.stack, "service", s.Name)
	return l.begin(ctx, l.c, s, suffix)
}

// heal restarts a service that runs and fails its own test. The engine has
// asked it several times before it calls it unhealthy.
func (l *look) heal(ctx context.Context, s stacks.Service, x Container) error {
	l.findings = append(l.findings, Finding{
		Message:  Message{ID: "daemon.unhealthy", Args: Args("stack", l.stack, "service", s.Name, "log", l.tail(ctx, x))},
		Severity: Failure,
	})
	if wait := time.Until(x.Started.Add(max(2*time.Minute, backoff(l.failed[s.Name].Count+1)))); wait > 0 {
		l.dueIn(wait)
		return nil
	}
	_, err := l.attempt(ctx, s, func() error {
		if err := l.retire(ctx, l.c, x); err != nil {
			return err
		}
		return l.up(ctx, s, NewSuffix())
	})
	return err
}

func (l *look) dueIn(wait time.Duration) {
	if at := time.Now().Add(wait); l.due.IsZero() || at.Before(l.due) {
		l.due = at
	}
}

// backoff is how long after its end a service is started again: at once the
// first time, then after 2, 4, 8 ... seconds, never more than five minutes.
func backoff(crashes int) time.Duration {
	if crashes < 2 {
		return 0
	}
	return min(time.Second<<min(crashes-1, 10), 5*time.Minute)
}

// loopFrom is how many crashes in ten minutes are a loop.
const loopFrom = 3

// judge finds services that end again and again.
func (l *look) judge(ctx context.Context) {
	for _, s := range l.c.services() {
		mine := l.c.of(l.containers, s.Name)
		if len(mine) == 0 || mine[0].Crashes < loopFrom {
			continue
		}
		severity := Failure
		if mine[0].Running() {
			severity = Warning
		}
		l.findings = append(l.findings, Finding{Message: l.crashed(ctx, mine[0]), Severity: severity})
	}
}

func (l *look) crashed(ctx context.Context, x Container) Message {
	args := Args("stack", l.stack, "service", x.Service, "code", x.ExitCode, "count", x.Crashes, "memory", x.Memory>>20, "log", l.tail(ctx, x))
	if x.OOMKilled {
		return Message{ID: "daemon.out-of-memory", Args: args}
	}
	return Message{ID: "daemon.crash-loop", Args: args}
}

// tail is the last lines of a container, bounded.
func (l *look) tail(ctx context.Context, x Container) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out := &tailWriter{max: 2 << 10}
	if err := l.Engine.Logs(ctx, x.ID, LogOptions{Tail: 10}, out); err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out.buf), ""))
}

// tailWriter keeps the last max bytes.
type tailWriter struct {
	buf []byte
	max int
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	if over := len(w.buf) - w.max; over > 0 {
		w.buf = append(w.buf[:0], w.buf[over:]...)
	}
	return len(p), nil
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
