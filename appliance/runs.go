// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"rochdale/appliance/step"
)

// run is one job of this process, as those who watch it see it.
type run struct {
	mu      sync.Mutex
	events  []step.Event
	changed chan struct{} // closed and replaced at every change
	over    bool
	err     error
}

func newRun() *run { return &run{changed: make(chan struct{})} }

func (r *run) add(e step.Event) {
	r.update(func() { r.events = append(r.events, e) })
}

func (r *run) finish(err error) {
	r.update(func() { r.over, r.err = true, err })
}

func (r *run) update(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// follow gives all events so far and then each new one, until the run is over,
// with the run's error, or until ctx is done. A slow watcher slows nobody.
func (r *run) follow(ctx context.Context, watch func(step.Event)) error {
	for seen := 0; ; {
		r.mu.Lock()
		fresh, over, err, changed := r.events[seen:], r.over, r.err, r.changed
		r.mu.Unlock()
		seen += len(fresh)
		for _, e := range fresh {
			if watch != nil {
				watch(e)
			}
		}
		if over {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// runs are the jobs of this process that are not over.
type runs struct {
	mu   sync.Mutex
	live map[string]*run // by job id
}

func newRuns() *runs { return &runs{live: map[string]*run{}} }

func (r *runs) add(job string, x *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[job] = x
}

func (r *runs) remove(job string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, job)
}

func (r *runs) get(job string) *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[job]
}

// operation is a plan of one stack and what it was asked for.
type operation struct {
	plan    step.Plan
	request any
	// after runs when the plan ended, before the lane is free; err is nil or why it
	// failed. An interrupted plan (the daemon ends) is not an end.
	after func(ctx context.Context, err error) error
}

// perform runs an operation in its lane and follows it. It goes on when ctx is
// done, and after a crash, until it has ended one way or the other.
func (d *Daemon) perform(ctx context.Context, stack string, build func() operation, watch func(step.Event)) error {
	select {
	case <-d.resumed:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.base.Done():
		return context.Cause(d.base) //nolint:contextcheck // the daemon ends, whoever asks
	}
	r, err := d.launch(ctx, stack, build, false)
	if err != nil {
		return err
	}
	return r.follow(ctx, watch)
}

// launch starts an operation. What was asked for is kept first, unless that was
// done by an earlier process: a full disk must not keep it from cleaning up.
func (d *Daemon) launch(ctx context.Context, stack string, build func() operation, isKept bool) (*run, error) {
	op := build()
	release, err := d.lanes.take(ctx, stack, op.plan.Name)
	if err != nil {
		return nil, err
	}
	if !isKept {
		if err := d.keepRequest(ctx, op); err != nil {
			release()
			return nil, err
		}
	}
	r := newRun()
	d.jobs.Go(func() { //nolint:contextcheck // a job is the daemon's, and outlives who asked for it
		err := d.runOperation(op, r)
		release() // before anybody hears of the end and asks for more
		r.finish(err)
		d.Wake()
	})
	return r, nil
}

func (d *Daemon) keepRequest(ctx context.Context, op operation) error {
	body, err := json.Marshal(op.request)
	if err != nil {
		return fmt.Errorf("keep what was asked for: %w", err)
	}
	return d.Store.KeepRequest(ctx, Request{Plan: op.plan.Name, Key: op.plan.Key, Body: body})
}

func (d *Daemon) runOperation(op operation, r *run) error {
	log := d.Log.With("plan", op.plan.Name, "key", op.plan.Key)
	err := op.plan.Run(d.base, d.Store, func(e step.Event) {
		d.runs.add(e.Job, r)
		log.Info("job", "job", e.Job, "step", e.Step, "kind", e.Kind, "note", e.Note, "error", e.Error)
		r.add(e)
	})
	defer d.forgetRun(r)
	if d.base.Err() != nil && err != nil {
		return err // the next start goes on with it
	}
	if op.after != nil {
		err = errors.Join(err, op.after(d.base, err))
	}
	if d.base.Err() != nil && err != nil {
		return err // so it is with what ends it
	}
	// It is over, also when the daemon has just been told to end.
	return errors.Join(err, d.Store.DropRequest(context.WithoutCancel(d.base), op.plan.Name, op.plan.Key))
}

func (d *Daemon) forgetRun(r *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) > 0 {
		d.runs.remove(r.events[0].Job)
	}
}

// WatchJob tells the events of a job, whether it runs or has ended, and returns
// when it has ended. A job that failed is an error.
func (d *Daemon) WatchJob(ctx context.Context, job string, watch func(step.Event)) error {
	if r := d.runs.get(job); r != nil {
		return r.follow(ctx, watch)
	}
	events, err := d.Store.Events(ctx, job)
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return Problem("daemon.no-job", nil, "job", job).WithCode(ExitUsage)
	}
	for _, e := range events {
		if watch != nil {
			watch(e)
		}
	}
	return JobEnd(events)
}

// JobEnd is the error with which a job ended that has these events, or nil.
func JobEnd(events []step.Event) error {
	if len(events) == 0 {
		return nil
	}
	last := events[len(events)-1]
	if last.Error == "" {
		return nil
	}
	e := Problem("daemon.job-failed", errors.New(last.Error), "job", last.Job)
	for _, m := range messagesIn(last.Error) {
		e.Places = append(e.Places, Place{Message: m})
	}
	return e
}

// resume starts the operations again that a crash, a kill or a restart of the
// daemon interrupted: finished steps answer for themselves.
func (d *Daemon) resume(ctx context.Context) error {
	open, err := d.Store.Requests(ctx)
	if err != nil {
		return err
	}
	for _, r := range open {
		build, err := d.rebuild(r)
		if err != nil {
			d.Log.Error("an interrupted job can not be gone on with", "plan", r.Plan, "key", r.Key, "error", err)
			continue
		}
		if _, err := d.launch(ctx, r.Key, build, true); err != nil {
			if ctx.Err() != nil {
				return err
			}
			// The stacks are looked after all the same; the next start tries again.
			d.Log.Error("an interrupted job does not go on", "plan", r.Plan, "key", r.Key, "error", err)
		}
	}
	return nil
}

// rebuild makes the operation of a kept request.
func (d *Daemon) rebuild(r Request) (func() operation, error) {
	if isTransition(r.Plan) {
		return decoded(r, d.resumedOperation)
	}
	switch r.Plan {
	case "stack-start":
		return decoded(r, d.startOperation)
	case "stack-recover":
		return decoded(r, d.recoverOperation)
	case "stack-restart":
		return decoded(r, d.restartOperation)
	case "stack-hosts":
		return decoded(r, d.hostsOperation)
	case "stack-remove":
		return decoded(r, d.removeOperation)
	case "recovery-take-over":
		return decoded(r, d.takeBackOperation)
	case "backup-dump", "backup-full":
		return decoded(r, d.backupOperation)
	case "backup-check", "backup-prune":
		return decoded(r, d.upkeepOperation)
	case "backup-drill":
		return decoded(r, d.drillOperation)
	default:
		return nil, fmt.Errorf("plan %q is not known here", r.Plan)
	}
}

func decoded[T any](r Request, build func(T) operation) (func() operation, error) {
	var request T
	if err := json.Unmarshal(r.Body, &request); err != nil {
		return nil, fmt.Errorf("read what was asked for: %w", err)
	}
	return func() operation { return build(request) }, nil
}
