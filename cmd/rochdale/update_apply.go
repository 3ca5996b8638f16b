// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/state"
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
	chain, err := a.chain(ctx, stack, o.from)
	if err != nil {
		return err
	}
	client := api.NewClient(a.paths.DaemonSocket())
	for i, b := range chain {
		r := appliance.UpdateRequest{Stack: stack, Digest: b.Digest, Window: o.window, Again: o.again}
		change, err := client.Update(ctx, r, a.printer.Event)
		if err != nil {
			return withLog(err, "rochdale update history")
		}
		if i == len(chain)-1 || !a.flags.JSON { // one answer for programs
			a.tellChange("cli.update.done", change)
		}
	}
	return nil
}

// maxBundles bounds what a folder of releases may hold.
const maxBundles = 64

// chain unpacks a release, or those in a folder, and gives the ones to take, in
// order. It is done here because the daemon can not read people's folders.
func (a *app) chain(ctx context.Context, stack, from string) ([]appliance.Bundle, error) {
	info, err := os.Stat(from)
	if err != nil {
		return nil, appliance.Problem("stack.bundle-file", err, "path", from, "detail", err).WithCode(appliance.ExitUsage)
	}
	if !info.IsDir() {
		b, err := bundles{}.Unpack(ctx, appliance.Source{File: from}, a.paths.Bundles(stack))
		return []appliance.Bundle{b}, err
	}
	files, err := filepath.Glob(filepath.Join(from, "*.bundle"))
	if err != nil || len(files) > maxBundles {
		return nil, errors.Join(err, usage("cli.update.many", "count", len(files), "most", maxBundles))
	}
	var all []appliance.Bundle
	for _, file := range files {
		b, err := bundles{}.Unpack(ctx, appliance.Source{File: file}, a.paths.Bundles(stack))
		if err != nil {
			return nil, err
		}
		if b.Stack.Manifest.Name == stack {
			all = append(all, b)
		}
	}
	var row appliance.Release
	err = a.onDisk(ctx, func(db *state.DB) (err error) {
		row, _, err = db.Release(ctx, stack)
		return err
	})
	if err != nil {
		return nil, err
	}
	return appliance.Chain(row.Version, all)
}

func (a *app) tellChange(id string, c appliance.Change) {
	a.printer.Result(changeAnswer{1, c}, func(w io.Writer) {
		fmt.Fprintln(w, a.t(id, "stack", c.Stack, "version", c.To.Version, "before", c.From.Version, "held", c.Held.Round(time.Millisecond)))
	})
}
