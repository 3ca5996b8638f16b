// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

// begin sets the new program on trial on a machine that is up.
func (m *twin) begin() Trial {
	m.t.Helper()
	m.powerOn()
	time.Sleep(5 * time.Second)
	t, err := m.self.Begin(m.t.Context(), "update", m.new())
	if err != nil {
		m.t.Fatal(err)
	}
	return t
}

// ended wants the trial to be over as it should be, with everything of it gone.
func (m *twin) ended(id string, outcome ChangeOutcome) SelfChange {
	m.t.Helper()
	l, err := m.self.Ledger()
	if err != nil {
		m.t.Fatal(err)
	}
	c, over := l.Ended(id)
	if !over || c.Outcome != outcome || l.Trial != nil || c.Torn {
		m.t.Fatalf("the trial ended as %+v, the ledger is %+v", c, l)
	}
	runs := m.old()
	if outcome == Proven {
		runs = m.new()
	}
	for _, link := range unitLinks() {
		if up, err := m.self.runs(m.t.Context(), link.unit, runs.Program); !up || err != nil || m.self.programAt(link.name) != runs.Program {
			m.t.Errorf("%s does not run %s: %v", link.unit, runs.Program, err)
		}
	}
	if _, err := os.Lstat(m.self.link(guardLink)); !errors.Is(err, os.ErrNotExist) {
		m.t.Errorf("the guard's link is still there: %v", err)
	}
	_, bad := l.Bad[m.new().Program]
	if bad != (outcome == PutBack) || m.self.whole(m.new().Program) != (outcome == Proven) || !m.self.whole(m.old().Program) {
		m.t.Errorf("marked bad: %v, new there: %v, old there: %v", bad, m.self.whole(m.new().Program), m.self.whole(m.old().Program))
	}
	r, err := ReadRecord(m.self.Paths)
	if err != nil || r.Program != runs.Program || r.Version != runs.Version {
		m.t.Errorf("the installation is that of %s (%s), %v", r.Version, r.Program, err)
	}
	return c
}

func TestTrials(t *testing.T) {
	cases := []struct {
		name    string
		harm    func(*twin)
		outcome ChangeOutcome
		reason  string // part of it
		starts  int    // of the daemon with the new program; 0: not looked at
		at      [2]time.Duration
	}{
		{"a good version", func(*twin) {}, Proven, "", 1, [2]time.Duration{time.Minute, 2 * time.Minute}},
		{"a daemon that ends at once", func(m *twin) { m.behave["daemon"] = "exits" }, PutBack,
			`self.reason.starts count="3" unit="rochdale.service"`, 3, [2]time.Duration{0, time.Minute}},
		{"a daemon that hangs", func(m *twin) { m.behave["daemon"] = "hangs" }, PutBack,
			`self.reason.starts count="3" unit="rochdale.service"`, 3, [2]time.Duration{4 * time.Minute, 5 * time.Minute}},
		{"an edge that ends at once", func(m *twin) { m.behave["edge"] = "exits" }, PutBack,
			`unit="rochdale-edge.service"`, 1, [2]time.Duration{0, time.Minute}},
		{"a stack that fails with it", func(m *twin) { m.stack = appliance.StateFailing }, PutBack,
			`self.reason.unwell detail="the stack delivery is failing"`, 1, [2]time.Duration{5 * time.Minute, 6 * time.Minute}},
		{"a plan that does not end, too", func(m *twin) { m.behave["daemon"], m.planStuck = "exits", true }, PutBack,
			`self.reason.starts count="3"`, 3, [2]time.Duration{0, time.Minute}},
		{"packages that can not be had", func(m *twin) { m.planFails = "no network" }, GaveUp,
			"no network", 0, [2]time.Duration{0, time.Minute}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newTwin(t)
				test.harm(m)
				trial := m.begin()
				began := time.Now()
				m.guard()
				took := time.Since(began)
				c := m.ended(trial.ID, test.outcome)
				if (c.Reason == nil) != (test.reason == "") || c.Reason != nil && !strings.Contains(c.Reason.String(), test.reason) {
					t.Errorf("the reason is %v, not %s", c.Reason, test.reason)
				}
				if m.started["daemon"] != test.starts {
					t.Errorf("the daemon was started %d times with the new program, not %d", m.started["daemon"], test.starts)
				}
				if took < test.at[0] || took > test.at[1] {
					t.Errorf("it took %v, not %v", took, test.at)
				}
				m.powerOff()
			})
		})
	}
}

// TestTrialsLiveThroughReboots: at whatever moment the machine goes down, orderly
// or by a cut, the trial ends as it would have without.
func TestTrialsLiveThroughReboots(t *testing.T) {
	cases := []struct {
		outcome     ChangeOutcome
		harm        func(*twin)
		every, last time.Duration
	}{
		{Proven, func(*twin) {}, 4300 * time.Millisecond, 75 * time.Second},
		{PutBack, func(m *twin) { m.behave["daemon"] = "exits" }, 700 * time.Millisecond, 20 * time.Second},
	}
	for _, test := range cases {
		for at := 100 * time.Millisecond; at < test.last; at += test.every {
			synctest.Test(t, func(t *testing.T) {
				m := newTwin(t)
				test.harm(m)
				trial := m.begin()
				m.wait.Go(m.guard)
				time.Sleep(at)
				m.powerOff()
				m.powerOn()
				m.guard()
				time.Sleep(3 * time.Second) // the trial may have been over before
				m.ended(trial.ID, test.outcome)
				m.powerOff()
			})
		}
	}
}

