// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"io/fs"

	"github.com/oklog/ulid/v2"

	"rochdale/appliance"
)

// GuardUnit watches a trial. It runs the program before the one on trial, at
// each boot again until the trial is over.
const GuardUnit = "rochdale-guard.service"

// maxStarts is how often a unit may be started with a program on trial: the next
// start finds the program before it.
const maxStarts = 3

// Begin sets a build on trial: from here on it is proven or put back, whatever
// happens to the machine. The build lies in its folder, or in the incoming one.
// [Self.Start] follows.
func (s Self) Begin(ctx context.Context, kind string, to Build) (Trial, error) {
	t := Trial{Phase: Applying, SelfChange: SelfChange{ID: ulid.Make().String(), Kind: kind, To: to, From: s.Current(), Began: now()}}
	t.Before = s.look(ctx)
	return t, s.alone(ctx, func(l *Ledger) error {
		if l.Trial != nil {
			return busy(l.Trial)
		}
		if err := s.settle(to.Program); err != nil {
			return err
		}
		// The guard first: a link without a trial goes by itself, a trial without
		// a guard would have nobody to end it.
		if err := s.point(t.From.Program, guardLink); err != nil {
			return err
		}
		delete(l.Bad, to.Program)
		l.Trial = &t
		return s.write(l)
	})
}

// Start wakes the guard for a trial that has just begun. It is not enough to
// start it: that of an earlier trial may be about to end.
func (s Self) Start(ctx context.Context) error { return s.systemd().Restart(ctx, GuardUnit) }

// Resume sees that the guard of a trial that is under way runs.
func (s Self) Resume(ctx context.Context) error { return s.systemd().Start(ctx, GuardUnit) }

func busy(t *Trial) error {
	return appliance.Problem("self.busy", nil, "version", t.To.Version).WithCode(appliance.ExitLocked)
}

// Count is what a unit does before it starts, by the guard's link: it counts the
// starts of a program on trial, and after three of them it puts the one before
// it back, which then is what starts.
func (s Self) Count(ctx context.Context, link string) error {
	return s.alone(ctx, func(l *Ledger) error {
		t := l.Trial
		switch {
		case t == nil:
			return nil
		case t.Phase == Backing: // a power cut may have come before the links
			return s.pointUnits(t.From.Program)
		case s.programAt(link) != t.To.Program:
			return nil
		case t.Starts[link] >= maxStarts:
			return s.putBack(l, reason("self.reason.starts", "unit", unitOf(link), "count", maxStarts))
		case t.Starts == nil:
			t.Starts = map[string]int{}
		}
		t.Starts[link]++
		return s.write(l)
	})
}

func unitOf(link string) string {
	for _, l := range unitLinks() {
		if l.name == link {
			return l.unit
		}
	}
	return link
}

func reason(id string, pairs ...any) appliance.Message {
	return appliance.Message{ID: id, Args: appliance.Args(pairs...)}
}

// putBack marks the program on trial as bad, if it ever ran, and makes the units
// start with the one before it. The mark is on the disk before a link turns;
// after a power cut in between, whoever comes first turns them.
func (s Self) putBack(l *Ledger, why appliance.Message) error {
	t := l.Trial
	t.Phase, t.Reason, t.Tries, t.Outcome = Backing, &why, 0, GaveUp
	if s.turned(t) {
		t.Outcome = PutBack
		l.Bad[t.To.Program] = Bad{Version: t.To.Version, Reason: why, At: now()}
	}
	if err := s.write(l); err != nil {
		return err
	}
	return s.pointUnits(t.From.Program)
}

// turned tells whether any unit starts with the program on trial.
func (s Self) turned(t *Trial) bool {
	for _, l := range unitLinks() {
		if s.programAt(l.name) == t.To.Program {
			return true
		}
	}
	return false
}

// end closes the trial of this id. The guard's link stays for [Self.dismiss]: it
// is what makes the guard come back after a cut.
func (s Self) end(ctx context.Context, id string, outcome ChangeOutcome, torn bool) error {
	return s.alone(ctx, func(l *Ledger) error {
		t := l.Trial
		if t == nil || t.ID != id {
			return nil
		}
		if err := s.noteInstalled(); err != nil {
			return err
		}
		t.Ended, t.Outcome, t.Torn = now(), outcome, torn
		l.Past, l.Trial = append(l.Past, t.SelfChange), nil
		if err := s.write(l); err != nil {
			return err
		}
		return s.prune(l)
	})
}

// noteInstalled keeps in the installation's record which program it is that of.
func (s Self) noteInstalled() error {
	b := s.Current()
	err := amend(s.Paths, s.Files, func(r *Record) { r.Version, r.Program = b.Version, b.Program })
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was uninstalled meanwhile
	}
	return err
}

// dismiss removes the guard's link if there is no trial; it tells whether so.
func (s Self) dismiss(ctx context.Context) (done bool, err error) {
	err = s.alone(ctx, func(l *Ledger) error {
		done = l.Trial == nil
		if !done {
			return nil
		}
		return s.Files.Remove(s.link(guardLink))
	})
	return done, err
}

// advance changes a trial that is still this one, and in this phase.
func (s Self) advance(ctx context.Context, was Trial, change func(*Ledger) error) error {
	return s.alone(ctx, func(l *Ledger) error {
		if l.Trial == nil || l.Trial.ID != was.ID || l.Trial.Phase != was.Phase {
			return nil
		}
		return change(l)
	})
}

// forget ends a trial for good, with the installation that it belonged to. A
// ledger that nobody can read has none.
func (s Self) forget(ctx context.Context) error {
	err := s.alone(ctx, func(l *Ledger) error {
		if l.Trial == nil {
			return nil
		}
		l.Trial.Ended, l.Trial.Outcome = now(), Overtaken
		l.Past, l.Trial = append(l.Past, l.Trial.SelfChange), nil
		return s.write(l)
	})
	if appliance.IsProblem(err, "self.unreadable") {
		return nil
	}
	return err
}
