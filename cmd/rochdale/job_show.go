// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
)

func newJobShowCommand(a *app) *cobra.Command {
	return a.verb("show ID", "help.job.show", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		return a.showJob(c.Context(), args[0])
	})
}

// showJob tells a job from its beginning, and stays with it while it runs. What
// a dead daemon left is read from the disk.
func (a *app) showJob(ctx context.Context, job string) error {
	err := api.NewClient(a.paths.DaemonSocket()).WatchJob(ctx, job, a.printer.Event)
	if !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	var events []step.Event
	err = a.onDisk(ctx, func(db *state.DB) (err error) {
		events, err = db.Events(ctx, job)
		return err
	})
	if err != nil {
		return err
	}
	if len(events) == 0 {
		return appliance.Problem("daemon.no-job", nil, "job", job).WithCode(appliance.ExitUsage)
	}
	for _, e := range events {
		a.printer.Event(e)
	}
	return appliance.JobEnd(events)
}
