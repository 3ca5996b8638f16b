// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/state"
)

// listedChanges bounds what a person reads through.
const listedChanges = 30

func newUpdateHistoryCommand(a *app) *cobra.Command {
	return a.verb("history [STACK]", "help.update.history", func(c *cobra.Command, args []string) error {
		return a.history(c.Context(), args)
	})
}

// history reads the disk: it is there while the daemon is dead.
func (a *app) history(ctx context.Context, args []string) error {
	if err := a.there(); err != nil {
		return err
	}
	stack := strings.Join(args, "")
	list := []appliance.Change{}
	err := a.onDisk(ctx, func(db *state.DB) error {
		found, err := db.Changes(ctx, stack, listedChanges)
		list = append(list, found...)
		if err != nil || stack == "" || len(found) > 0 {
			return err
		}
		_, known, err := db.Release(ctx, stack)
		if err == nil && !known {
			err = usage("cli.stack.unknown", "stack", stack)
		}
		return err
	})
	if err != nil {
		return err
	}
	if a.printer.JSON() {
		return a.printer.Object(struct {
			Schema  int                `json:"schema"`
			Changes []appliance.Change `json:"changes"`
		}{1, list})
	}
	a.writeHistory(list)
	return nil
}

func (a *app) writeHistory(list []appliance.Change) {
	if len(list) == 0 {
		a.printer.Say("cli.update.none")
		return
	}
	var rows [][]string
	for _, c := range list {
		rows = append(rows, []string{
			c.Began.UTC().Format(minute), c.Stack, a.t("cli.change." + string(c.Kind)),
			c.From.Version + " -> " + dash(c.To.Version), a.t("cli.change." + cmp.Or(string(c.Outcome), "running")), held(c),
		})
	}
	a.table(a.streams.Out, []string{"cli.head.began", "cli.head.stack", "cli.head.kind", "cli.head.releases", "cli.head.outcome", "cli.head.held"}, rows)
	a.writeReasons(list)
}

func held(c appliance.Change) string {
	if c.Held == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", c.Held.Round(100*time.Millisecond).Seconds())
}

// writeReasons tells why a change came to nothing, with what its container said last.
func (a *app) writeReasons(list []appliance.Change) {
	for _, c := range list {
		if c.Reason == nil {
			continue
		}
		r := a.texts.Render(a.lang, *c.Reason)
		fmt.Fprintf(a.streams.Out, "\n%s %s -> %s: %s\n", c.Began.UTC().Format(minute), c.From.Version, dash(c.To.Version), r.Title)
		a.printer.reason(a.streams.Out, r.Why, r.Fix)
		a.printer.labelled(a.streams.Out, "cli.word.log", c.Log)
	}
}
