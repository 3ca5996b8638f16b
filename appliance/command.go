// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/step"
)

// A release may bring its database to its schema by a program of its own, which
// runs once and ends. It gets what the service gets that uses the database (image,
// user, limits, network, volumes, secrets and environment, all of the generation
// that is migrated), and nobody takes it for that service.

// commandLimit is after how long such a program is ended, as migrations of ours are.
const commandLimit = 30 * time.Minute

// discardLimit is how long the removal of a container may take when the time of
// whoever ran it is up.
const discardLimit = 30 * time.Second

// commandName ends the names under which containers of such programs run. No
// service of a stack has an underscore in its name, so that whoever looks for a
// service, also an older version of this program, finds none of them.
const commandName = "_migrate"

// runsCommand tells whether a container is one in which a release migrates.
func runsCommand(x Container) bool { return strings.HasSuffix(x.Service, commandName) }

// migratesItself tells whether the release migrates by a program of its own.
func (c *crew) migratesItself() bool { return len(c.bundle.Stack.Manifest.Migrations.Command) > 0 }

// commandSpec is what the engine is told to make the container.
func (c *crew) commandSpec(suffix string) (ContainerSpec, error) {
	m := c.bundle.Stack.Manifest.Migrations
	s, ok := c.service(m.Service)
	if !ok {
		return ContainerSpec{}, fmt.Errorf("the migration of stack %s: no service %q to run in", c.release.Stack, m.Service)
	}
	spec, err := c.spec(s, suffix)
	if err != nil {
		return spec, err
	}
	spec.Once, spec.Probe = true, Probe{}
	spec.Service.Name, spec.Service.Command, spec.Service.Health = s.Name+commandName, slices.Clone(m.Command), nil
	return spec, nil
}

// command runs the release's own migration to its end, if it has one, at most until
// ctx ends. It runs by itself: what is left of another run is removed first. One of
// this very release and generation that an earlier process left behind and that
// still runs is waited for; one that has ended runs again, because nobody saw how it
// ended. When the daemon ends it goes on, like a migration of ours.
func (d *Daemon) command(ctx context.Context, c *crew, suffix string, report step.Report) error {
	if !c.migratesItself() {
		return nil
	}
	spec, err := c.commandSpec(suffix)
	if err != nil {
		return err
	}
	if err := d.onlyCommand(ctx, spec); err != nil {
		return err
	}
	report(c.bundle.Stack.Manifest.Migrations.Service + ": " + strings.Join(spec.Service.Command, " "))
	x, err := d.Engine.Start(ctx, spec)
	if err != nil {
		return c.explainCommand(err)
	}
	bounded, cancel := context.WithDeadline(ctx, x.Started.Add(commandLimit))
	defer cancel()
	err = d.Engine.WaitEnd(bounded, x.ID)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	d.discard(ctx, x)
	if ctx.Err() != nil {
		return err // whoever set the time says what it means
	}
	return c.explainCommand(err)
}

// onlyCommand removes what other runs left: two at once could damage the data.
func (d *Daemon) onlyCommand(ctx context.Context, spec ContainerSpec) error {
	all, err := d.Engine.List(ctx, spec.Stack)
	if err != nil {
		return err
	}
	for _, x := range all {
		if !runsCommand(x) || x.Service == spec.Service.Name && suffixOf(x) == spec.Suffix {
			continue
		}
		if err := d.Engine.Remove(ctx, x.ID); err != nil {
			return err
		}
	}
	return nil
}

// discard removes a container for good. One that can not be removed now is removed
// by whoever puts back, or by reconciling: it is no service's.
func (d *Daemon) discard(ctx context.Context, x Container) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
	defer cancel()
	if err := d.Engine.Remove(ctx, x.ID); err != nil {
		d.Log.Warn("the container of a migration is still there", "stack", x.Stack, "name", x.Name, "error", err)
	}
}

// explainCommand says what a failed migration means for people. What is about the
// engine alone stays as it is.
func (c *crew) explainCommand(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	m := c.bundle.Stack.Manifest.Migrations
	about := []any{"stack", c.release.Stack, "service", m.Service, "command", strings.Join(m.Command, " ")}
	with := func(more ...any) []any { return append(about, more...) }
	switch e.ID {
	case "engine.ended":
		return Problem("migrate.command-failed", err, with("code", e.Args["code"], "log", e.Args["log"])...)
	case "engine.out-of-memory":
		return Problem("migrate.command-memory", err, with("memory", e.Args["memory"], "log", e.Args["log"])...)
	case "engine.still-runs":
		return Problem("migrate.command-slow", err, with("minutes", int(commandLimit.Minutes()), "log", e.Args["log"])...)
	case "engine.start-refused":
		return Problem("migrate.command-refused", err, with("detail", e.Args["detail"])...)
	}
	return err
}

// commandSuffix is the same for each run of one release on one generation, so that
// a start that is gone on with finds what it had begun.
func (c *crew) commandSuffix() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", c.release.Digest, c.release.Generation))
	return hex.EncodeToString(sum[:3])
}

// lastLines are the last lines of a container that an error carries, or one that
// it wraps; "" for none.
func lastLines(err error) string {
	for e := (*Error)(nil); errors.As(err, &e); err = e.Err {
		if log := e.Args["log"]; log != "" {
			return log
		}
	}
	return ""
}
