// SPDX-License-Identifier: AGPL-3.0-or-later

package step

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Error says which step of which plan failed. Running the plan again goes on
// from there.
type Error struct {
	Plan, Step string
	Err        error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: step %s: %v", e.Plan, e.Step, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Run runs the plan to its end, or to the first step that fails, or until ctx
// is done. Every event is in the journal before watch sees it; watch may be nil.
//
// It asks each step whether it is already so, and does it when it is not. A run
// that was interrupted is gone on with by running the same plan again: finished
// steps answer for themselves, so the journal's word is never trusted over the
// machine's. An interruption (ctx done) leaves the job open; any other failure
// closes it as failed, and the next run opens a new one.
func (p Plan) Run(ctx context.Context, j Journal, watch func(Event)) error {
	if err := p.Validate(); err != nil {
		return err
	}
	// The journal must be written when the person has just pressed Ctrl-C.
	durable := context.WithoutCancel(ctx)
	job, resumed, err := j.Open(durable, p.Name, p.Key, time.Now())
	if err != nil {
		return fmt.Errorf("open the journal of %s: %w", p.Name, err)
	}
	r := runner{plan: p, journal: j, watch: watch, job: job, resumed: resumed, durable: durable}
	runErr := r.steps(ctx)
	if runErr != nil && ctx.Err() != nil {
		return runErr
	}
	return errors.Join(runErr, r.end(runErr))
}

type runner struct {
	plan    Plan
	journal Journal
	watch   func(Event)
	job     string
	resumed bool
	durable context.Context
}

func (r *runner) steps(ctx context.Context) error {
	for i := range r.plan.Steps {
		if err := ctx.Err(); err != nil {
			return &Error{Plan: r.plan.Name, Step: r.plan.Steps[i].ID, Err: context.Cause(ctx)}
		}
		if err := r.one(ctx, i); err != nil {
			return &Error{Plan: r.plan.Name, Step: r.plan.Steps[i].ID, Err: err}
		}
	}
	return nil
}

func (r *runner) one(ctx context.Context, i int) error {
	s := r.plan.Steps[i]
	failpoint(r.plan.Name, s.ID, "before")
	start := time.Now()
	if s.Done != nil {
		done, err := s.Done(ctx)
		if err != nil {
			return r.broke(i, start, err)
		}
		if done {
			failpoint(r.plan.Name, s.ID, "after")
			return r.emit(Event{Step: s.ID, Index: i + 1, Kind: Skipped})
		}
	}
	if err := r.emit(Event{Step: s.ID, Index: i + 1, Kind: Started}); err != nil {
		return err
	}
	if err := s.Do(ctx, r.reporter(i)); err != nil {
		return r.broke(i, start, err)
	}
	failpoint(r.plan.Name, s.ID, "after")
	return r.emit(Event{Step: s.ID, Index: i + 1, Kind: Done, Duration: time.Since(start)})
}

// reporter notes progress. A note that can not be journalled is not worth
// failing the step for; the step's own end will meet the same trouble.
func (r *runner) reporter(i int) Report {
	return func(note string) {
		_ = r.emit(Event{Step: r.plan.Steps[i].ID, Index: i + 1, Kind: Noted, Note: note})
	}
}

func (r *runner) broke(i int, start time.Time, cause error) error {
	e := Event{Step: r.plan.Steps[i].ID, Index: i + 1, Kind: Broke, Error: cause.Error(), Duration: time.Since(start)}
	return errors.Join(cause, r.emit(e))
}

func (r *runner) end(runErr error) error {
	outcome, e := Succeeded, Event{Kind: Ended}
	if runErr != nil {
		outcome, e.Error = Failed, runErr.Error()
	}
	if err := r.emit(e); err != nil {
		return err
	}
	return r.journal.Close(r.durable, r.job, outcome, time.Now())
}

func (r *runner) emit(e Event) error {
	e.Job, e.Plan, e.Total, e.Resumed, e.At = r.job, r.plan.Name, len(r.plan.Steps), r.resumed, time.Now().UTC()
	if err := r.journal.Record(r.durable, e); err != nil {
		return fmt.Errorf("write the journal of %s: %w", r.plan.Name, err)
	}
	if r.watch != nil {
		r.watch(e)
	}
	return nil
}
