// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"net/http"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// KitDaemon is what the verbs about the recovery kit ask for.
type KitDaemon interface {
	Recovery(ctx context.Context) (appliance.RecoveryState, error)
	Printed(ctx context.Context, p appliance.Printing) (appliance.RecoveryState, error)
	RecoveryKit(ctx context.Context) (appliance.KitFile, error)
	KitCopied(ctx context.Context, serial int64) error
	CheckPage(ctx context.Context, a appliance.PageAnswer) (appliance.RecoveryState, error)
	TakeBack(ctx context.Context, watch func(step.Event)) (appliance.Taken, error)
	Recover(ctx context.Context, r appliance.RecoverRequest, watch func(step.Event)) (appliance.Release, error)
}

type kitSerial struct {
	Serial int64 `json:"serial"`
}

// recovery are the verbs about the recovery kit. Those that ask every repository
// take their time, and so they stream, although they tell nothing on the way.
func recovery(m *http.ServeMux, d KitDaemon) {
	m.Handle("POST /v1/recovery.state", answer(func(ctx context.Context, _ none) (appliance.RecoveryState, error) {
		return d.Recovery(ctx)
	}))
	m.Handle("POST /v1/recovery.printed", stream(func(ctx context.Context, p appliance.Printing, _ out) (appliance.RecoveryState, error) {
		return d.Printed(ctx, p)
	}))
	m.Handle("POST /v1/recovery.kit", stream(func(ctx context.Context, _ none, _ out) (appliance.KitFile, error) {
		return d.RecoveryKit(ctx)
	}))
	m.Handle("POST /v1/stack.recover", stream(func(ctx context.Context, r appliance.RecoverRequest, o out) (appliance.Release, error) {
		return d.Recover(ctx, r, o.event)
	}))
	m.Handle("POST /v1/recovery.take-over", stream(func(ctx context.Context, _ none, o out) (appliance.Taken, error) {
		return d.TakeBack(ctx, o.event)
	}))
	m.Handle("POST /v1/recovery.copied", answer(func(ctx context.Context, k kitSerial) (none, error) {
		return none{}, d.KitCopied(ctx, k.Serial)
	}))
	m.Handle("POST /v1/recovery.check", stream(func(ctx context.Context, a appliance.PageAnswer, _ out) (appliance.RecoveryState, error) {
		return d.CheckPage(ctx, a)
	}))
}

// Recovery tells how it stands with the recovery kit and the printed pages.
func (c *Client) Recovery(ctx context.Context) (appliance.RecoveryState, error) {
	return ask[appliance.RecoveryState](ctx, c, "recovery.state", none{})
}

// Printed hands over the public half of pages that were printed.
func (c *Client) Printed(ctx context.Context, p appliance.Printing) (appliance.RecoveryState, error) {
	return tell[appliance.RecoveryState](ctx, c, call{"recovery.printed", p}, hear{})
}

// RecoveryKit gives the sealed kit.
func (c *Client) RecoveryKit(ctx context.Context) (appliance.KitFile, error) {
	return tell[appliance.KitFile](ctx, c, call{"recovery.kit", none{}}, hear{})
}

// KitCopied notes that the co-op has a copy of the kit with this number.
func (c *Client) KitCopied(ctx context.Context, serial int64) error {
	_, err := ask[none](ctx, c, "recovery.copied", kitSerial{serial})
	return err
}

// CheckPage hands over the check code that the holder of a page has read out.
func (c *Client) CheckPage(ctx context.Context, a appliance.PageAnswer) (appliance.RecoveryState, error) {
	return tell[appliance.RecoveryState](ctx, c, call{"recovery.check", a}, hear{})
}

// TakeBack makes the machine the owner of its repositories again.
func (c *Client) TakeBack(ctx context.Context, watch func(step.Event)) (appliance.Taken, error) {
	return tell[appliance.Taken](ctx, c, call{"recovery.take-over", none{}}, hear{event: watch})
}

// Recover starts a stack of a lost machine with what a snapshot has of it.
func (c *Client) Recover(ctx context.Context, r appliance.RecoverRequest, watch func(step.Event)) (appliance.Release, error) {
	return tell[appliance.Release](ctx, c, call{"stack.recover", r}, hear{event: watch})
}
