// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/state"
)

// listedJobs bounds what a person reads through.
const listedJobs = 30

func newJobListCommand(a *app) *cobra.Command {
	return a.verb("list", "help.job.list", func(c *cobra.Command, _ []string) error {
		if err := a.there(); err != nil {
			return err
		}
		list, err := a.jobs(c.Context())
		if err != nil {
			return err
		}
		if a.printer.JSON() {
			return a.printer.Object(struct {
				Schema int             `json:"schema"`
				Jobs   []appliance.Job `json:"jobs"`
			}{1, append([]appliance.Job{}, list...)})
		}
		a.writeJobs(list)
		return nil
	})
}

// jobs asks the daemon, and reads the disk when the daemon is dead.
func (a *app) jobs(ctx context.Context) ([]appliance.Job, error) {
	list, err := api.NewClient(a.paths.DaemonSocket()).Jobs(ctx, listedJobs)
	if !errors.Is(err, api.ErrNotRunning) {
		return list, err
	}
	err = a.onDisk(ctx, func(db *state.DB) (err error) {
		list, err = db.Jobs(ctx, listedJobs)
		return err
	})
	return list, err
}

// onDisk reads the box's state without the daemon.
func (a *app) onDisk(ctx context.Context, read func(*state.DB) error) error {
	db, err := state.OpenReadOnly(ctx, a.paths.State())
	if err != nil {
		return err
	}
	return errors.Join(read(db), db.CloseFile())
}

func (a *app) writeJobs(list []appliance.Job) {
	if len(list) == 0 {
		a.printer.Say("cli.job.none")
		return
	}
	var rows [][]string
	for _, j := range list {
		outcome := "open"
		if j.Outcome != "" {
			outcome = string(j.Outcome)
		}
		rows = append(rows, []string{j.ID, a.texts.Plan(a.lang, j.Plan), a.about(j), j.Opened.UTC().Format(minute), a.t("cli.job." + outcome)})
	}
	a.table(a.streams.Out, []string{"cli.head.job", "cli.head.plan", "cli.head.about", "cli.head.began", "cli.head.outcome"}, rows)
}

// about is what a job is for: a stack, or the machine where it is for all of it.
func (a *app) about(j appliance.Job) string {
	if j.Key == "" || strings.HasPrefix(j.Key, "box.") {
		return a.t("cli.job.box")
	}
	return j.Key
}
