// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// unseenLimit is how many seconds the daemon may say that it is busy with a job that it
// does not list: one that is just about to end, or to be begun.
const unseenLimit = 30

// afterEarlierRun gives the daemon an order about a stack. When the daemon goes on by itself
// with the same plan, which an interrupted run of ours had asked for, that is followed
// to its end first, however long it takes, and then the order is given again: what is
// done answers for itself, and what failed is tried once more.
func afterEarlierRun(ctx context.Context, c *api.Client, plan string, report func(string), order func() error) error {
	for unseen := 0; ; {
		err := order()
		var busy *appliance.Error
		if !errors.As(err, &busy) || busy.ID != "daemon.busy" || busy.Args["plan"] != plan {
			return err
		}
		jobs, listErr := c.Jobs(ctx, listedJobs)
		at := slices.IndexFunc(jobs, func(j appliance.Job) bool {
			return j.Plan == plan && j.Key == busy.Args["stack"] && j.Closed.IsZero()
		})
		if listErr == nil && at >= 0 {
			_ = c.WatchJob(ctx, jobs[at].ID, notes(report)) // how it ended shows when the order is given again
		} else if unseen++; unseen > unseenLimit {
			return errors.Join(err, listErr)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Second):
		}
	}
}
