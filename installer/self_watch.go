// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// applyUnit is the transient unit in which an install plan of ours runs, so that
// it neither dies with the daemon that it restarts nor with the guard.
const applyUnit = "rochdale-self-update.service"

// Bounds of a trial.
const (
	maxTries   = 3 // runs of an install plan that were cut off
	maxBacks   = 5 // runs of the plan that gives back the units and files of before
	applyBound = time.Hour
	pollEvery  = time.Second
	backPause  = 20 * time.Second
)

// Guard is what the guard's unit runs, with the program before the one on trial:
// it takes the trial from whatever phase it finds it in to its end.
func (s Self) Guard(ctx context.Context, log *slog.Logger) error {
	for {
		l, err := s.Ledger()
		if err != nil {
			return err
		}
		if l.Trial == nil {
			done, err := s.dismiss(ctx)
			if done || err != nil {
				return err
			}
			continue // another one has just begun
		}
		t := *l.Trial
		log.Info("a version is on trial", "version", t.To.Version, "phase", t.Phase, "try", t.Tries+1)
		if err := s.phase(ctx, t); err != nil {
			if errors.Is(err, errShutdown) {
				return nil // the next boot goes on with it
			}
			return err
		}
	}
}

func (s Self) phase(ctx context.Context, t Trial) error {
	switch t.Phase {
	case Applying:
		return s.apply(ctx, t)
	case Watching:
		return s.watch(ctx, t)
	default:
		return s.giveBack(ctx, t)
	}
}

// apply runs the install plan of the program on trial. One that failed is the
// end of the trial; one that was cut off is run again.
func (s Self) apply(ctx context.Context, t Trial) error {
	if err := s.try(ctx, t); err != nil {
		return err
	}
	run, stop := context.WithCancel(ctx)
	var look sync.WaitGroup
	look.Go(func() { s.untilElse(run, t, stop) })
	err := s.runPlan(run, t.To.Program)
	stop()
	look.Wait()
	if err := s.mayJudge(ctx, t); err != nil {
		return err // whatever the plan says: it may have been cut off
	}
	switch {
	case err == nil:
		return s.advance(ctx, t, func(l *Ledger) error {
			l.Trial.Phase, l.Trial.Tries = Watching, 0
			return s.write(l)
		})
	case cutOff(err) && t.Tries+1 < maxTries:
		if errors.Is(err, host.ErrNotBegun) {
			wait(ctx, backPause) // systemd is busy with itself
		}
		return ctx.Err()
	}
	return s.advance(ctx, t, func(l *Ledger) error {
		return s.putBack(l, reason("self.reason.apply", "detail", s.lastWords(err)))
	})
}

// What leaves the trial as it is. The guard's unit starts it again after the second.
var (
	errShutdown = errors.New("the machine shuts down")
	errNoState  = errors.New("systemd does not say how the machine is")
)

// try notes, durably, that the plan of the phase runs once more.
func (s Self) try(ctx context.Context, t Trial) error {
	return s.advance(ctx, t, func(l *Ledger) error {
		l.Trial.Tries++
		return s.write(l)
	})
}

// untilElse calls stop as soon as the trial is in another phase: a unit's guard
// may have put the program before it back while the plan waits for the unit.
func (s Self) untilElse(ctx context.Context, t Trial, stop func()) {
	for wait(ctx, pollEvery) {
		if l, err := s.Ledger(); err == nil && (l.Trial == nil || l.Trial.ID != t.ID || l.Trial.Phase != t.Phase) {
			stop()
		}
	}
}

// wait tells whether the time passed before ctx was done.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// runPlan runs the install plan of a program. One that an earlier guard started
// is waited for, and then asked again: what is done answers for itself.
func (s Self) runPlan(ctx context.Context, program string) error {
	if err := s.systemd().WaitFor(ctx, applyUnit); err != nil {
		return fmt.Errorf("%w: %w", host.ErrNotBegun, err)
	}
	_, err := s.systemd().RunTransient(ctx, host.Transient{
		Unit: applyUnit, Name: s.binary(program), Args: []string{"self", "apply", "--json", "--no-input"}, Log: s.planLog(),
		Properties: []string{"Description=Rochdale updates itself", "KillMode=mixed", "RuntimeMaxSec=" + strconv.Itoa(int(applyBound.Seconds()))},
	})
	return err
}

func (s Self) planLog() string { return filepath.Join(s.Paths.Var(), "self-update.log") }

