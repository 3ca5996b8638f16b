// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

const (
	// runtimeLimit is after how long a unit is ended, whoever waits for it.
	runtimeLimit = 30 * time.Minute
	// leftoverMore is how much longer than it can last an earlier run is waited for.
	leftoverMore  = time.Minute
	leftoverPause = 250 * time.Millisecond
	maxPassword   = 4 << 10
)

// Units is what is needed of systemd; [host.Systemd] has it.
type Units interface {
	RunTransient(ctx context.Context, t host.Transient) (host.Result, error)
	Show(ctx context.Context, unit string, properties ...string) (map[string]string, error)
	Stop(ctx context.Context, units ...string) error
}

var _ Units = host.Systemd{}

// runner runs the child in units of their own.
type runner struct {
	units   Units
	program string // absolute path of our binary
}

// run starts the child, unless one of the same name is at work: that one is
// waited for first. systemd gives a name to one unit at a time, so that two can
// not meet.
func (r runner) run(ctx context.Context, o order) (report, error) {
	return r.attempt(ctx, o, func(ctx context.Context, j job) (host.Result, error) {
		j.Stdin = bytes.NewReader(j.asked)
		return r.units.RunTransient(ctx, j.Transient)
	})
}

// attempt calls once until the name is free.
func (r runner) attempt(ctx context.Context, o order, once func(context.Context, job) (host.Result, error)) (report, error) {
	j, err := r.job(o)
	if err != nil {
		return report{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*o.limit+leftoverMore, errTooLong)
	defer cancel()
	for {
		if err := r.waitForLeftover(ctx, o); err != nil {
			return report{}, err
		}
		res, err := once(ctx, j)
		if nameTaken(err) {
			continue
		}
		if err != nil {
			return report{}, o.explain(ctx, err)
		}
		return o.read(res.Stdout)
	}
}

var errTooLong = errors.New("it took too long")

func (o order) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTooLong) {
		return err // the caller gave up; the unit goes on
	}
	return o.brokenOff(err)
}

func (o order) read(printed []byte) (report, error) {
	rep, err := decode[report](bytes.NewReader(printed), maxReport)
	switch {
	case err != nil:
		return rep, o.brokenOff(fmt.Errorf("its report can not be read: %w", err))
	case rep.Schema != wireSchema:
		return rep, o.brokenOff(fmt.Errorf("its report has schema %d, this program knows %d", rep.Schema, wireSchema))
	case rep.Failure != nil:
		return rep, rep.Failure.problem(o.stack)
	}
	return rep, nil
}

// complete wants all facts that were asked for: one that is not measured is not
// compared either, and the child may be a program that does not know of them yet.
func (o order) complete(got map[string]int64) error {
	for _, name := range slices.Sorted(maps.Keys(o.request.Facts)) {
		if _, ok := got[name]; !ok {
			return o.brokenOff(fmt.Errorf("its report is without the fact %s", name))
		}
	}
	return nil
}

// migrates tells whether the run is about migrations, for what people read.
func (o order) migrates() bool { return o.unit == UnitName(o.stack) }

func (o order) brokenOff(err error) error {
	detail := strings.Join(strings.Fields(err.Error()), " ")
	if exit := (*host.ExitError)(nil); errors.As(err, &exit) {
		detail = strings.Join(strings.Fields(fmt.Sprintf("exit code %d %s", exit.Code, exit.Stderr)), " ")
	}
	if o.migrates() {
		return appliance.Problem("migrate.broken-off", err, "stack", o.stack, "unit", o.unit, "detail", detail)
	}
	return appliance.Problem("migrate.data-broken-off", err, "stack", o.stack, "unit", o.unit, "detail", detail)
}

func (o order) busy(minutes int) error {
	if o.migrates() {
		return appliance.Problem("migrate.busy", nil, "stack", o.stack, "unit", o.unit, "minutes", minutes).WithCode(appliance.ExitLocked)
	}
	return appliance.Problem("migrate.data-busy", nil, "stack", o.stack, "unit", o.unit, "minutes", minutes).WithCode(appliance.ExitLocked)
}

// waitForLeftover waits while a unit of this name is at work: this process may
// have been killed and started again while its child went on.
func (r runner) waitForLeftover(ctx context.Context, o order) error {
	limit := o.limit + leftoverMore
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		free, err := r.free(bounded, o.unit)
		if free {
			return nil
		}
		if err != nil && bounded.Err() == nil {
			return err
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return o.busy(int(limit.Minutes()))
		case <-time.After(leftoverPause):
		}
	}
}

// free tells whether no unit of this name is at work.
func (r runner) free(ctx context.Context, unit string) (bool, error) {
	p, err := r.units.Show(ctx, unit, "LoadState", "ActiveState")
	return err == nil && idle(p), err
}

func idle(unit map[string]string) bool {
	switch unit["ActiveState"] {
	case "inactive", "failed":
		return true
	default:
		return unit["LoadState"] == "not-found"
	}
}

// nameTaken tells whether another run was faster. systemd has only words for it.
func nameTaken(err error) bool {
	var exit *host.ExitError
	return errors.Is(err, host.ErrNotBegun) && errors.As(err, &exit) && (strings.Contains(exit.Stderr, "was already loaded") || strings.Contains(exit.Stderr, "already exists"))
}

// secret reads a password file; the line's end is not part of the password.
func secret(path string) (_ string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the password of the database: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err := io.ReadAll(io.LimitReader(file, maxPassword))
	if err != nil {
		return "", fmt.Errorf("read the password of the database: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
