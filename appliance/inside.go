// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"io"
	"strings"
)

// Link gives the one-time address that makes the first admin of the platform.
func (d *Daemon) Link(ctx context.Context, stack string) (string, error) {
	row, ok, err := d.Store.Release(ctx, stack)
	if err != nil {
		return "", err
	}
	if !ok || row.Stopped {
		return "", Problem("daemon.no-stack", nil, "stack", stack).WithCode(ExitUsage)
	}
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return "", err
	}
	m := b.Stack.Manifest
	if len(m.FirstAdmin) == 0 {
		return "", Problem("daemon.no-link", nil, "stack", stack)
	}
	all, err := d.Engine.List(ctx, stack)
	if err != nil {
		return "", err
	}
	web, ok := (&crew{release: row, bundle: b}).best(all, m.Web.Service)
	if !ok {
		return "", Problem("daemon.web-gone", nil, "stack", stack)
	}
	out, err := d.Engine.Exec(ctx, web.ID, m.FirstAdmin)
	if err != nil {
		return "", Problem("daemon.link-failed", err, "stack", stack, "detail", err)
	}
	if strings.TrimSpace(out) == "" {
		return "", Problem("daemon.has-admin", nil, "stack", stack)
	}
	return d.address(stack, out)
}

// address puts the domain before what the container printed, which must be one
// path on the web and nothing else.
func (d *Daemon) address(stack, printed string) (string, error) {
	path := strings.TrimSpace(printed)
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(path) > 2000 || strings.ContainsAny(path, " \t\r\n\\") {
		return "", Problem("daemon.link-failed", nil, "stack", stack, "detail", "the service did not print a path")
	}
	config, _ := d.config.get()
	return "https://" + config.Stacks[stack].Domain + path, nil
}

// LogsRequest asks for what the containers of a stack printed.
type LogsRequest struct {
	Stack   string     `json:"stack"`
	Service string     `json:"service,omitempty"` // empty: the web service
	Options LogOptions `json:"options"`
}

// Logs copies what a service printed to w: of its running container, or of its
// last one.
func (d *Daemon) Logs(ctx context.Context, r LogsRequest, w io.Writer) error {
	row, ok, err := d.Store.Release(ctx, r.Stack)
	if err != nil {
		return err
	}
	if !ok {
		return Problem("daemon.no-stack", nil, "stack", r.Stack).WithCode(ExitUsage)
	}
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return err
	}
	c := &crew{release: row, bundle: b}
	if r.Service == "" {
		r.Service = b.Stack.Manifest.Web.Service
	}
	if _, known := c.service(r.Service); !known {
		return Problem("daemon.no-service", nil, "stack", r.Stack, "service", r.Service, "known", strings.Join(c.names(), ", ")).WithCode(ExitUsage)
	}
	all, err := d.Engine.List(ctx, r.Stack)
	if err != nil {
		return err
	}
	x, running := c.best(all, r.Service)
	if !running {
		ended := c.of(all, r.Service)
		if len(ended) == 0 {
			return Problem("daemon.no-logs", nil, "stack", r.Stack, "service", r.Service)
		}
		x = ended[0]
	}
	return d.Engine.Logs(ctx, x.ID, r.Options, w)
}

// names are the services in the order in which they start.
func (c *crew) names() []string {
	var names []string
	for _, s := range c.services() {
		names = append(names, s.Name)
	}
	return names
}