// TestGuardIsKilled: another guard goes on with what the first has begun, and the
// plan that it started is not started twice at once.
func TestGuardIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTwin(t)
		trial := m.begin()
		for range 20 {
			ctx, kill := context.WithCancel(m.boot)
			ended := make(chan error, 1)
			go func() { ended <- m.self.Guard(ctx, slog.New(slog.DiscardHandler)) }()
			time.Sleep(1700 * time.Millisecond)
			kill()
			<-ended
		}
		m.guard()
		m.ended(trial.ID, Proven)
		if m.started["daemon"] != 1 || m.started["edge"] != 1 {
			t.Errorf("the units were started %v", m.started)
		}
		m.powerOff()
	})
}

// TestPlanIsCutOff: a plan that was killed is run again, and not for ever; one that
// ends because the machine does is left for the next boot. A plan whose end nobody saw
// is not taken for one that is done.
func TestPlanIsCutOff(t *testing.T) {
	cases := []struct {
		name     string
		kills    int
		stopping bool
		outcome  ChangeOutcome
		how      func(*twin)
	}{
		{"once", 1, false, Proven, kill},
		{"each time", maxTries, false, GaveUp, kill},
		{"by a shutdown", 1, true, Proven, kill},
		{"unseen", 1, false, Proven, (*twin).loseBus},
		{"unseen in a shutdown", 1, true, Proven, (*twin).loseBus},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newTwin(t)
				trial := m.begin()
				ended := make(chan bool)
				go func() { m.guard(); close(ended) }()
				for range test.kills {
					time.Sleep(time.Second)
					m.mu.Lock()
					m.stopping = test.stopping
					m.mu.Unlock()
					test.how(m)
				}
				<-ended
				if test.stopping {
					if l, err := m.self.Ledger(); err != nil || l.Trial == nil || l.Trial.Phase != Applying {
						t.Fatalf("a shutdown made it %+v, %v", l, err)
					}
					m.powerOff()
					m.powerOn()
					m.guard()
				}
				m.ended(trial.ID, test.outcome)
				m.powerOff()
			})
		})
	}
}

// TestPlanDoesNotBegin: what systemd does not start says nothing about the program.
func TestPlanDoesNotBegin(t *testing.T) {
	for busy, outcome := range map[int]ChangeOutcome{maxTries - 1: Proven, maxTries: GaveUp} {
		synctest.Test(t, func(t *testing.T) {
			m := newTwin(t)
			trial := m.begin()
			m.busy = busy
			m.guard()
			m.ended(trial.ID, outcome)
			m.powerOff()
		})
	}
}

func kill(m *twin) {
	m.mu.Lock()
	stop := m.stopPlan
	m.mu.Unlock()
	stop()
}

// TestToldToEnd: a shutdown tells plan and guard to end at once. However the plan ends
// then, and whoever is first, the trial waits for the next boot.
func TestToldToEnd(t *testing.T) {
	for name, test := range map[string]struct {
		code int
		how  func(*twin)
	}{
		"the plan is killed":              {0, kill},
		"what the plan started is killed": {appliance.ExitUnexpected, kill},
		"nobody saw the plan's end":       {0, (*twin).loseBus},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newTwin(t)
				trial := m.begin()
				m.asked, m.cutCode = m.shutdown, test.code
				ended := make(chan bool)
				go func() { m.guard(); close(ended) }()
				time.Sleep(time.Second)
				test.how(m)
				<-ended
				if l, err := m.self.Ledger(); err != nil || l.Trial == nil || l.Trial.Phase != Applying || l.Trial.Tries != 0 {
					t.Fatalf("it made it %+v, %v", l.Trial, err)
				}
				m.asked = nil
				m.powerOff()
				m.powerOn()
				m.guard()
				m.ended(trial.ID, Proven)
				m.powerOff()
			})
		})
	}
}

// TestOvertaken: what a person installs meanwhile comes first.
func TestOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTwin(t)
		trial := m.begin()
		m.wait.Go(func() {
			time.Sleep(20 * time.Second)
			if err := m.self.pointUnits(m.old().Program); err != nil {
				t.Error(err)
			}
		})
		m.guard()
		l, err := m.self.Ledger()
		if c, over := l.Ended(trial.ID); err != nil || !over || c.Outcome != Overtaken || len(l.Bad) > 0 {
			t.Errorf("it ended as %+v, %v", l, err)
		}
		m.powerOff()
	})
}

// TestRollback goes back to the version before, and forward again.
func TestRollback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTwin(t)
		if _, err := m.self.Previous(); !appliance.IsProblem(err, "self.no-previous") {
			t.Errorf("before the first update: %v", err)
		}
		m.begin()
		if _, err := m.self.Previous(); !appliance.IsProblem(err, "self.busy") {
			t.Errorf("while one is on trial: %v", err)
		}
		m.guard()
		for _, want := range []Build{m.old(), m.new()} {
			to, err := m.self.Previous()
			if err != nil || to != want {
				t.Fatalf("the version before is %+v, %v; want %+v", to, err, want)
			}
			if _, err := m.self.Begin(t.Context(), "rollback", to); err != nil {
				t.Fatal(err)
			}
			m.guard()
			if m.self.Current() != want {
				t.Fatalf("after the rollback %+v runs", m.self.Current())
			}
		}
		if err := os.WriteFile(m.self.binary(m.old().Program), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := m.self.Previous(); !appliance.IsProblem(err, "self.damaged") {
			t.Errorf("with a damaged program: %v", err)
		}
		m.powerOff()
	})
}
