// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// newBackupCommand is `rochdale backup` with what can be done about snapshots.
func newBackupCommand(a *app) *cobra.Command {
	return a.noun("backup", "help.backup", newBackupRunCommand(a), newBackupListCommand(a), newBackupCheckCommand(a), newBackupPruneCommand(a), newBackupDrillCommand(a))
}

// backupAnswer is what a command ends with that worked on repositories.
type backupAnswer struct {
	Schema int                  `json:"schema"`
	Kind   appliance.BackupKind `json:"kind"`
}

func newBackupRunCommand(a *app) *cobra.Command {
	var to string
	var quick bool
	c := a.verb("run", "help.backup.run", func(c *cobra.Command, _ []string) error {
		kind := appliance.BackupFull
		if quick {
			kind = appliance.BackupDump
		}
		return a.backup(c.Context(), kind, to)
	})
	c.Flags().StringVar(&to, "to", "", a.t("flag.backup.to"))
	c.Flags().BoolVar(&quick, "databases", false, a.t("flag.backup.databases"))
	return c
}

func newBackupCheckCommand(a *app) *cobra.Command {
	return a.verb("check", "help.backup.check", func(c *cobra.Command, _ []string) error {
		return a.backup(c.Context(), appliance.BackupCheck, "")
	})
}

func newBackupPruneCommand(a *app) *cobra.Command {
	return a.verb("prune", "help.backup.prune", func(c *cobra.Command, _ []string) error {
		return a.backup(c.Context(), appliance.BackupPrune, "")
	})
}

func newBackupDrillCommand(a *app) *cobra.Command {
	var q appliance.DrillRequest
	c := a.verb("drill [STACK]", "help.backup.drill", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		q.Stack = strings.Join(args, "")
		if err := api.NewClient(a.paths.DaemonSocket()).Drill(c.Context(), q, a.printer.Event); err != nil {
			return withLog(err, "rochdale logs daemon")
		}
		a.printer.Result(backupAnswer{1, appliance.BackupDrill}, func(w io.Writer) {
			fmt.Fprintln(w, a.t("cli.backup.drill"))
		})
		return nil
	})
	c.Flags().StringVar(&q.Repository, "from", "", a.t("flag.backup.from"))
	return c
}

func (a *app) backup(ctx context.Context, kind appliance.BackupKind, to string) error {
	if err := a.there(); err != nil {
		return err
	}
	if err := api.NewClient(a.paths.DaemonSocket()).Backup(ctx, kind, to, a.printer.Event); err != nil {
		return withLog(err, "rochdale logs daemon")
	}
	a.printer.Result(backupAnswer{1, kind}, func(w io.Writer) {
		fmt.Fprintln(w, a.t("cli.backup."+string(kind)))
	})
	return nil
}
