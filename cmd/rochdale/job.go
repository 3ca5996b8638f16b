// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "github.com/spf13/cobra"

// newJobCommand is `rochdale job` with what can be asked of one.
func newJobCommand(a *app) *cobra.Command {
	return a.noun("job", "help.job", newJobListCommand(a), newJobShowCommand(a))
}
