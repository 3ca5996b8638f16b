// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpCommand is `rochdale help [COMMAND]`.
func (a *app) helpCommand() *cobra.Command {
	c := a.verb("help", "help.help", func(c *cobra.Command, args []string) error {
		found, rest, err := c.Root().Find(args)
		if err != nil || found == nil {
			return unknownCommand(c.Root(), strings.Join(args, " "))
		}
		if len(rest) > 0 {
			return unknownCommand(found, rest[0])
		}
		return found.Help()
	})
	c.Args = cobra.ArbitraryArgs
	return c
}

// showHelp writes the help of a command, in the person's language and without
// ornament, so that it reads well aloud.
func (a *app) showHelp(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	fmt.Fprintln(w, c.Short)
	if c.Long != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.Long))
	}
	fmt.Fprintf(w, "\n%s\n  %s\n", a.t("help.word.usage"), useLine(c))
	if c.Example != "" {
		fmt.Fprintf(w, "\n%s\n%s\n", a.t("help.word.examples"), indent(c.Example))
	}
	a.helpCommands(w, c)
	a.helpFlags(w, a.t("help.word.flags"), c.LocalNonPersistentFlags())
	a.helpFlags(w, a.t("help.word.global-flags"), c.Root().PersistentFlags())
}

func useLine(c *cobra.Command) string {
	if c.HasAvailableSubCommands() {
		return c.CommandPath() + " COMMAND"
	}
	return c.UseLine()
}

func (a *app) helpCommands(w io.Writer, c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	fmt.Fprintf(w, "\n%s\n", a.t("help.word.commands"))
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() {
			fmt.Fprintf(w, "  %-12s %s\n", below.Name(), below.Short)
		}
	}
}

func (a *app) helpFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	var lines strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			fmt.Fprintf(&lines, "  %-24s %s\n", flagForm(f), f.Usage)
		}
	})
	if lines.Len() > 0 {
		fmt.Fprintf(w, "\n%s\n%s", title, lines.String())
	}
}

func flagForm(f *pflag.Flag) string {
	form := "--" + f.Name
	if f.Shorthand != "" {
		form = "-" + f.Shorthand + ", " + form
	}
	if f.Value.Type() != "bool" {
		form += " " + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
	}
	return form
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n  ")
}
