// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// newRestoreCommand is `rochdale restore`.
func newRestoreCommand(a *app) *cobra.Command {
	var r appliance.RestoreRequest
	c := a.verb("restore [STACK]", "help.restore", func(c *cobra.Command, args []string) error {
		return a.restore(c.Context(), args, r)
	})
	f := c.Flags()
	f.StringVar(&r.At, "at", "", a.t("flag.restore.at"))
	f.StringVar(&r.Repository, "from", "", a.t("flag.backup.from"))
	f.DurationVar(&r.Window, "window", 0, a.t("flag.update.window"))
	c.Annotations = map[string]string{plannable: ""}
	return c
}

// restore says which snapshot it would take before it asks.
func (a *app) restore(ctx context.Context, args []string, r appliance.RestoreRequest) (err error) {
	if r.Window < 0 || r.Window > appliance.LongestWindow {
		return usage("cli.update.window", "longest", appliance.LongestWindow)
	}
	if r.Stack, err = a.theStack(ctx, args); err != nil {
		return err
	}
	client := api.NewClient(a.paths.DaemonSocket())
	found, err := client.FindSnapshot(ctx, r)
	if err != nil {
		return err
	}
	if a.flags.Plan {
		a.printer.Result(found, func(w io.Writer) { a.writeFound(w, r.Stack, found) })
		return nil
	}
	if !a.flags.JSON && !a.flags.Quiet {
		a.writeFound(a.streams.Err, r.Stack, found)
	}
	question := []any{"stack", r.Stack, "made", found.Made.UTC().Format(minute), "version", found.Version}
	id := "cli.restore.confirm"
	if otherRelease(found) {
		id = "cli.restore.confirm-release"
	}
	if agreed, err := a.confirm(ctx, id, question...); err != nil || !agreed {
		return err
	}
	r.At = found.Snapshot // what was shown is what is taken
	change, err := client.Restore(ctx, r, a.printer.Event)
	if err != nil {
		return withLog(err, "rochdale update history")
	}
	a.tellChange("cli.restore.done", change)
	return nil
}

func (a *app) writeFound(w io.Writer, stack string, found appliance.Restorable) {
	id := "cli.restore.from"
	if found.Made.After(time.Now()) {
		id = "cli.restore.from-future"
	}
	fmt.Fprintln(w, a.t(id, "stack", stack, "snapshot", cut(found.Snapshot, 8), "repository", found.Repository,
		"made", found.Made.UTC().Format(minute), "age", a.age(time.Since(found.Made))))
	if otherRelease(found) {
		fmt.Fprintln(w, a.t("cli.restore.release", "stack", stack, "version", found.Version, "now", found.Now))
	}
	if found.Version == "" {
		fmt.Fprintln(w, a.t("cli.restore.unseen"))
	}
	for _, f := range found.Facts {
		fmt.Fprintln(w, "  "+a.t("cli.rollback.fact", "fact", f.Name, "then", f.Then, "now", f.Now))
	}
	if found.Files == "" {
		fmt.Fprintln(w, a.t("cli.restore.no-files"))
	}
}

// age is how long ago something was, as people say it.
func (a *app) age(d time.Duration) string {
	switch {
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 72*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return a.t("cli.word.days", "days", int(d.Hours()/24))
	}
}

// otherRelease tells whether the release changes with the data.
func otherRelease(found appliance.Restorable) bool {
	return found.Version != "" && found.Now != "" && found.Version != found.Now
}
