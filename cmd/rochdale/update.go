// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/state"
)

// newUpdateCommand is `rochdale update` with what can be done about releases.
func newUpdateCommand(a *app) *cobra.Command {
	return a.noun("update", "help.update", newUpdateApplyCommand(a), newUpdateRollbackCommand(a), newUpdateHistoryCommand(a))
}

// theStack is the stack that was named, or else the only one that is here.
func (a *app) theStack(ctx context.Context, args []string) (string, error) {
	if err := a.there(); err != nil {
		return "", err
	}
	var rows []appliance.Release
	err := a.onDisk(ctx, func(db *state.DB) (err error) {
		rows, err = db.Releases(ctx)
		return err
	})
	switch {
	case err != nil:
		return "", err
	case len(args) > 0 && !slices.ContainsFunc(rows, func(r appliance.Release) bool { return r.Stack == args[0] }):
		return "", usage("cli.stack.unknown", "stack", args[0])
	case len(args) > 0:
		return args[0], nil
	case len(rows) != 1:
		return "", usage("cli.stack.which", "count", len(rows))
	}
	return rows[0].Stack, nil
}
