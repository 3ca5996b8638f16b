// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rochdale/appliance"
)

func newRecoveryTakeOverCommand(a *app) *cobra.Command {
	return a.verb("take-over", "help.recovery.take-over", func(c *cobra.Command, _ []string) error {
		return a.takeBack(c.Context())
	})
}

// takeBack makes this machine the owner of its repositories again. It asks first: the
// other one stops saving.
func (a *app) takeBack(ctx context.Context) error {
	if err := a.there(); err != nil {
		return err
	}
	if agreed, err := a.confirm(ctx, "cli.recovery.take-over"); err != nil || !agreed {
		return err
	}
	taken, err := a.daemonClient().TakeBack(ctx, a.printer.Event)
	if err != nil {
		return withLog(err, "rochdale logs daemon")
	}
	var found []appliance.Finding
	for _, name := range taken.Missed {
		found = append(found, appliance.Finding{Severity: appliance.Warning, Message: appliance.Message{ID: "recovery.not-taken", Args: appliance.Args("repository", name)}})
	}
	a.printer.Findings(found)
	a.printer.Result(taken, func(w io.Writer) { fmt.Fprintln(w, a.t("cli.recovery.taken")) })
	if len(found) > 0 {
		return exit(appliance.ExitWarnings)
	}
	return nil
}
