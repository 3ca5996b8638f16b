// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/step"
	"rochdale/installer"
)

// newUninstallCommand is `rochdale uninstall`.
func newUninstallCommand(a *app) *cobra.Command {
	var r installer.Removal
	var confirm string
	c := a.verb("uninstall", "help.uninstall", func(c *cobra.Command, _ []string) error {
		return a.uninstall(c.Context(), r, confirm)
	})
	f := c.Flags()
	f.BoolVar(&r.Purge, "purge", false, a.t("flag.uninstall.purge"))
	f.StringVar(&confirm, "confirm", "", a.t("flag.uninstall.confirm"))
	f.BoolVar(&r.KeepPackages, "keep-packages", false, a.t("flag.uninstall.keep-packages"))
	c.Annotations = map[string]string{plannable: ""}
	return c
}

func (a *app) uninstall(ctx context.Context, r installer.Removal, confirm string) error {
	deps := installer.RealDeps(nil)
	if !installer.Root() {
		return appliance.Problem("install.not-root", nil)
	}
	if !installer.Present(deps) {
		return appliance.Problem("uninstall.nothing-there", nil).WithCode(appliance.ExitNotThere)
	}
	if a.flags.Plan {
		plan, _, err := installer.Uninstall(r, deps, newSweeper())
		if err != nil {
			return err
		}
		return a.printer.Plan(plan)
	}
	// Nobody else may change the machine between the plan and its end.
	return locked(deps, func() error { return a.remove(ctx, r, confirm, deps) })
}

func (a *app) remove(ctx context.Context, r installer.Removal, confirm string, deps installer.Deps) error {
	plan, remains, err := installer.Uninstall(r, deps, newSweeper())
	if err != nil {
		return err
	}
	if agreed, err := a.agreeToRemove(ctx, r, confirm, deps, plan); err != nil || !agreed {
		return err
	}
	if err := plan.Run(ctx, installer.NewRemovalJournal(deps), a.printer.Event); err != nil {
		return withLog(err, "journalctl -u rochdale-apt")
	}
	return a.removed(remains)
}

// locked does something while this process alone installs or removes.
func locked(deps installer.Deps, do func() error) error {
	lock, err := installer.TakeLock(deps)
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Release())
}

// agreeToRemove asks before anything goes; before data goes, for the name.
func (a *app) agreeToRemove(ctx context.Context, r installer.Removal, confirm string, d installer.Deps, plan step.Plan) (bool, error) {
	if a.asks() && !a.flags.Yes {
		if err := a.printer.Plan(plan); err != nil {
			return false, err
		}
	}
	if !r.Purge || !installer.HasData(d) {
		return a.confirm(ctx, "uninstall.confirm")
	}
	name := installer.BoxName(d)
	if confirm == "" && a.asks() {
		var err error
		if confirm, err = a.ask(ctx, a.t("uninstall.ask-name", "name", name)+" "); err != nil {
			return false, err
		}
	}
	if confirm != name {
		return false, usage("uninstall.name-wrong", "name", name)
	}
	return true, nil
}

func (a *app) removed(r *installer.Remains) error {
	a.printer.Result(r, func(w io.Writer) {
		fmt.Fprintln(w, a.t("uninstall.done"))
		for _, left := range r.List {
			fmt.Fprintln(w, "  "+a.t("uninstall.remains."+left.Kind, "what", left.What))
		}
	})
	return nil
}
