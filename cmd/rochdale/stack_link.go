// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

func newStackLinkCommand(a *app) *cobra.Command {
	var member string
	c := a.verb("link NAME", "help.stack.link", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		r := appliance.LinkRequest{Stack: args[0], Member: member}
		url, err := api.NewClient(a.paths.DaemonSocket()).Link(c.Context(), r)
		if err != nil {
			return err
		}
		if a.printer.JSON() {
			return a.printer.Object(stackAnswer{Schema: 1, Stack: args[0], URL: url})
		}
		note := "cli.stack.link"
		if member != "" {
			note = "cli.stack.member-link"
		}
		a.printer.Note(note, "stack", args[0], "member", member)
		_, err = fmt.Fprintln(a.streams.Out, url)
		return err
	})
	c.Flags().StringVar(&member, "member", "", a.t("flag.link.member"))
	return c
}
