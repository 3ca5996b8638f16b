// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"github.com/spf13/cobra"
)

func newSelfRollbackCommand(a *app) *cobra.Command {
	return a.verb("rollback", "help.self.rollback", func(c *cobra.Command, _ []string) error {
		if err := a.mayChange(); err != nil {
			return err
		}
		s := a.self()
		return a.change(c.Context(), s, "rollback", s.Previous)
	})
}
