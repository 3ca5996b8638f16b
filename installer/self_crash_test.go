// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"errors"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
)

// cut records what do writes, lays every state in which a power cut could have
// left it, and shows each to look. What came before do is durable.
func (m *twin) cut(do func(Self) error, look func(t *testing.T, c hosttest.Crash, after Self)) {
	t := m.t
	t.Helper()
	hosttest.EveryCrash(t, m.self.Paths.Root, func(files host.Files) error {
		writing := m.self
		writing.Files = files
		return do(writing)
	}, func(c hosttest.Crash, root string) {
		after := m.self
		after.Paths = appliance.Paths{Root: root}
		look(t, c, after)
	})
}

// sound wants a ledger that can be read, and links that lead to whole programs.
func sound(t *testing.T, s Self) Ledger {
	t.Helper()
	l, err := s.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range unitLinks() {
		if program := s.programAt(link.name); !s.whole(program) {
			t.Errorf("%s leads to %q", link.name, program)
		}
	}
	return l
}

// TestBeginSurvivesPowerCuts: either nothing has begun, or there is a guard for it
// and the program that it is about.
func TestBeginSurvivesPowerCuts(t *testing.T) {
	m := newTwin(t)
	m.powerOn()
	m.wait.Wait()
	m.cut(func(s Self) error {
		_, err := s.Begin(t.Context(), "update", m.new())
		return err
	}, func(t *testing.T, c hosttest.Crash, s Self) {
		l := sound(t, s)
		guarded := s.programAt(guardLink) == m.old().Program
		switch {
		case l.Trial != nil && (!guarded || !s.whole(m.new().Program) || l.Trial.From != m.old() || l.Trial.To != m.new()):
			t.Errorf("on trial is %+v, guarded: %v", l.Trial, guarded)
		case l.Trial == nil && c.Whole:
			t.Error("it is not on trial")
		}
		done, err := s.dismiss(t.Context())
		if err != nil || done != (l.Trial == nil) || done && s.programAt(guardLink) != "" {
			t.Errorf("a guard without a trial: gone %v, %v", done, err)
		}
	})
}

// onTrial is a machine whose units start with the new program.
func onTrial(t *testing.T, phase Phase, starts int) *twin {
	t.Helper()
	m := newTwin(t)
	m.powerOn()
	m.wait.Wait()
	trial, err := m.self.Begin(t.Context(), "update", m.new())
	if err == nil {
		err = m.self.alone(t.Context(), func(l *Ledger) error {
			l.Trial.Phase, l.Trial.Starts = phase, map[string]int{"daemon": starts}
			return errors.Join(m.self.write(l), m.self.pointUnits(trial.To.Program))
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCountSurvivesPowerCuts: a start is counted or not, and nothing else.
func TestCountSurvivesPowerCuts(t *testing.T) {
	m := onTrial(t, Applying, 1)
	m.cut(func(s Self) error { return s.Count(t.Context(), "daemon") }, func(t *testing.T, c hosttest.Crash, s Self) {
		n := sound(t, s).Trial.Starts["daemon"]
		if n != 1 && n != 2 || c.Whole && n != 2 {
			t.Errorf("counted %d", n)
		}
	})
}

// TestPutBackSurvivesPowerCuts: the next starts after the cut run the program
// before, and the one on trial is marked bad, whichever part was on the disk.
func TestPutBackSurvivesPowerCuts(t *testing.T) {
	m := onTrial(t, Applying, maxStarts)
	m.cut(func(s Self) error { return s.Count(t.Context(), "daemon") }, func(t *testing.T, c hosttest.Crash, s Self) {
		if l := sound(t, s); c.Whole && l.Trial.Phase != Backing {
			t.Errorf("it is %s", l.Trial.Phase)
		}
		if err := errors.Join(s.Count(t.Context(), "daemon"), s.Count(t.Context(), "edge")); err != nil {
			t.Fatal(err)
		}
		l := sound(t, s)
		if _, bad := l.Bad[m.new().Program]; !bad || l.Trial.Phase != Backing || l.Trial.Outcome != PutBack {
			t.Errorf("the ledger is %+v", l)
		}
		for _, link := range unitLinks() {
			if s.programAt(link.name) != m.old().Program {
				t.Errorf("%s starts %s", link.unit, s.programAt(link.name))
			}
		}
	})
}

// TestEndSurvivesPowerCuts: the trial is under way or over, and once it is over
// nothing of it can start again.
func TestEndSurvivesPowerCuts(t *testing.T) {
	m := onTrial(t, Watching, 1)
	l, err := m.self.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	id := l.Trial.ID
	m.cut(func(s Self) error { return s.end(t.Context(), id, Proven, false) }, func(t *testing.T, c hosttest.Crash, s Self) {
		l := sound(t, s)
		_, over := l.Ended(id)
		if over != (l.Trial == nil) || c.Whole && !over {
			t.Errorf("over: %v, on trial: %+v", over, l.Trial)
		}
		if !over && (l.Trial.Phase != Watching || s.programAt(guardLink) != m.old().Program) {
			t.Errorf("it goes on as %+v", l.Trial)
		}
		if err := errors.Join(s.end(t.Context(), id, Proven, false)); err != nil {
			t.Error(err)
		}
		if done, err := s.dismiss(t.Context()); err != nil || !done || s.programAt(guardLink) != "" {
			t.Errorf("the guard's link stays: %v", err)
		}
	})
}

// TestTakeoverSurvivesPowerCuts: a link turns or it does not, and what the unit was
// last started with is known or unknown, never wrong.
func TestTakeoverSurvivesPowerCuts(t *testing.T) {
	m := newTwin(t)
	m.powerOn()
	m.wait.Wait()
	if _, err := m.self.Begin(t.Context(), "update", m.new()); err != nil {
		t.Fatal(err)
	}
	if err := amend(m.self.Paths, m.self.Files, func(r *Record) { r.Applied[daemonUnit] = "old files" }); err != nil {
		t.Fatal(err)
	}
	m.cut(func(s Self) error {
		i := &install{Deps: s.Deps, o: Options{Version: m.new().Version}}
		i.f.Program.Digest = m.new().Program[len(m.new().Version)+1:] + "rest"
		return takeover{i, s}.claim(t.Context(), turning{unitLink: unitLinks()[0]})
	}, func(t *testing.T, c hosttest.Crash, s Self) {
		sound(t, s)
		r, err := ReadRecord(s.Paths)
		if err != nil {
			t.Fatal(err)
		}
		turned := s.programAt("daemon") == m.new().Program
		if mark := r.Applied[daemonUnit]; turned && mark != "" || c.Whole && !turned {
			t.Errorf("turned: %v, applied: %q", turned, mark)
		}
	})
}

// TestLostTrialTurnsNothing: a program that was put back does not take a unit any more.
func TestLostTrialTurnsNothing(t *testing.T) {
	m := onTrial(t, Applying, maxStarts)
	if err := m.self.Count(t.Context(), "daemon"); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{m.new().Program: "self.lost", m.old().Program: ""} {
		b := buildOf(program)
		i := &install{Deps: m.self.Deps, o: Options{Version: b.Version}}
		i.f.Program.Digest = program[len(b.Version)+1:] + "rest"
		err := takeover{i, m.self}.claim(t.Context(), turning{unitLink: unitLinks()[1]})
		if want == "" && err != nil || want != "" && !appliance.IsProblem(err, want) || m.self.programAt("edge") != m.old().Program {
			t.Errorf("%s: %v, the edge starts %s", program, err, m.self.programAt("edge"))
		}
	}
}
