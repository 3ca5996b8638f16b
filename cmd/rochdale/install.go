// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/state"
	"rochdale/appliance/step"
	"rochdale/installer"
	"rochdale/stacks/bundle"
)

// newInstallCommand is `rochdale install`.
func newInstallCommand(a *app) *cobra.Command {
	o := installer.Options{}
	c := a.verb("install", "help.install", func(c *cobra.Command, _ []string) error {
		return a.install(c.Context(), c, &o)
	})
	f := c.Flags()
	f.StringVar(&o.Stack, "stack", "", a.t("flag.install.stack"))
	f.StringVar(&o.Bundle, "bundle", "", a.t("flag.install.bundle"))
	f.StringVar(&o.Domain, "domain", "", a.t("flag.install.domain"))
	f.StringVar(&o.Email, "email", "", a.t("flag.install.email"))
	f.StringVar(&o.TLS, "tls", "acme", a.t("flag.install.tls"))
	f.StringVar(&o.ACMECA, "acme-ca", "", a.t("flag.install.acme-ca"))
	f.StringVar(&o.ACMERoot, "acme-root", "", a.t("flag.install.acme-root"))
	f.StringVar(&o.Reboot, "reboot", "03:30", a.t("flag.install.reboot"))
	f.BoolVar(&o.Force, "force", false, a.t("flag.install.force"))
	c.Annotations = map[string]string{plannable: ""}
	return c
}

// install is the walk of an installation: look, judge, show, agree, do, tell.
func (a *app) install(ctx context.Context, c *cobra.Command, o *installer.Options) error {
	if err := a.notRecovering(); err != nil {
		return err // before anybody is asked for anything
	}
	if err := a.completeOptions(ctx, c, o); err != nil {
		return err
	}
	deps := installer.RealDeps(a.box())
	if a.flags.Plan || !installer.Root() {
		return a.lookAndInstall(ctx, deps, o)
	}
	// Nobody else may change the machine between the look at it and the end.
	return locked(deps, func() error { return a.lookAndInstall(ctx, deps, o) })
}

func (a *app) lookAndInstall(ctx context.Context, deps installer.Deps, o *installer.Options) error {
	if err := a.notRecovering(); err != nil {
		return err
	}
	facts, found := installer.Preflight(ctx, installer.RealProbe(), *o)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	a.printer.Findings(found)
	if stop := installer.Blocking(found); len(stop) > 0 {
		a.printer.Note("install.stopped", "count", len(stop))
		return a.stopped(found)
	}
	plan, result, err := installer.Plan(*o, facts, deps)
	if err != nil {
		return err
	}
	if a.flags.Plan {
		return a.printer.Plan(plan)
	}
	if agreed, err := a.agree(ctx, plan); err != nil || !agreed {
		return err
	}
	if err := a.carryOut(ctx, deps, plan); err != nil {
		return withLog(err, "/var/lib/rochdale/apt.log, journalctl -u rochdale -u rochdale-edge")
	}
	return a.installed(result)
}

// notRecovering refuses to install while a recovery is under way or was interrupted: an
// empty platform would come in the place of the one that was saved.
func (a *app) notRecovering() error {
	if _, err := os.Lstat(a.paths.RescueKit()); err == nil {
		return appliance.Problem("install.recovering", nil)
	}
	return nil
}

// stopped ends the program after its findings were shown. In JSON the last line
// is the error, as everywhere.
func (a *app) stopped(found []appliance.Finding) error {
	code := installer.ExitCode(found)
	if !a.printer.JSON() {
		return exit(code)
	}
	first := installer.Blocking(found)[0]
	return appliance.Problem("install.preflight", nil, "count", len(installer.Blocking(found)), "first", first.ID).WithCode(code)
}

