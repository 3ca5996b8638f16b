// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/installer"
)

// selfHistory is what `rochdale self history --json` prints.
type selfHistory struct {
	Schema  int                      `json:"schema"`
	Current installer.Build          `json:"current"`
	Trial   *installer.Trial         `json:"trial"`
	Bad     map[string]installer.Bad `json:"bad"`     // by program
	History []installer.SelfChange   `json:"history"` // the newest first
}

// newSelfHistoryCommand reads the disk: it works while the daemon is dead.
func newSelfHistoryCommand(a *app) *cobra.Command {
	return a.verb("history", "help.self.history", func(*cobra.Command, []string) error {
		if err := a.there(); err != nil {
			return err
		}
		s := a.self()
		l, err := s.Ledger()
		if err != nil {
			return err
		}
		past := append([]installer.SelfChange{}, l.Past...)
		slices.Reverse(past)
		h := selfHistory{Schema: 1, Current: s.Current(), Trial: l.Trial, Bad: l.Bad, History: past}
		if a.printer.JSON() {
			return a.printer.Object(h)
		}
		a.writeSelfHistory(h)
		return nil
	})
}

func (a *app) writeSelfHistory(h selfHistory) {
	list := h.History
	if h.Trial != nil {
		list = append([]installer.SelfChange{h.Trial.SelfChange}, list...)
	}
	if len(list) == 0 {
		a.printer.Say("self.none")
		return
	}
	var rows [][]string
	for _, c := range list {
		outcome := string(c.Outcome)
		if c.Ended.IsZero() {
			outcome = ""
		}
		rows = append(rows, []string{
			c.Began.UTC().Format(minute), a.t("self.kind." + c.Kind), c.From.Version + " -> " + c.To.Version,
			a.t("self.outcome." + cmp.Or(outcome, "trial")),
		})
	}
	a.table(a.streams.Out, []string{"cli.head.began", "self.head.kind", "self.head.versions", "cli.head.outcome"}, rows)
	for _, c := range list {
		if c.Reason != nil {
			fmt.Fprintf(a.streams.Out, "\n%s: %s\n", c.To.Version, a.texts.Render(a.lang, *c.Reason).Title)
		}
	}
	for _, program := range slices.Sorted(maps.Keys(h.Bad)) {
		a.printer.Say("self.marked", "version", h.Bad[program].Version, "program", program)
	}
}
