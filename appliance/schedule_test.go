// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memory keeps last runs as state does.
type memory struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (m *memory) LastRun(_ context.Context, task string) (time.Time, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.last[task]
	return at, ok, nil
}

func (m *memory) Ran(_ context.Context, task string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last[task] = at
	return nil
}

// scheduled runs a schedule with one task for a while, and tells when it ran.
func scheduled(t *testing.T, m *memory, offset, span time.Duration, took time.Duration) (ran []time.Time) {
	t.Helper()
	s := schedule{store: m, offset: func(time.Duration) time.Duration { return offset }, failed: func(_ task, err error) { t.Log(err) }}
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	s.run(ctx, []task{{Name: "clean", When: "0 3 * * *", Spread: time.Hour, Do: func(context.Context) error {
		ran = append(ran, time.Now().UTC())
		time.Sleep(took)
		return errors.New("it failed") // a failed run counts as one
	}}})
	return ran
}

func TestSchedule(t *testing.T) {
	day := 24 * time.Hour
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when every bubble begins
	for name, c := range map[string]struct {
		last   time.Time // zero: never ran
		offset time.Duration
		span   time.Duration
		took   time.Duration
		want   []time.Duration // after start
	}{
		"never ran: at its next time":             {span: 2 * day, want: []time.Duration{3 * time.Hour, 27 * time.Hour}},
		"missed for a month: once, at once":       {last: start.Add(-30 * day), span: 12 * time.Hour, want: []time.Duration{0, 3 * time.Hour}},
		"ran a moment ago":                        {last: start.Add(-time.Minute), span: day, want: []time.Duration{3 * time.Hour}},
		"the clock was ten years ahead":           {last: start.Add(3650 * day), span: day, want: []time.Duration{3 * time.Hour}},
		"its own place among machines":            {offset: 20 * time.Minute, span: day, want: []time.Duration{3*time.Hour + 20*time.Minute}},
		"missed, with a place":                    {last: start.Add(-22 * time.Hour), offset: 20 * time.Minute, span: time.Hour, want: []time.Duration{0}},
		"before its place today, ran yesterday":   {last: start.Add(-20 * time.Hour), offset: 50 * time.Minute, span: day, want: []time.Duration{3*time.Hour + 50*time.Minute}},
		"longer than a day: no two at once":       {span: 3 * day, took: 30 * time.Hour, want: []time.Duration{3 * time.Hour, 33 * time.Hour, 63 * time.Hour}},
		"the clock was set back by half a minute": {last: start.Add(30 * time.Second), span: day, want: []time.Duration{3 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &memory{last: map[string]time.Time{}}
				if !c.last.IsZero() {
					m.last["clean"] = c.last
				}
				ran := scheduled(t, m, c.offset, c.span, c.took)
				if len(ran) != len(c.want) {
					t.Fatalf("ran at %v", ran)
				}
				for i, at := range ran {
					if late := at.Sub(start.Add(c.want[i])); late < 0 || late > 2*tick {
						t.Errorf("run %d was at %v, wanted %v", i, at, start.Add(c.want[i]))
					}
				}
			})
		})
	}
}

// TestTurns: tasks that are due together go in their order, and wait for a job that
// somebody asked for; one that never got its turn is due after a restart.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		m := &memory{last: map[string]time.Time{"full": start.AddDate(0, 0, -9), "drill": start.AddDate(0, 0, -9), "check": start.AddDate(0, 0, -9), "dump": start.AddDate(0, 0, -9)}}
		var mu sync.Mutex
		var ran []string
		asked := 0
		one := func(name string, turns bool, do func() error) task {
			return task{Name: name, When: "0 0 1 1 *", Turns: turns, Do: func(context.Context) error {
				err := do()
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					ran = append(ran, name)
				}
				return err
			}}
		}
		tasks := []task{
			one("dump", false, func() error { return nil }),
			one("full", true, func() error {
				asked++
				if time.Since(start) < 2*time.Hour {
					return Problem("daemon.busy", nil, "stack", exclusiveLane)
				}
				time.Sleep(time.Hour)
				return nil
			}),
			one("drill", true, func() error { time.Sleep(time.Hour); return nil }),
			one("check", true, func() error { time.Sleep(30 * time.Minute); return nil }),
		}
		for _, span := range []time.Duration{3*time.Hour + 30*time.Minute, 2 * time.Hour} {
			s := schedule{store: m, offset: func(time.Duration) time.Duration { return 0 }, failed: func(x task, err error) { t.Error(x.Name, err) }}
			ctx, cancel := context.WithTimeout(t.Context(), span)
			s.run(ctx, tasks)
			cancel()
		}
		if got := strings.Join(ran, " "); got != "dump full drill check" {
			t.Errorf("ran %s", got)
		}
		if asked < 100 || asked > 130 {
			t.Errorf("the lane was asked for %d times in two hours", asked)
		}
	})
}

