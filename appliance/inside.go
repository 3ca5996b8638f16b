// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"

	"rochdale/stacks"
)

// LinkRequest asks for a one-time address of a stack.
type LinkRequest struct {
	Stack string `json:"stack"`
	// Member is the e-mail address of somebody who can not get in any more;
	// empty: the link makes the first admin.
	Member string `json:"member,omitempty"`
}

// command is what prints the link inside the web container.
func (r LinkRequest) command(m stacks.Manifest) ([]string, error) {
	argv := m.FirstAdmin
	if r.Member != "" {
		argv = m.MemberLink
	}
	switch {
	case len(argv) == 0 && r.Member != "":
		return nil, Problem("daemon.no-member-link", nil, "stack", r.Stack)
	case len(argv) == 0:
		return nil, Problem("daemon.no-link", nil, "stack", r.Stack)
	case r.Member == "":
		return argv, nil
	case !isMember(r.Member):
		return nil, Problem("daemon.member-form", nil, "member", r.Member).WithCode(ExitUsage)
	}
	return append(slices.Clone(argv), r.Member), nil
}

// isMember wants what can be an e-mail address and nothing that a program could
// take for something else.
func isMember(s string) bool {
	name, domain, found := strings.Cut(s, "@")
	return found && name != "" && domain != "" && len(s) <= 254 && s[0] != '-' &&
		!strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || !unicode.IsPrint(c) })
}

// Link gives a one-time address: the one that makes the first admin of the
// platform, or one that lets a member in again.
func (d *Daemon) Link(ctx context.Context, r LinkRequest) (string, error) {
	row, ok, err := d.Store.Release(ctx, r.Stack)
	if err != nil {
		return "", err
	}
	if !ok || row.Stopped {
		return "", Problem("daemon.no-stack", nil, "stack", r.Stack).WithCode(ExitUsage)
	}
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return "", err
	}
	argv, err := r.command(b.Stack.Manifest)
	if err != nil {
		return "", err
	}
	all, err := d.Engine.List(ctx, r.Stack)
	if err != nil {
		return "", err
	}
	web, ok := (&crew{release: row, bundle: b}).best(all, b.Stack.Manifest.Web.Service)
	if !ok {
		return "", Problem("daemon.web-gone", nil, "stack", r.Stack)
	}
	out, err := d.Engine.Exec(ctx, web.ID, argv)
	if err != nil {
		detail := err.Error()
		var ended *Error
		if errors.As(err, &ended) && ended.ID == "engine.program-failed" {
			detail = ended.Args["detail"] // the program's own words
		}
		return "", r.failed(err, detail)
	}
	if strings.TrimSpace(out) == "" && r.Member == "" {
		return "", Problem("daemon.has-admin", nil, "stack", r.Stack)
	}
	return d.address(r, out)
}

func (r LinkRequest) failed(cause error, detail string) error {
	if r.Member != "" {
		return Problem("daemon.member-link-failed", cause, "stack", r.Stack, "member", r.Member, "detail", detail)
	}
	return Problem("daemon.link-failed", cause, "stack", r.Stack, "detail", detail)
}

// address puts the domain before what the container printed, which must be one
// path on the web and nothing else.
func (d *Daemon) address(r LinkRequest, printed string) (string, error) {
	path := strings.TrimSpace(printed)
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || len(path) > 2000 || strings.ContainsAny(path, " \t\r\n\\") {
		return "", r.failed(nil, "the service did not print a path")
	}
	config, _ := d.config.get()
	return "https://" + config.Stacks[r.Stack].Domain + path, nil
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
