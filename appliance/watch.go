// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"time"
)

// watchFor is how long after an update trouble is told as trouble of the update.
const watchFor = 15 * time.Minute

// watchFindings tell of stacks that fail soon after an update, with the way back.
// It is a look at what is known already, not a job that runs.
func (d *Daemon) watchFindings(ctx context.Context) []Finding {
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return nil // the state being unreadable is another finding
	}
	var all []Finding
	for _, row := range rows {
		v, _ := d.views.get(row.Stack)
		if !slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Severity == Failure }) {
			continue
		}
		last, ok, err := d.lastCommitted(ctx, row)
		if err != nil || !ok || last.Kind != KindUpdate || time.Since(last.Ended) > watchFor {
			continue
		}
		all = append(all, Finding{Severity: Failure, Message: Message{ID: "update.failing-in-watch",
			Args: Args("stack", row.Stack, "version", row.Version, "before", last.From.Version)}})
	}
	return all
}
