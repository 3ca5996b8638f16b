// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"net/http"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// updates are the verbs that take a stack from one release to another.
func updates(m *http.ServeMux, d Daemon) {
	m.Handle("POST /v1/update.apply", stream(func(ctx context.Context, r appliance.UpdateRequest, o out) (appliance.Change, error) {
		return d.Update(ctx, r, o.event)
	}))
	m.Handle("POST /v1/update.rollback", stream(func(ctx context.Context, r appliance.RollbackRequest, o out) (appliance.Change, error) {
		return d.Rollback(ctx, r, o.event)
	}))
	m.Handle("POST /v1/update.loss", answer(func(ctx context.Context, r stackName) (appliance.Loss, error) {
		return d.WouldLose(ctx, r.Stack)
	}))
}

// Update takes a stack to another release; see [appliance.Daemon.Update].
func (c *Client) Update(ctx context.Context, r appliance.UpdateRequest, watch func(step.Event)) (appliance.Change, error) {
	return tell[appliance.Change](ctx, c, call{"update.apply", r}, hear{event: watch})
}

// Rollback returns a stack to the release before.
func (c *Client) Rollback(ctx context.Context, r appliance.RollbackRequest, watch func(step.Event)) (appliance.Change, error) {
	return tell[appliance.Change](ctx, c, call{"update.rollback", r}, hear{event: watch})
}

// WouldLose tells what a rollback would give up.
func (c *Client) WouldLose(ctx context.Context, stack string) (appliance.Loss, error) {
	return ask[appliance.Loss](ctx, c, "update.loss", stackName{stack})
}
