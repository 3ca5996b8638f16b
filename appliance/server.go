// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"net"
)

// postgresPort is where a database server in a stack's network listens.
const postgresPort = "5432"

// serverAddress is where the database server of a stack answers now.
func (d *Daemon) serverAddress(ctx context.Context, c *crew, service string) (string, error) {
	all, err := d.Engine.List(ctx, c.release.Stack)
	if err != nil {
		return "", err
	}
	x, running := c.best(all, service)
	if !running {
		return "", Problem("daemon.database-gone", nil, "stack", c.release.Stack, "service", service)
	}
	return net.JoinHostPort(x.Address, postgresPort), nil
}