// cutOff tells whether the plan did not end by itself: it was told to stop, or
// killed (which has a code of its own), or nobody saw its end, or it never began. Only
// what was seen is the program's own doing.
func cutOff(err error) bool {
	var exit *host.ExitError
	if errors.Is(err, host.ErrUnseen) || errors.Is(err, host.ErrNotBegun) || !errors.As(err, &exit) {
		return true
	}
	return slices.Contains([]int{appliance.ExitInterrupted, host.KilledCode}, exit.Code)
}

// mayJudge fails when machine or guard are about to end: what fails then says nothing
// about the program. The machine is asked first, and the guard is looked at when it has
// answered, so that neither can begin to end in between. A run that was cut off so does
// not count as one.
func (s Self) mayJudge(ctx context.Context, t Trial) error {
	r, err := s.Runner.Run(ctx, host.Command{Name: "systemctl", Args: []string{"is-system-running"}}) // its code only says how well it runs
	switch state := strings.TrimSpace(string(r.Stdout)); {
	case ctx.Err() != nil:
		return errors.Join(ctx.Err(), s.uncount(ctx, t))
	case state == "stopping":
		return errors.Join(errShutdown, s.uncount(ctx, t))
	case !slices.Contains([]string{"initializing", "starting", "running", "degraded", "maintenance"}, state):
		return errors.Join(fmt.Errorf("%w: %q", errNoState, state), err)
	}
	return nil
}

// uncount takes back what try noted.
func (s Self) uncount(ctx context.Context, t Trial) error {
	return s.advance(context.WithoutCancel(ctx), t, func(l *Ledger) error {
		l.Trial.Tries = t.Tries
		return s.write(l)
	})
}

// maxWords bounds what is read of a plan's log, in bytes.
const maxWords = 64 << 10

// lastWords is the error that the plan ended with, in words.
func (s Self) lastWords(err error) string {
	file, openErr := os.Open(s.planLog())
	if openErr != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > maxWords {
		_, _ = file.Seek(-maxWords, io.SeekEnd) // else the whole file is read, and its end is cut off
	}
	data, _ := io.ReadAll(io.LimitReader(file, maxWords))
	words := err.Error()
	for line := range strings.Lines(string(data)) {
		var said struct{ Type, Title, Detail string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Type == "error" {
			words = strings.TrimSuffix(said.Title+": "+said.Detail, ": ")
		}
	}
	return words
}

// watch looks at the program on trial until it has proven itself or is hopeless.
func (s Self) watch(ctx context.Context, t Trial) error {
	v := vigil{began: time.Now()}
	for {
		trouble := s.trouble(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch v.see(time.Now(), trouble == nil) {
		case proven:
			return s.end(ctx, t.ID, Proven, false)
		case hopeless:
			return s.advance(ctx, t, func(l *Ledger) error {
				return s.putBack(l, reason("self.reason.unwell", "minutes", int(unwellBound.Minutes()), "detail", trouble))
			})
		}
		over, err := s.elsewhere(ctx, t)
		if err != nil || over || !wait(ctx, lookEvery) {
			return errors.Join(err, ctx.Err())
		}
	}
}

// elsewhere tells whether the trial came to an end by somebody else: a unit's
// guard, or an installation that chose another program.
func (s Self) elsewhere(ctx context.Context, t Trial) (bool, error) {
	l, err := s.Ledger()
	if err != nil || l.Trial == nil || l.Trial.ID != t.ID || l.Trial.Phase != t.Phase {
		return true, err
	}
	if s.programAt("daemon") == t.To.Program {
		return false, nil
	}
	return true, s.end(ctx, t.ID, Overtaken, false)
}

// giveBack lets the program before the one on trial write its own units and
// files again, and start what was started with others.
func (s Self) giveBack(ctx context.Context, t Trial) error {
	if err := s.try(ctx, t); err != nil {
		return err
	}
	err := s.alone(ctx, func(*Ledger) error { return s.pointUnits(t.From.Program) })
	if err == nil {
		err = s.stopPlan(ctx)
	}
	if err == nil {
		err = s.runPlan(ctx, t.From.Program)
	}
	if err := s.mayJudge(ctx, t); err != nil {
		return err
	}
	switch {
	case err == nil:
		return s.end(ctx, t.ID, t.Outcome, false)
	case t.Tries+1 >= maxBacks:
		return s.end(ctx, t.ID, t.Outcome, true)
	}
	wait(ctx, backPause)
	return ctx.Err()
}

func (s Self) stopPlan(ctx context.Context) error {
	up, err := s.systemd().Running(ctx, applyUnit)
	if err != nil || !up {
		return err
	}
	return s.systemd().Stop(ctx, applyUnit)
}
