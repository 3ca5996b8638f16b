// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rochdale/appliance/api"
)

// stackAnswer is the last line of a command that changed a stack.
type stackAnswer struct {
	Schema int    `json:"schema"`
	Stack  string `json:"stack"`
	URL    string `json:"url,omitempty"`
}

func newStackRestartCommand(a *app) *cobra.Command {
	return a.verb("restart NAME", "help.stack.restart", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		client := api.NewClient(a.paths.DaemonSocket())
		if err := client.Restart(c.Context(), args[0], a.printer.Event); err != nil {
			return withLog(err, "rochdale logs daemon")
		}
		a.printer.Result(stackAnswer{Schema: 1, Stack: args[0]}, func(w io.Writer) {
			fmt.Fprintln(w, a.t("cli.stack.restarted", "stack", args[0]))
		})
		return nil
	})
}