// TestTurnsEnd: who never gets the lane gives up, and the others have their turn.
func TestTurnsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := time.Now().AddDate(0, 0, -9)
		m := &memory{last: map[string]time.Time{"full": long, "check": long}}
		var failed, ran []time.Duration
		began := time.Now()
		s := schedule{store: m, offset: func(time.Duration) time.Duration { return 0 }, failed: func(task, error) { failed = append(failed, time.Since(began)) }}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Hour)
		defer cancel()
		s.run(ctx, []task{
			{Name: "full", When: "0 0 1 1 *", Turns: true, Do: func(context.Context) error { return Problem("daemon.busy", nil, "stack", exclusiveLane) }},
			{Name: "check", When: "0 0 1 1 *", Turns: true, Do: func(context.Context) error { ran = append(ran, time.Since(began)); return nil }},
		})
		if len(failed) != 1 || failed[0] < patience || len(ran) != 1 || ran[0] > patience+time.Hour {
			t.Errorf("failed %v, ran %v", failed, ran)
		}
	})
}

func TestPlaceIsStable(t *testing.T) {
	a, b := place("machine a"), place("machine b")
	first, again, other := a(time.Hour), a(time.Hour), b(time.Hour)
	if first != again || first == other {
		t.Errorf("a %v and %v, b %v", first, again, other)
	}
	for _, spread := range []time.Duration{0, time.Minute, time.Hour} {
		if got := a(spread); got < 0 || got > spread {
			t.Errorf("%v of %v", got, spread)
		}
	}
	if _, err := next("not cron", time.Now()); err == nil {
		t.Error("nonsense was taken for a schedule")
	}
}

func TestTasksHaveTimes(t *testing.T) {
	for _, task := range (&Daemon{}).tasks() {
		if _, err := next(task.When, time.Now()); err != nil || task.Do == nil {
			t.Errorf("%s: %v", task.Name, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	for crashes, want := range map[int]time.Duration{0: 0, 1: 0, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 1000: 5 * time.Minute} {
		if got := backoff(crashes); got != want {
			t.Errorf("%d crashes: %v, want %v", crashes, got, want)
		}
	}
}

func TestLanes(t *testing.T) {
	l := newLanes()
	ctx := t.Context()
	free, err := l.take(ctx, "a", "restart")
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range []string{"a", wholeBox} {
		if _, err := l.take(ctx, stack, "other"); !IsProblem(err, "daemon.busy") || ExitCode(err) != ExitLocked {
			t.Errorf("%q: %v", stack, err)
		}
		if _, _, ok := l.visit(ctx, stack); ok {
			t.Errorf("%q was visited", stack)
		}
	}
	other, err := l.take(ctx, "b", "restart")
	if err != nil {
		t.Fatal(err)
	}
	other()
	free()
	free() // twice is harmless
	all, err := l.take(ctx, wholeBox, "reboot")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.take(ctx, "a", "restart"); !IsProblem(err, "daemon.busy") {
		t.Error(err)
	}
	all()
}

// TestVisitYields: reconciling gives way to an operation, at once.
func TestVisitYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes()
		visit, release, ok := l.visit(t.Context(), "a")
		if !ok {
			t.Fatal("the lane is taken")
		}
		go func() {
			<-visit.Done()
			time.Sleep(time.Second) // it has to finish what it is in the middle of
			release()
		}()
		began := time.Now()
		free, err := l.take(t.Context(), "a", "restart")
		if err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		free()
	})
}

// TestDueBeforeItsTime: a task that is wanted soon runs once, also when it fails, and
// then at its next time.
func TestDueBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{last: map[string]time.Time{}}
		start := time.Now()
		wanted := start.Add(2 * time.Hour)
		var ran []time.Duration
		s := schedule{store: m, offset: func(time.Duration) time.Duration { return 0 }, failed: func(_ task, err error) { t.Log(err) }}
		ctx, cancel := context.WithTimeout(t.Context(), 23*time.Hour)
		defer cancel()
		s.run(ctx, []task{{
			Name: "full", When: "0 12 * * *", Turns: true,
			Soon: func(_ context.Context, last time.Time) (bool, error) {
				return wanted.After(last) && !time.Now().Before(wanted), nil
			},
			Do: func(context.Context) error { ran = append(ran, time.Since(start)); return errors.New("it failed") },
		}})
		if len(ran) != 2 || ran[0] < 2*time.Hour || ran[0] > 2*time.Hour+2*tick || ran[1] < 12*time.Hour {
			t.Errorf("ran after %v", ran)
		}
	})
}
