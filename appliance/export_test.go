// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"

	"rochdale/appliance/host"
)

// WriteTo makes a daemon that does not run yet write to this disk.
func (d *Daemon) WriteTo(disk host.Disk) { d.files = host.Files{Disk: disk} }

// DumpIfChanged is what the schedule does each quarter of an hour.
func (d *Daemon) DumpIfChanged(ctx context.Context) error { return d.dumpIfChanged(ctx) }

// Turns lets one at a time have a name.
func Turns() func(ctx context.Context, name string) (leave func(), err error) { return (&turns{}).take }
