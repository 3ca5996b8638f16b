// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/step"
	"rochdale/installer"
)

// box is the running daemon as the installer sees it.
type box struct{ client *api.Client }

var _ installer.Box = box{}

// Ready implements [installer.Box].
func (b box) Ready(ctx context.Context) error {
	_, err := b.client.Status(ctx)
	return err
}

// Apply implements [installer.Box].
func (b box) Apply(ctx context.Context, stack string, report func(string)) error {
	_, err := b.client.Apply(ctx, appliance.ApplyRequest{Stack: stack}, notes(report))
	return err
}

// FirstAdmin implements [installer.Box].
func (b box) FirstAdmin(ctx context.Context, stack string) (string, error) {
	link, err := b.client.Link(ctx, appliance.LinkRequest{Stack: stack})
	if appliance.IsProblem(err, "daemon.has-admin") || appliance.IsProblem(err, "daemon.no-link") {
		return "", nil
	}
	return link, err
}

// Findings implements [installer.Box].
func (b box) Findings(ctx context.Context) ([]appliance.Finding, error) {
	return b.client.Findings(ctx)
}

// notes passes on which step of the daemon's own plan runs.
func notes(report func(string)) func(step.Event) {
	return func(e step.Event) {
		if e.Kind == step.Started {
			report(e.Step)
		}
	}
}
