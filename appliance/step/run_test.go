// SPDX-License-Identifier: AGPL-3.0-or-later

package step

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// memory is a journal that remembers, and can be told to fail.
type memory struct {
	open    map[string]string // plan/key -> unfinished job
	events  []Event
	closed  map[string]Outcome
	jobs    int
	failing error
}

var _ Journal = (*memory)(nil)

func newMemory() *memory {
	return &memory{open: map[string]string{}, closed: map[string]Outcome{}}
}

func (m *memory) Open(_ context.Context, plan, key string, _ time.Time) (string, bool, error) {
	if m.failing != nil {
		return "", false, m.failing
	}
	if job, found := m.open[plan+"/"+key]; found {
		return job, true, nil
	}
	m.jobs++
	job := fmt.Sprint("job", m.jobs)
	m.open[plan+"/"+key] = job
	return job, false, nil
}

func (m *memory) Record(ctx context.Context, e Event) error {
	if ctx.Err() != nil {
		return ctx.Err() // what a real journal would do with a cancelled context
	}
	if m.failing != nil {
		return m.failing
	}
	m.events = append(m.events, e)
	return nil
}

func (m *memory) Close(_ context.Context, job string, o Outcome, _ time.Time) error {
	m.closed[job] = o
	for name, j := range m.open {
		if j == job {
			delete(m.open, name)
		}
	}
	return nil
}

func (m *memory) told() string {
	var words []string
	for _, e := range m.events {
		words = append(words, strings.TrimPrefix(e.Step+":"+string(e.Kind), ":"))
	}
	return strings.Join(words, " ")
}

// doing is a step that runs do and is never already so.
func doing(id string, do func(context.Context, Report) error) Step { return Step{ID: id, Do: do} }

func nothing(context.Context, Report) error { return nil }

func already(context.Context) (bool, error) { return true, nil }

func TestRunTellsEveryStepInOrder(t *testing.T) {
	j := newMemory()
	var watched []Event
	p := Plan{Name: "p", Steps: []Step{
		doing("one", func(_ context.Context, report Report) error { report("half way"); return nil }),
		{ID: "two", Done: already, Do: nothing},
	}}
	err := p.Run(t.Context(), j, func(e Event) {
		if len(j.events) != len(watched)+1 {
			t.Errorf("%s %s was shown before it was in the journal", e.Step, e.Kind)
		}
		watched = append(watched, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := j.told(), "one:started one:noted one:done two:skipped ended"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	if !slices.Equal(watched, j.events) || j.closed["job1"] != Succeeded {
		t.Errorf("watched %v, closed %v", watched, j.closed)
	}
	if e := j.events[1]; e.Index != 1 || e.Total != 2 || e.Note != "half way" || e.Plan != "p" || e.Resumed {
		t.Errorf("the note is %+v", e)
	}
}

func TestFailureStopsAndCloses(t *testing.T) {
	broken := errors.New("no space left")
	for name, s := range map[string]Step{
		"in Do":   doing("b", func(context.Context, Report) error { return broken }),
		"in Done": {ID: "b", Done: func(context.Context) (bool, error) { return false, broken }, Do: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			j := newMemory()
			later := doing("c", func(context.Context, Report) error { t.Error("the step after the failed one ran"); return nil })
			err := Plan{Name: "p", Steps: []Step{doing("a", nothing), s, later}}.Run(t.Context(), j, nil)
			var at *Error
			if !errors.Is(err, broken) || !errors.As(err, &at) || at.Step != "b" {
				t.Errorf("the error is %v", err)
			}
			if !strings.HasSuffix(j.told(), "b:broke ended") || j.closed["job1"] != Failed {
				t.Errorf("told %q, closed %v", j.told(), j.closed)
			}
		})
	}
}

// An interrupted job stays open, and the same plan goes on with it: finished
// steps answer for themselves.
func TestInterruptedGoesOn(t *testing.T) {
	j := newMemory()
	ctx, interrupt := context.WithCancelCause(t.Context())
	stopped := errors.New("ctrl-c")
	first := false
	p := Plan{Name: "p", Key: "k", Steps: []Step{
		{ID: "a", Done: func(context.Context) (bool, error) { return first, nil }, Do: func(context.Context, Report) error { first = true; return nil }},
		doing("b", func(ctx context.Context, _ Report) error { interrupt(stopped); return context.Cause(ctx) }),
	}}
	if err := p.Run(ctx, j, nil); !errors.Is(err, stopped) {
		t.Fatal(err)
	}
	if len(j.closed) != 0 || !strings.HasSuffix(j.told(), "b:broke") {
		t.Fatalf("closed %v, told %q", j.closed, j.told())
	}
	j.events = nil
	p.Steps[1].Do = nothing
	if err := p.Run(t.Context(), j, nil); err != nil {
		t.Fatal(err)
	}
	if got := j.told(); got != "a:skipped b:started b:done ended" || !j.events[0].Resumed || j.events[0].Job != "job1" {
		t.Errorf("told %q as %+v", got, j.events[0])
	}
}

func TestBetweenStepsAnInterruptionStopsToo(t *testing.T) {
	j := newMemory()
	ctx, interrupt := context.WithCancel(t.Context())
	p := Plan{Name: "p", Steps: []Step{
		doing("a", func(context.Context, Report) error { interrupt(); return nil }),
		doing("b", func(context.Context, Report) error { t.Error("b ran"); return nil }),
	}}
	var at *Error
	if err := p.Run(ctx, j, nil); !errors.As(err, &at) || at.Step != "b" || !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestNothingRunsWithoutItsJournal(t *testing.T) {
	j := newMemory()
	j.failing = errors.New("disk full")
	p := Plan{Name: "p", Steps: []Step{doing("a", func(context.Context, Report) error { t.Error("it ran"); return nil })}}
	if err := p.Run(t.Context(), j, nil); !errors.Is(err, j.failing) {
		t.Errorf("without a journal: %v", err)
	}
	j.failing = nil
	p.Steps[0].Do = func(_ context.Context, report Report) error {
		j.failing = errors.New("disk full")
		report("a note that can not be kept does not fail the step")
		j.failing = nil
		return nil
	}
	if err := p.Run(t.Context(), j, nil); err != nil {
		t.Errorf("a lost note failed the step: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := doing("a", nothing)
	for want, p := range map[string]Plan{
		"no name":   {Steps: []Step{good}},
		"no id":     {Name: "p", Steps: []Step{doing("", nothing)}},
		"two steps": {Name: "p", Steps: []Step{good, good}},
		"nothing":   {Name: "p", Steps: []Step{{ID: "a"}}},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err := p.Run(t.Context(), newMemory(), nil); err == nil {
			t.Errorf("a plan with %s ran", want)
		}
	}
	if err := (Plan{Name: "p", Steps: []Step{good}}).Validate(); err != nil {
		t.Error(err)
	}
}
