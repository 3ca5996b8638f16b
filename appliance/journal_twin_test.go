// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
)

// journalTwin is the box's memory, at whose records a test ends the daemon. A job
// waits for its records; those who watch it hear of them later, when it is further.
type journalTwin struct {
	*state.DB
	ending *ending
}

var _ appliance.Store = journalTwin{}

func (j journalTwin) Record(ctx context.Context, e step.Event) error {
	if err := j.DB.Record(ctx, e); err != nil {
		return err
	}
	j.ending.see(e)
	return nil
}

// moment is when a daemon is ended.
type moment string

const (
	before moment = "before" // the step has begun, and nothing of it is done
	amid   moment = "amid"   // the step waits for something, or all of it is done
	after  moment = "after"  // all of it is done, and nothing of the next one
)

// moments are all there are of a step.
func moments() []moment { return []moment{before, amid, after} }

// ending is where a test wants the daemon to be told to end; the zero value: nowhere.
type ending struct {
	mu   sync.Mutex
	step string
	when moment
	tell func()
}

// at sets where tell is called. reached is closed when it was.
func (e *ending) at(id string, when moment, tell func()) (reached <-chan struct{}) {
	told := make(chan struct{})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.step, e.when = id, when
	e.tell = sync.OnceFunc(func() { tell(); close(told) })
	return told
}

// see is called by the job itself, which stands there until all have heard of the end.
func (e *ending) see(event step.Event) {
	e.mu.Lock()
	when, tell, other := e.when, e.tell, event.Step != e.step
	e.mu.Unlock()
	switch {
	case tell == nil || other:
	case event.Kind == step.Started && when == amid:
		go func() {
			everybodyWaits()
			tell()
		}()
	case event.Kind == step.Started && when == before, event.Kind == step.Done && when != before:
		tell()
		everybodyWaits()
	}
}

// everybodyWaits returns when all others in the bubble wait for each other or for
// the clock, which stands still until then.
func everybodyWaits() { time.Sleep(time.Nanosecond) }

// diesAt does something that ends with the daemon, and ends the daemon at a step of it.
func (b *bench) diesAt(id string, when moment, do func() error) error {
	b.t.Helper()
	reached := b.ending.at(id, when, b.kill)
	err := do()
	select {
	case <-reached:
	default:
		b.t.Errorf("it ended without a moment %s the step %s: %v", when, id, err)
	}
	b.stop()
	return err
}
