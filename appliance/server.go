// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"net"
	"slices"
)

// postgresPort is where a database server in a stack's network listens.
const postgresPort = "5432"

// serverAddress is where the database server of a stack answers now. In the middle of
// a change that may be the server of the release before or after; there is one.
func (d *Daemon) serverAddress(ctx context.Context, c *crew, service string) (string, error) {
	all, err := d.Engine.List(ctx, c.release.Stack)
	if err != nil {
		return "", err
	}
	x, running := c.best(all, service)
	if i := slices.IndexFunc(all, func(x Container) bool { return x.Service == service && x.Running() }); !running && i >= 0 {
		x, running = all[i], true
	}
	if !running {
		return "", Problem("daemon.database-gone", nil, "stack", c.release.Stack, "service", service)
	}
	return net.JoinHostPort(x.Address, postgresPort), nil
}
