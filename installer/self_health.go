// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"rochdale/appliance"
)

// When a program on trial is proven, and when it is given up.
const (
	lookEvery   = 5 * time.Second
	lookBound   = 90 * time.Second // of one look: a small computer that is busy takes its time
	wellBound   = time.Minute      // well for so long without a break: proven
	unwellBound = 5 * time.Minute  // never well for so long: hopeless
	vigilBound  = 20 * time.Minute // well now and then, but never for long: hopeless too
)

// vigil judges a row of looks. Time is counted from its beginning, so a machine
// that was off, or whose clock was set, does not count against the program.
type vigil struct {
	began    time.Time
	well     time.Time // since when it is well without a break; zero: it is not
	lastWell time.Time
}

type verdict int

const (
	open verdict = iota
	proven
	hopeless
)

func (v *vigil) see(at time.Time, well bool) verdict {
	if well {
		v.lastWell = at
		if v.well.IsZero() {
			v.well = at
		}
		if at.Sub(v.well) >= wellBound {
			return proven
		}
		return open
	}
	v.well = time.Time{}
	last := v.began
	if v.lastWell.After(last) {
		last = v.lastWell
	}
	if at.Sub(last) >= unwellBound || at.Sub(v.began) >= vigilBound {
		return hopeless
	}
	return open
}

// look is how the box is before a change. What is broken already is not held
// against the new program.
func (s Self) look(ctx context.Context) (list []Ran) {
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	status, err := s.Witness.Status(ctx)
	if err != nil {
		return nil
	}
	for _, one := range status.Stacks {
		if one.State == appliance.StateRunning {
			list = append(list, Ran{Stack: one.Name, Answered: s.answers(ctx, one) == nil})
		}
	}
	return list
}

// answers asks a stack's own address, as a visitor would.
func (s Self) answers(ctx context.Context, one appliance.StackStatus) error {
	at, err := url.Parse(one.URL)
	if err != nil {
		return err
	}
	if err := s.Witness.Web(ctx, at.Hostname()); err != nil {
		return fmt.Errorf("%s: %w", one.URL, err)
	}
	return nil
}

// trouble is what keeps the program on trial from being well; nil for nothing.
func (s Self) trouble(ctx context.Context, t Trial) error {
	ctx, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	for _, l := range unitLinks() {
		up, err := s.runs(ctx, l.unit, t.To.Program)
		if err != nil {
			return err
		}
		if !up {
			return fmt.Errorf("%s does not run", l.unit)
		}
	}
	status, err := s.Witness.Status(ctx)
	if err != nil {
		return fmt.Errorf("the daemon: %w", err)
	}
	if err := s.Witness.Edge(ctx); err != nil {
		return fmt.Errorf("the edge: %w", err)
	}
	for _, was := range t.Before {
		if err := s.asBefore(ctx, status, was); err != nil {
			return err
		}
	}
	return nil
}

// asBefore accepts a stack that a person took down meanwhile, or gave another
// address.
func (s Self) asBefore(ctx context.Context, status appliance.Status, was Ran) error {
	at := slices.IndexFunc(status.Stacks, func(s appliance.StackStatus) bool { return s.Name == was.Stack })
	if at < 0 {
		return fmt.Errorf("the daemon does not know the stack %s", was.Stack)
	}
	one := status.Stacks[at]
	switch {
	case one.State == appliance.StateStopped:
		return nil
	case one.State != appliance.StateRunning:
		return fmt.Errorf("the stack %s is %s", one.Name, one.State)
	case was.Answered:
		return s.answers(ctx, one)
	}
	return nil
}
