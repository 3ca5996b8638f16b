// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "rochdale/appliance/host"

// WriteTo makes a daemon that does not run yet write to this disk.
func (d *Daemon) WriteTo(disk host.Disk) { d.files = host.Files{Disk: disk} }
