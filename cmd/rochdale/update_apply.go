// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// updateOptions are the flags of `rochdale update apply`.
type updateOptions struct {
	from   string
	window time.Duration
	again  bool
}

// changeAnswer is what a command ends with that took a stack elsewhere.
type changeAnswer struct {
	Schema int `json:"schema"`
	appliance.Change
}

func newUpdateApplyCommand(a *app) *cobra.Command {
	var o updateOptions
	c := a.verb("apply [STACK]", "help.update.apply", func(c *cobra.Command, args []string) error {
		return a.update(c.Context(), args, o)
	})
	f := c.Flags()
	f.StringVar(&o.from, "from", "", a.t("flag.update.from"))
	f.DurationVar(&o.window, "window", 0, a.t("flag.update.window"))
	f.BoolVar(&o.again, "again", false, a.t("flag.update.again"))
	return c
}

func (a *app) update(ctx context.Context, args []string, o updateOptions) error {
	switch {
	case o.from == "":
		return usage("cli.update.from")
	case o.window < 0 || o.window > appliance.LongestWindow:
		return usage("cli.update.window", "longest", appliance.LongestWindow)
	}
	stack, err := a.theStack(ctx, args)
	if err != nil {
		return err
	}
	file, err := filepath.Abs(o.from)
	if err != nil {
		return err
	}
	r := appliance.UpdateRequest{Stack: stack, Bundle: file, Window: o.window, Again: o.again}
	change, err := api.NewClient(a.paths.DaemonSocket()).Update(ctx, r, a.printer.Event)
	if err != nil {
		return withLog(err, "rochdale update history")
	}
	a.tellChange("cli.update.done", change)
	return nil
}

func (a *app) tellChange(id string, c appliance.Change) {
	a.printer.Result(changeAnswer{1, c}, func(w io.Writer) {
		fmt.Fprintln(w, a.t(id, "stack", c.Stack, "version", c.To.Version, "before", c.From.Version, "held", c.Held.Round(time.Millisecond)))
	})
}
