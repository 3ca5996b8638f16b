// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

func newStackRemoveCommand(a *app) *cobra.Command {
	return a.verb("remove NAME", "help.stack.remove", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		if agreed, err := a.confirm(c.Context(), "cli.stack.confirm-remove", "stack", args[0]); err != nil || !agreed {
			return err
		}
		client := api.NewClient(a.paths.DaemonSocket())
		if err := client.Remove(c.Context(), args[0], a.printer.Event); err != nil {
			return withLog(err, "rochdale logs daemon")
		}
		a.printer.Result(stackAnswer{Schema: 1, Stack: args[0]}, func(w io.Writer) {
			fmt.Fprintln(w, a.t("cli.stack.removed", "stack", args[0]))
		})
		return a.tellUnsaved(c.Context(), client, args[0])
	})
}

// tellUnsaved says when the data of a stack that was taken down are in no new snapshot.
func (a *app) tellUnsaved(ctx context.Context, client *api.Client, stack string) error {
	all, err := client.Findings(ctx)
	if err != nil {
		return nil //nolint:nilerr // it is down, as was wanted; rochdale status tells the rest
	}
	all = slices.DeleteFunc(all, func(f appliance.Finding) bool {
		return f.Args["stack"] != stack || f.ID != "backup.stopped" && f.ID != "backup.not-parked"
	})
	if len(all) == 0 {
		return nil
	}
	a.printer.Findings(all)
	return exit(appliance.ExitWarnings)
}
