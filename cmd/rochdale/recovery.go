// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// newRecoveryCommand is `rochdale recovery`: what a co-op does before its machine
// is lost.
func newRecoveryCommand(a *app) *cobra.Command {
	return a.noun("recovery", "help.recovery", newRecoveryPrintCommand(a), newRecoveryKitCommand(a), newRecoveryCheckCommand(a), newRecoveryTakeOverCommand(a))
}

func (a *app) daemonClient() *api.Client { return api.NewClient(a.paths.DaemonSocket()) }

func newRecoveryCheckCommand(a *app) *cobra.Command {
	return a.verb("check [PAGE]", "help.recovery.check", func(c *cobra.Command, args []string) error {
		if err := a.there(); err != nil {
			return err
		}
		return a.checkPages(c.Context(), strings.Join(args, ""))
	})
}

// checkPages asks for the code of one page, or tells which codes to ask for.
func (a *app) checkPages(ctx context.Context, page string) error {
	s, err := a.daemonClient().Recovery(ctx)
	if err != nil {
		return err
	}
	if len(s.Pages) == 0 {
		return appliance.Problem("recovery.no-pages", nil)
	}
	if page == "" {
		a.printer.Result(s, func(w io.Writer) { a.writePages(w, s) })
		return nil
	}
	var n int
	if _, err := fmt.Sscanf(page, "%d", &n); err != nil || n < 1 || n > len(s.Pages) {
		return usage("kit.no-such-page", "page", page, "of", len(s.Pages))
	}
	if s.Pages[n-1].Next == 0 {
		return appliance.Problem("kit.codes-used-up", nil, "page", n)
	}
	if a.flags.NoInput {
		return usage("cli.recovery.needs-code", "page", n)
	}
	code, err := a.ask(ctx, a.t("cli.recovery.ask-code", "page", n, "number", s.Pages[n-1].Next)+" ")
	if err != nil {
		return err
	}
	if s, err = a.daemonClient().CheckPage(ctx, appliance.PageAnswer{Page: n, Code: code}); err != nil {
		return err
	}
	a.printer.Result(s, func(w io.Writer) {
		fmt.Fprintln(w, a.t("cli.recovery.proven", "page", n, "left", s.Pages[n-1].Left))
	})
	return nil
}

func (a *app) writePages(w io.Writer, s appliance.RecoveryState) {
	fmt.Fprintln(w, a.t("cli.recovery.pages", "set", s.Set, "need", s.Need, "of", s.Of, "printed", s.Printed.UTC().Format(time.DateOnly)))
	for _, p := range s.Pages {
		proven := a.t("cli.recovery.never")
		if !p.Proven.IsZero() {
			proven = a.t("cli.recovery.last", "date", p.Proven.UTC().Format(time.DateOnly))
		}
		fmt.Fprintln(w, a.t("cli.recovery.page", "page", p.Page, "proven", proven, "number", p.Next, "left", p.Left))
	}
	fmt.Fprintln(w, a.t("cli.recovery.how"))
}
