// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"time"

	"rochdale/appliance"
)

// lastGrace is how long a container may take to end by itself when everything goes.
const lastGrace = 20 * time.Second

// RemoveAll takes everything of ours out of the engine: containers, networks and
// images. It reports the name of each container. What others have stays.
func (e *Engine) RemoveAll(ctx context.Context, report func(string)) error {
	list, err := e.List(ctx, "")
	if err != nil {
		return err
	}
	stacks := map[string]bool{}
	for _, c := range list {
		report(c.Name)
		stacks[c.Stack] = true
		if err := e.Stop(ctx, c.ID, lastGrace); err != nil {
			return err
		}
		if err := e.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	for stack := range stacks {
		if err := e.RemoveNetwork(ctx, stack); err != nil {
			return err
		}
	}
	_, err = e.Prune(ctx, appliance.Keep{})
	return err
}
