// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "github.com/spf13/cobra"

// newStackCommand is `rochdale stack` with what can be done to one.
func newStackCommand(a *app) *cobra.Command {
	return a.noun("stack", "help.stack",
		newStackListCommand(a), newStackShowCommand(a), newStackRestartCommand(a), newStackHostsCommand(a), newStackLinkCommand(a),
		newStackRemoveCommand(a))
}
