// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rochdale/appliance/api"
)

func newStackLinkCommand(a *app) *cobra.Command {
	return a.verb("link NAME", "help.stack.link", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		url, err := api.NewClient(a.paths.DaemonSocket()).Link(c.Context(), args[0])
		if err != nil {
			return err
		}
		if a.printer.JSON() {
			return a.printer.Object(stackAnswer{Schema: 1, Stack: args[0], URL: url})
		}
		a.printer.Note("cli.stack.link", "stack", args[0])
		_, err = fmt.Fprintln(a.streams.Out, url)
		return err
	})
}
