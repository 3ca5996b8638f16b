// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

// task is work that comes back.
type task struct {
	Name string
	// When is five cron fields, in UTC.
	When string
	// Spread is how far machines are kept apart, so that a thousand boxes do
	// not do it in the same second. Each machine keeps its own place.
	Spread time.Duration
	Do     func(ctx context.Context) error
}

// The tasks of the box.
func (d *Daemon) tasks() []task {
	return []task{
		{Name: "prune", When: "17 3 * * *", Spread: time.Hour, Do: func(ctx context.Context) error {
			_, err := d.prune(ctx)
			return err
		}},
	}
}

// schedule runs tasks when they are due, one after the other. When a task last
// ran is kept in state: one that was missed while the machine was off runs once
// when it is back, however often it was missed.
type schedule struct {
	store interface {
		LastRun(ctx context.Context, task string) (time.Time, bool, error)
		Ran(ctx context.Context, task string, at time.Time) error
	}
	offset func(spread time.Duration) time.Duration
	failed func(t task, err error)
}

// tick bounds how late a jump of the clock is noticed.
const tick = time.Minute

// run never returns before ctx is done.
func (s schedule) run(ctx context.Context, tasks []task) {
	for ctx.Err() == nil {
		for _, t := range tasks {
			if err := s.once(ctx, t); err != nil && ctx.Err() == nil {
				s.failed(t, err)
			}
		}
		sleep(ctx, tick)
	}
}

// once runs the task if it is due. A run that failed counts as one: it comes
// back at its next time, not every minute.
func (s schedule) once(ctx context.Context, t task) error {
	last, ran, err := s.store.LastRun(ctx, t.Name)
	if err != nil {
		return err
	}
	now := time.Now()
	if !ran || last.After(now.Add(tick)) {
		// Never, or in the future: the clock was wrong then. Count from now.
		return s.store.Ran(ctx, t.Name, now)
	}
	due, err := next(t.When, last.Add(-s.offset(t.Spread)))
	if err != nil {
		return err
	}
	if now.Before(due.Add(s.offset(t.Spread))) {
		return nil
	}
	if err := s.store.Ran(ctx, t.Name, now); err != nil {
		return err
	}
	return t.Do(ctx)
}

// next is the first time of a cron line after t.
func next(when string, t time.Time) (time.Time, error) {
	line, err := cron.ParseStandard(when)
	if err != nil {
		return time.Time{}, fmt.Errorf("schedule %q: %w", when, err)
	}
	return line.Next(t.UTC()), nil
}

// place gives a machine its own place within a spread, always the same.
func place(machine string) func(time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(machine))
	seed := h.Sum64()
	return func(spread time.Duration) time.Duration {
		if spread <= 0 {
			return 0
		}
		return time.Duration(seed % uint64(spread)).Truncate(time.Second)
	}
}

func (d *Daemon) keepSchedule(ctx context.Context) {
	id, err := os.ReadFile(d.Paths.MachineID())
	if err != nil {
		d.Log.Warn("this machine has no id; it keeps to the time of all others", "error", err)
	}
	s := schedule{store: d.Store, offset: place(string(id)), failed: func(t task, err error) {
		d.Log.Warn("a task of the schedule failed", "task", t.Name, "error", err)
	}}
	s.run(ctx, d.tasks())
}
