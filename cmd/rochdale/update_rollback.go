// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

func newUpdateRollbackCommand(a *app) *cobra.Command {
	var r appliance.RollbackRequest
	c := a.verb("rollback [STACK]", "help.update.rollback", func(c *cobra.Command, args []string) error {
		return a.rollback(c.Context(), args, r)
	})
	c.Flags().DurationVar(&r.Window, "window", 0, a.t("flag.update.window"))
	c.Annotations = map[string]string{plannable: ""}
	return c
}

// rollback says what would be lost before it asks.
func (a *app) rollback(ctx context.Context, args []string, r appliance.RollbackRequest) (err error) {
	if r.Window < 0 || r.Window > appliance.LongestWindow {
		return usage("cli.update.window", "longest", appliance.LongestWindow)
	}
	if r.Stack, err = a.theStack(ctx, args); err != nil {
		return err
	}
	client := api.NewClient(a.paths.DaemonSocket())
	loss, err := client.WouldLose(ctx, r.Stack)
	if err != nil {
		return err
	}
	if a.flags.Plan {
		a.printer.Result(loss, func(w io.Writer) { a.writeLoss(w, loss) })
		return nil
	}
	if !a.flags.JSON && !a.flags.Quiet {
		a.writeLoss(a.streams.Err, loss)
	}
	if agreed, err := a.confirm(ctx, "cli.rollback.confirm", "stack", r.Stack, "version", loss.To.Version); err != nil || !agreed {
		return err
	}
	change, err := client.Rollback(ctx, r, a.printer.Event)
	if err != nil {
		return withLog(err, "rochdale update history")
	}
	a.tellChange("cli.rollback.done", change)
	return nil
}

func (a *app) writeLoss(w io.Writer, l appliance.Loss) {
	fmt.Fprintln(w, a.t("cli.rollback.from", "stack", l.Stack, "version", l.From.Version, "before", l.To.Version,
		"since", l.Since.UTC().Format(minute)))
	if len(l.Facts) == 0 {
		fmt.Fprintln(w, a.t("cli.rollback.no-facts"))
	}
	for _, f := range l.Facts {
		fmt.Fprintln(w, "  "+a.t("cli.rollback.fact", "fact", f.Name, "then", f.Then, "now", f.Now))
	}
}
