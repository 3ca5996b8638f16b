// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance/state"
	"rochdale/appliance/step"
	"rochdale/installer"
)

// selfPlan is the name of the plan by which a program takes over.
const selfPlan = "self-update"

// newSelfApplyCommand is what the guard of an update runs, with the program that
// is to take over.
func newSelfApplyCommand(a *app) *cobra.Command {
	c := a.verb("apply", "help.self.apply", func(c *cobra.Command, _ []string) error {
		if err := a.mayChange(); err != nil {
			return err
		}
		s := a.self()
		return locked(s.Deps, func() error { return a.takeOver(c.Context(), c, s) })
	})
	c.Hidden = true
	return c
}

func (a *app) takeOver(ctx context.Context, c *cobra.Command, s installer.Self) error {
	o := installer.Options{}
	if err := a.completeOptions(ctx, c, &o); err != nil {
		return err
	}
	facts := installer.Gather(ctx, installer.RealProbe(), o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	plan, err := installer.SelfPlan(o, facts, s)
	if err != nil {
		return err
	}
	if err := a.closeOthers(ctx, plan.Key); err != nil {
		return err
	}
	return a.carryOut(ctx, s.Deps, plan)
}

// closeOthers ends the jobs of other programs that never took over: nobody will
// go on with them.
func (a *app) closeOthers(ctx context.Context, program string) (err error) {
	db, err := state.Open(ctx, a.paths.State())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.CloseFile()) }()
	jobs, err := db.Jobs(ctx, state.KeptJobs)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.Plan == selfPlan && j.Key != program && j.Closed.IsZero() {
			if err := db.Close(ctx, j.ID, step.Failed, time.Now()); err != nil {
				return err
			}
		}
	}
	return nil
}
