// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"maps"
	"slices"
	"time"

	"rochdale/appliance/step"
)

// HostsRequest asks for a stack to be reached by other names.
type HostsRequest struct {
	Stack  string `json:"stack"`
	Domain string `json:"domain"`
	// Aliases are all names that only point to Domain; what is not among them
	// is not answered any more. The old domain belongs here to go on working.
	Aliases []string `json:"aliases,omitempty"`
	// Suffix is for the daemon: see restartRequest.
	Suffix string `json:"suffix,omitempty"`
}

// Hosts changes the domain and the aliases of a stack: in the configuration,
// at the edge, and, since it links to itself, in its containers. No request is
// dropped.
func (d *Daemon) Hosts(ctx context.Context, r HostsRequest, watch func(step.Event)) error {
	if err := d.mustRun(ctx, r.Stack); err != nil {
		return err
	}
	if err := d.configured(r.Stack); err != nil {
		return err
	}
	if _, err := d.withHosts(r); err != nil {
		return err
	}
	r.Suffix = NewSuffix()
	return d.perform(ctx, r.Stack, func() operation { return d.hostsOperation(r) }, watch)
}

// withHosts is the configuration as it would be.
func (d *Daemon) withHosts(r HostsRequest) (Config, error) {
	c, _ := d.config.get()
	c.Stacks = maps.Clone(c.Stacks)
	entry := c.Stacks[r.Stack]
	entry.Domain, entry.Aliases = r.Domain, slices.Clone(r.Aliases)
	c.Stacks[r.Stack] = entry
	return c, c.Validate()
}

func (d *Daemon) hostsOperation(r HostsRequest) operation {
	h := &hosting{swap: swap{Daemon: d, restartRequest: restartRequest{Stack: r.Stack, Suffix: r.Suffix}}, request: r}
	steps := []step.Step{
		{ID: "config", Do: h.write, Effects: writes(d.Paths.Config())},
		{ID: "route", Do: h.send},
		{ID: "certificate", Do: h.certificate, Estimate: 10 * time.Second},
	}
	return operation{request: r, after: h.ended, plan: step.Plan{
		Name: "stack-hosts", Key: r.Stack, Steps: append(steps, h.steps(h.told)...),
	}}
}

// hosting is the work of one change of names.
type hosting struct {
	swap
	request HostsRequest
}

func (h *hosting) write(context.Context, step.Report) error {
	entry := StackConfig{Domain: h.request.Domain, Aliases: h.request.Aliases}
	if err := SetHosts(h.Paths, h.files, h.Stack, entry); err != nil {
		return err
	}
	defer h.kits.poke(false)
	return h.config.load(h.Paths, h.files)
}

func (h *hosting) send(ctx context.Context, _ step.Report) error { return h.mustRoute(ctx) }

func (h *hosting) certificate(ctx context.Context, report step.Report) error {
	return h.warm(ctx, h.Stack, report)
}

// told tells whether the containers know the domain already; then there is
// nothing to swap.
func (h *hosting) told(ctx context.Context) (bool, error) {
	row, ok, err := h.Store.Release(ctx, h.Stack)
	if err != nil || !ok {
		return false, err
	}
	b, err := h.openBundle(ctx, row)
	if err != nil {
		return false, err
	}
	c, err := h.crew(ctx, row, b)
	return err == nil && row.Settings == c.settings(), err
}
