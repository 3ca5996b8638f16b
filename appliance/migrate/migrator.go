// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

const (
	// runtimeLimit is after how long the unit is ended, whoever waits for it.
	runtimeLimit = 30 * time.Minute
	// leftoverLimit is how long an earlier run is waited for: a bit longer than
	// it can last.
	leftoverLimit = runtimeLimit + time.Minute
	leftoverPause = 250 * time.Millisecond
	maxPassword   = 4 << 10
)

// Units is what a Migrator needs of systemd; [host.Systemd] has it.
type Units interface {
	RunTransient(ctx context.Context, t host.Transient) (host.Result, error)
	Show(ctx context.Context, unit string, properties ...string) (map[string]string, error)
}

var _ Units = host.Systemd{}

// Migrator runs migrations in units of their own.
type Migrator struct {
	units   Units
	program string // absolute path of our binary
}

var _ appliance.Migrator = Migrator{}

// New gives a Migrator that runs "PROGRAM internal-migrate". program is the
// absolute path of our own binary, with links resolved.
func New(units Units, program string) Migrator { return Migrator{units, program} }

// Up implements [appliance.Migrator]. The unit goes on when ctx ends; the next
// call waits for it and then sees what is left to do.
func (m Migrator) Up(ctx context.Context, r appliance.MigrateRequest) (appliance.Migrated, error) {
	rep, err := m.run(ctx, verbUp, r)
	if err != nil {
		return appliance.Migrated{}, err
	}
	if rep.Migrated == nil {
		return appliance.Migrated{}, brokenOff(r.Stack, errors.New("its report is incomplete"))
	}
	return *rep.Migrated, nil
}

// Status implements [appliance.Migrator].
func (m Migrator) Status(ctx context.Context, r appliance.MigrateRequest) (appliance.SchemaStatus, error) {
	rep, err := m.run(ctx, verbStatus, r)
	if err != nil {
		return appliance.SchemaStatus{}, err
	}
	if rep.Status == nil {
		return appliance.SchemaStatus{}, brokenOff(r.Stack, errors.New("its report is incomplete"))
	}
	return *rep.Status, nil
}

// run starts the child, unless one of the same stack is at work: that one is
// waited for first. systemd gives a name to one unit at a time, so that two
// can not meet.
func (m Migrator) run(ctx context.Context, verb string, r appliance.MigrateRequest) (report, error) {
	j, err := m.transient(verb, r)
	if err != nil {
		return report{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, leftoverLimit+runtimeLimit, errTooLong)
	defer cancel()
	for {
		if err := m.waitForLeftover(ctx, r.Stack, j.Unit); err != nil {
			return report{}, err
		}
		j.Stdin = bytes.NewReader(j.asked)
		res, err := m.units.RunTransient(ctx, j.Transient)
		if nameTaken(err) {
			continue
		}
		if err != nil {
			return report{}, m.explain(ctx, r.Stack, err)
		}
		return read(r.Stack, res)
	}
}

var errTooLong = errors.New("it took too long")

func (m Migrator) explain(ctx context.Context, stack string, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTooLong) {
		return err // the caller gave up; the unit goes on
	}
	return brokenOff(stack, err)
}

func read(stack string, res host.Result) (report, error) {
	rep, err := decode[report](bytes.NewReader(res.Stdout), maxReport)
	switch {
	case err != nil:
		return rep, brokenOff(stack, fmt.Errorf("its report can not be read: %w", err))
	case rep.Schema != wireSchema:
		return rep, brokenOff(stack, fmt.Errorf("its report has schema %d, this program knows %d", rep.Schema, wireSchema))
	case rep.Failure != nil:
		return rep, rep.Failure.problem(stack)
	}
	return rep, nil
}

func brokenOff(stack string, err error) error {
	detail := strings.Join(strings.Fields(err.Error()), " ")
	if exit := (*host.ExitError)(nil); errors.As(err, &exit) {
		detail = strings.Join(strings.Fields(fmt.Sprintf("exit code %d %s", exit.Code, exit.Stderr)), " ")
	}
	return appliance.Problem("migrate.broken-off", err, "stack", stack, "unit", UnitName(stack), "detail", detail)
}

// waitForLeftover waits while a unit of this name is at work: this process may
// have been killed and started again while its child went on.
func (m Migrator) waitForLeftover(ctx context.Context, stack, unit string) error {
	bounded, cancel := context.WithTimeout(ctx, leftoverLimit)
	defer cancel()
	for {
		p, err := m.units.Show(bounded, unit, "LoadState", "ActiveState")
		if err == nil && idle(p) {
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
			return appliance.Problem("migrate.busy", nil, "stack", stack, "unit", unit, "minutes", int(leftoverLimit.Minutes())).WithCode(appliance.ExitLocked)
		case <-time.After(leftoverPause):
		}
	}
}

func idle(unit map[string]string) bool {
	switch unit["ActiveState"] {
	case "inactive", "failed", "":
		return true
	default:
		return unit["LoadState"] == "not-found"
	}
}

// nameTaken tells whether another run was faster. systemd has only words for it.
func nameTaken(err error) bool {
	var exit *host.ExitError
	return errors.As(err, &exit) && (strings.Contains(exit.Stderr, "was already loaded") || strings.Contains(exit.Stderr, "already exists"))
}

// ask makes what the child reads.
func ask(verb string, r appliance.MigrateRequest) ([]byte, error) {
	q := request{Schema: wireSchema, Verb: verb, User: r.User, Engine: r.Database.Engine, Migrations: inMigrations}
	switch r.Database.Engine {
	case "sqlite":
		q.File = inData + "/" + r.Database.Path
	case "postgres":
		q.Address, q.Name = r.Address, r.Database.Name
		password, err := secret(r.PasswordFile)
		if err != nil {
			return nil, err
		}
		q.Password = password
	}
	return json.Marshal(q) //nolint:gosec // the password goes through a pipe to our own child
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
