// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

func newBackupListCommand(a *app) *cobra.Command {
	var from string
	c := a.verb("list", "help.backup.list", func(c *cobra.Command, _ []string) error {
		return a.listBackups(c.Context(), from)
	})
	c.Flags().StringVar(&from, "from", "", a.t("flag.backup.from"))
	return c
}

// listBackups shows how the repositories are, and what one of them holds.
func (a *app) listBackups(ctx context.Context, from string) error {
	if err := a.there(); err != nil {
		return err
	}
	client := api.NewClient(a.paths.DaemonSocket())
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	list, err := client.Snapshots(ctx, from)
	if from == "" && appliance.IsProblem(err, "backups.no-repository") {
		list, err = []appliance.Restorable{}, nil // the box's own is made with its first snapshot
	}
	if err != nil {
		if !a.printer.JSON() {
			a.writeRepositories(status.Backups.Repositories)
		}
		return err
	}
	if a.printer.JSON() {
		return a.printer.Object(struct {
			Schema    int                    `json:"schema"`
			Backups   appliance.BackupStatus `json:"backups"`
			Snapshots []appliance.Restorable `json:"snapshots"`
		}{1, status.Backups, list})
	}
	a.writeRepositories(status.Backups.Repositories)
	a.writeSnapshots(list)
	return nil
}

const minute = "2006-01-02 15:04 UTC"

func (a *app) writeRepositories(list []appliance.RepositoryStatus) {
	var rows [][]string
	for _, r := range list {
		last, state := "-", a.t("cli.backup.well")
		if !r.LastSuccess.IsZero() {
			last = r.LastSuccess.UTC().Format(minute)
		}
		if r.LastError != nil {
			state = a.texts.Render(a.lang, *r.LastError).Title
		}
		rows = append(rows, []string{r.Name, r.Kind, last, state})
	}
	a.table(a.streams.Out, []string{"cli.head.repository", "cli.head.kind", "cli.head.last", "cli.head.state"}, rows)
}

func (a *app) writeSnapshots(list []appliance.Restorable) {
	if len(list) == 0 {
		a.printer.Say("cli.backup.none")
		return
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{cut(s.Snapshot, 8), s.Made.UTC().Format(minute), a.t("cli.backup.kind." + string(s.Kind)), s.Repository})
	}
	a.printer.Say("cli.backup.snapshots")
	a.table(a.streams.Out, []string{"cli.head.snapshot", "cli.head.made", "cli.head.kind", "cli.head.repository"}, rows)
}