// agree asks a person who sits there; without one the command itself is the
// agreement, because nothing that is asked for may be required.
func (a *app) agree(ctx context.Context, plan step.Plan) (bool, error) {
	if a.flags.Yes || !a.asks() {
		return true, nil
	}
	if err := a.printer.Plan(plan); err != nil {
		return false, err
	}
	return a.confirm(ctx, "install.confirm")
}

// carryOut runs a plan, journalled in the box's state.
func (a *app) carryOut(ctx context.Context, deps installer.Deps, plan step.Plan) (err error) {
	if err := installer.Prepare(deps); err != nil {
		return err
	}
	journal, err := state.Open(ctx, a.paths.State())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.CloseFile()) }()
	return plan.Run(ctx, journal, a.printer.Event)
}

// installed tells what there is now, and what to do next.
func (a *app) installed(r *installer.Result, steps ...string) error {
	a.printer.Findings(r.Findings)
	a.printer.Result(struct {
		*installer.Result
		Findings []View   `json:"findings"`
		Next     string   `json:"next"`
		Steps    []string `json:"steps,omitempty"` // left to people, in words
	}{r, a.printer.Views(r.Findings), "rochdale status", steps}, func(w io.Writer) {
		fmt.Fprintln(w, a.t("install.done", "url", r.URL))
		if p := r.Restored; p != nil {
			fmt.Fprintln(w, a.t("recover.restored", "repository", p.Repository, "made", p.Made.UTC().Format(minute)))
		}
		if r.RootURL != "" {
			fmt.Fprintln(w, a.t("install.root", "link", r.RootURL))
		}
		if r.AdminLink != "" {
			fmt.Fprintln(w, a.t("install.admin-link", "link", r.AdminLink))
		}
		for _, s := range steps {
			fmt.Fprintln(w, s)
		}
		fmt.Fprintln(w, a.t("install.next", "command", "rochdale status"))
	})
	for _, f := range r.Findings {
		if f.Severity != appliance.Notice {
			return exit(appliance.ExitWarnings)
		}
	}
	return nil
}

// completeOptions fills in what the person did not type: from an earlier
// installation, or by asking where somebody can answer.
func (a *app) completeOptions(ctx context.Context, c *cobra.Command, o *installer.Options) error {
	o.Version, o.Language = appliance.Version(), a.lang
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o.Program = program
	entries, err := bundle.Catalog(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		o.Stacks = append(o.Stacks, e.Name)
	}
	named := o.Bundle != ""
	if named {
		if err := ofBundle(ctx, o); err != nil {
			return err
		}
	}
	o.Remember(installer.RealDeps(nil), func(flag string) bool { return c.Flags().Changed(flag) || flag == "stack" && named })
	if !a.asks() || a.flags.Yes {
		return nil
	}
	for _, q := range []struct {
		value *string
		id    string
	}{{&o.Stack, "install.ask-stack"}, {&o.Domain, "install.ask-domain"}, {&o.Email, "install.ask-email"}} {
		if *q.value != "" {
			continue
		}
		if *q.value, err = a.ask(ctx, a.t(q.id, "known", strings.Join(o.Stacks, ", "))+" "); err != nil {
			return err
		}
	}
	return nil
}

// ofBundle takes the stack's name from the bundle that it is to come from. The name
// that a person gave must be the same.
func ofBundle(ctx context.Context, o *installer.Options) (err error) {
	if o.Bundle, err = filepath.Abs(o.Bundle); err != nil {
		return fmt.Errorf("find the bundle: %w", err)
	}
	file, _, err := source(ctx, appliance.Source{File: o.Bundle})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	stack, _, err := bundle.Describe(ctx, file)
	if err != nil {
		return refused(err)
	}
	name := stack.Manifest.Name
	if o.Stack != "" && o.Stack != name {
		return appliance.Problem("daemon.other-stack", nil, "stack", o.Stack, "found", name).WithCode(appliance.ExitUsage)
	}
	o.Stack = name
	if !slices.Contains(o.Stacks, name) {
		o.Stacks = append(o.Stacks, name)
	}
	return nil
}
