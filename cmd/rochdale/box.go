// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"slices"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
	"rochdale/installer"
)

// box is the running daemon as the installer sees it.
type box struct {
	client *api.Client
	paths  appliance.Paths
}

var _ installer.Box = box{}

func (a *app) box() box { return box{api.NewClient(a.paths.DaemonSocket()), a.paths} }

// Ready implements [installer.Box].
func (b box) Ready(ctx context.Context) error {
	_, err := b.client.Status(ctx)
	return err
}

// Apply implements [installer.Box].
func (b box) Apply(ctx context.Context, stack, bundle string, report func(string)) error {
	digest, err := b.unpack(ctx, stack, bundle)
	if err != nil {
		return err
	}
	return afterEarlierRun(ctx, b.client, "stack-start", report, func() error {
		_, err := b.client.Apply(ctx, appliance.ApplyRequest{Stack: stack, Digest: digest}, notes(report))
		return err
	})
}

// unpack brings a bundle file to where the daemon, which can not read people's
// folders, finds it. A stack that ran before keeps its release, and the file it came
// from may be gone.
func (b box) unpack(ctx context.Context, stack, file string) (digest string, err error) {
	if file == "" {
		return "", nil
	}
	s, err := b.client.Status(ctx)
	if err != nil || slices.ContainsFunc(s.Stacks, func(x appliance.StackStatus) bool { return x.Name == stack }) {
		return "", err
	}
	dir := b.paths.Bundles(stack)
	if err := host.NewFiles().MkdirAll(dir, host.Attr{Mode: 0o711}); err != nil {
		return "", err
	}
	opened, err := bundles{}.Unpack(ctx, appliance.Source{File: file}, dir)
	return opened.Digest, err
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
