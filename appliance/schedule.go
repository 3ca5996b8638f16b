// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"sync"
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
	// Turns are for work that needs the box's lane of long jobs: such tasks go one
	// after the other, and wait while somebody else has the lane.
	Turns bool
	// Soon tells whether the task is due before its time; last is when it last began.
	// Nil: it never is.
	Soon func(ctx context.Context, last time.Time) (bool, error)
	Do   func(ctx context.Context) error
}

// The tasks of the box. The long ones are over before the hour in which the
// machine may restart for security updates, or come after it. Those that are due
// together, after the machine was off, take turns in this order.
func (d *Daemon) tasks() []task {
	upkeep := func(kind BackupKind) func(context.Context) error {
		return d.whenWhole(func(ctx context.Context) error { return d.upkeepInTime(ctx, kind) })
	}
	full := func(ctx context.Context) error { return d.backupInTime(ctx, BackupFull) }
	return []task{
		{Name: "prune", When: "17 3 * * *", Spread: time.Hour, Do: func(ctx context.Context) error {
			_, err := d.prune(ctx)
			return err
		}},
		{Name: "backup-dump", When: "*/15 * * * *", Spread: 10 * time.Minute, Do: d.dumpIfChanged},
		{Name: "backup-full", When: "10 0 * * *", Spread: time.Hour, Turns: true, Soon: d.fullSoon, Do: d.whenWhole(full)},
		{Name: "backup-drill", When: "10 2 * * *", Spread: 30 * time.Minute, Turns: true, Do: d.whenWhole(d.drillHere)},
		{Name: "backup-check", When: "40 4 * * *", Spread: time.Hour, Turns: true, Do: upkeep(BackupCheck)},
		{Name: "backup-prune", When: "10 7 * * *", Spread: time.Hour, Turns: true, Do: upkeep(BackupPrune)},
		{Name: "backup-drill-offsite", When: "40 5 3 * *", Spread: time.Hour, Turns: true, Do: d.whenWhole(d.drillOffsite)},
	}
}

// whenWhole puts off work on repositories while the box is being recovered, when nothing
// may be written to them yet. That is waited for like a job: work that began would be
// refused, and be told of as work that failed.
func (d *Daemon) whenWhole(do func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if d.recovering() {
			return Problem("daemon.busy", nil, "stack", exclusiveLane, "plan", "stack-recover").WithCode(ExitLocked)
		}
		return do(ctx)
	}
}

// schedule runs tasks when they are due, each by itself: a long one holds up no
// other, and none overlaps itself. When a task last ran is kept in state: one that
// was missed while the machine was off runs once when it is back, however often
// it was missed.
type schedule struct {
	store interface {
		LastRun(ctx context.Context, task string) (time.Time, bool, error)
		Ran(ctx context.Context, task string, at time.Time) error
	}
	offset func(spread time.Duration) time.Duration
	failed func(t task, err error)
	busy   *running
	queue  *queue
}

// running are the tasks that run now, by name.
type running struct {
	mu    sync.Mutex
	names map[string]bool
	wait  sync.WaitGroup
}

// begin takes a name unless it is taken.
func (r *running) begin(name string) (end func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[name] {
		return nil, false
	}
	r.names[name] = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.names, name)
	}, true
}

// queue lets those who enter it go one after the other, in the order in which they
// entered. Only the loop of the schedule enters.
type queue struct{ last chan struct{} } // closed when whoever entered last has left

// enter gives what is closed when it is one's turn, and how to leave.
func (q *queue) enter() (turn <-chan struct{}, leave func()) {
	turn, q.last = q.last, make(chan struct{})
	mine := q.last
	return turn, func() { close(mine) }
}

// patience is how long a task whose turn it is waits for a job that somebody asked
// for. It looks every minute.
const patience = 6 * time.Hour

// tick bounds how late a jump of the clock is noticed.
const tick = time.Minute

// run never returns before ctx is done.
func (s schedule) run(ctx context.Context, tasks []task) {
	s.busy, s.queue = &running{names: map[string]bool{}}, &queue{make(chan struct{})}
	close(s.queue.last)
	defer s.busy.wait.Wait()
	for ctx.Err() == nil {
		for _, t := range tasks {
			if err := s.once(ctx, t); err != nil && ctx.Err() == nil {
				s.failed(t, err)
			}
		}
		sleep(ctx, tick)
	}
}

// once starts the task if it is due. A run that failed counts as one: it comes
// back at its next time, not every minute.
func (s schedule) once(ctx context.Context, t task) error {
	end, free := s.busy.begin(t.Name)
	if !free {
		return nil // it is due again and still runs: it comes when it is over
	}
	// Only now: a run that ends meanwhile would leave what was read before it began.
	last, due, err := s.isDue(ctx, t)
	if err != nil || !due {
		end()
		return err
	}
	turn, leave := s.turn(t)
	s.busy.wait.Go(func() {
		defer end()
		defer leave()
		select {
		case <-turn:
		case <-ctx.Done():
		}
		if err := s.do(ctx, t, last); err != nil && ctx.Err() == nil {
			s.failed(t, err)
		}
	})
	return nil
}

// isDue tells whether the task is to begin, and when it last did.
func (s schedule) isDue(ctx context.Context, t task) (last time.Time, due bool, err error) {
	last, ran, err := s.store.LastRun(ctx, t.Name)
	if err != nil {
		return last, false, err
	}
	now := time.Now()
	if !ran || last.After(now.Add(tick)) {
		// Never, or in the future: the clock was wrong then. Count from now.
		return last, false, s.store.Ran(ctx, t.Name, now)
	}
	due, err = s.due(ctx, t, last, now)
	return last, due, err
}

// due tells whether the time of a task has come that last began at last.
func (s schedule) due(ctx context.Context, t task, last, now time.Time) (bool, error) {
	at, err := next(t.When, last.Add(-s.offset(t.Spread)))
	if err != nil {
		return false, err
	}
	if t.Soon == nil || !now.Before(at.Add(s.offset(t.Spread))) {
		return !now.Before(at.Add(s.offset(t.Spread))), nil
	}
	return t.Soon(ctx, last)
}

// turn is closed when the task may begin.
func (s schedule) turn(t task) (turn <-chan struct{}, leave func()) {
	if t.Turns {
		return s.queue.enter()
	}
	now := make(chan struct{})
	close(now)
	return now, func() {}
}

// do keeps that the task ran, and does it. One that found the lane taken did not
// run: it tries again, after a restart of the daemon too.
func (s schedule) do(ctx context.Context, t task, last time.Time) error {
	for began := time.Now(); ctx.Err() == nil; sleep(ctx, tick) {
		if err := s.store.Ran(ctx, t.Name, time.Now()); err != nil {
			return err
		}
		err := t.Do(ctx)
		if !t.Turns || !laneTaken(err) || time.Since(began) >= patience && !recoveryGoesOn(err) {
			return err
		}
		if err := s.store.Ran(ctx, t.Name, last); err != nil {
			return err
		}
	}
	return nil // it is due still
}

// laneTaken tells whether long work did not begin because other long work goes on. A
// backup that ended because a stack was being changed did begin.
func laneTaken(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.ID == "daemon.busy" && e.Args["stack"] == exclusiveLane
}

// recoveryGoesOn tells whether the other work is a recovery: its end is waited for, however
// long it takes.
func recoveryGoesOn(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Args["plan"] == "stack-recover"
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
