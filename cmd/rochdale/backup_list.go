// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

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
	if len(list) == 0 {
		a.writeNoSnapshot(cmp.Or(from, appliance.BoxRepository), status.Backups.Repositories)
		return nil
	}
	a.writeSnapshots(list, from)
	return nil
}

const minute = appliance.ToTheMinute

// writeRepositories shows how they are, and below that when what they hold was last
// proven: read again without a fault, and restored beside the running stack.
func (a *app) writeRepositories(list []appliance.RepositoryStatus) {
	var rows, proofs [][]string
	for _, r := range list {
		rows = append(rows, []string{r.Name, r.Kind, moment(r.LastSuccess), a.stateOf(r)})
		proofs = append(proofs, []string{r.Name, moment(r.Check.LastSuccess), moment(r.Drill.LastSuccess)})
	}
	a.table(a.streams.Out, []string{"cli.head.repository", "cli.head.kind", "cli.head.last", "cli.head.state"}, rows)
	a.section(a.streams.Out, []string{"cli.head.repository", "cli.head.last-check", "cli.head.last-drill"}, proofs)
	fmt.Fprintln(a.streams.Out)
}

func (a *app) stateOf(r appliance.RepositoryStatus) string {
	switch {
	case r.LastError != nil:
		return a.texts.Render(a.lang, *r.LastError).Title
	case r.LastSuccess.IsZero():
		return a.t("cli.backup.nothing")
	default:
		return a.t("cli.backup.well")
	}
}

// moment is a time as people read it, and a dash for never.
func moment(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.UTC().Format(minute)
}

// writeNoSnapshot says that a repository has none, and which other one has some.
func (a *app) writeNoSnapshot(from string, all []appliance.RepositoryStatus) {
	a.printer.Say("cli.backup.none", "repository", from)
	for _, r := range all {
		if r.Name != from && !r.LastSuccess.IsZero() {
			a.printer.Say("cli.backup.elsewhere", "repository", r.Name)
			return
		}
	}
}

// writeSnapshots lists them, with the command that goes back to one: it has to name the
// repository as it was named here.
func (a *app) writeSnapshots(list []appliance.Restorable, from string) {
	if from != "" {
		from = " --from " + from
	}
	var rows [][]string
	for _, s := range list {
		rows = append(rows, []string{cut(s.Snapshot, 8), s.Made.UTC().Format(minute), a.t("cli.backup.kind." + string(s.Kind)), s.Repository})
	}
	a.printer.Say("cli.backup.snapshots", "from", from)
	a.table(a.streams.Out, []string{"cli.head.snapshot", "cli.head.made", "cli.head.kind", "cli.head.repository"}, rows)
}
