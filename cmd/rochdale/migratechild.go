// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"github.com/spf13/cobra"

	"rochdale/appliance/migrate"
)

// newMigrateCommand is the child that applies a stack's migrations, with the
// stack's uid and without a view of the machine. Only the daemon starts it.
func newMigrateCommand(a *app) *cobra.Command {
	c := a.verb(migrate.Command, "help.internal-migrate", func(c *cobra.Command, _ []string) error {
		return migrate.Child(c.Context(), a.streams.In, a.streams.Out)
	})
	c.Hidden = true
	return c
}
