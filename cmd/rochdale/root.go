// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/text"
)

// newRootCommand is `rochdale` with everything below it.
func newRootCommand(a *app) *cobra.Command {
	root := a.noun("rochdale", "help.rochdale")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.streams.In)
	root.SetOut(a.streams.Out)
	root.SetErr(a.streams.Err)
	root.SetHelpCommand(a.helpCommand())
	root.SetHelpFunc(a.showHelp)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return appliance.Problem("cli.flag", err, "command", c.CommandPath()).WithCode(appliance.ExitUsage)
	})
	f := root.PersistentFlags()
	f.BoolVar(&a.flags.JSON, "json", false, a.t("flag.json"))
	f.BoolVar(&a.flags.Plan, "plan", false, a.t("flag.plan"))
	f.BoolVarP(&a.flags.Yes, "yes", "y", false, a.t("flag.yes"))
	f.BoolVar(&a.flags.NoInput, "no-input", false, a.t("flag.no-input"))
	f.BoolVarP(&a.flags.Quiet, "quiet", "q", false, a.t("flag.quiet"))
	f.StringVar(&a.flags.Lang, "lang", "", a.t("flag.lang"))
	root.PersistentPreRunE = a.checkFlags
	root.AddCommand(commands(a)...)
	return root
}

// plannable marks a command that understands --plan.
const plannable = "plan"

// checkFlags refuses what would otherwise be silently ignored. A person who
// writes --plan must never find that the thing was done.
func (a *app) checkFlags(c *cobra.Command, _ []string) error {
	a.printer.configure(a.flags)
	if _, ok := text.Language(a.flags.Lang); a.flags.Lang != "" && !ok {
		return usage("cli.language", "lang", a.flags.Lang, "known", strings.Join(text.Languages(), ", "))
	}
	if _, ok := c.Annotations[plannable]; a.flags.Plan && !ok {
		return usage("cli.no-plan", "command", c.CommandPath())
	}
	return nil
}

// verb is a command that does something. Its short text is the title of the
// help id, its long text the id's why.
func (a *app) verb(use, help string, run func(*cobra.Command, []string) error) *cobra.Command {
	words := a.texts.Render(a.lang, appliance.Message{ID: help})
	return &cobra.Command{Use: use, Short: words.Title, Long: words.Why, Example: words.Fix, RunE: run, Args: arguments(use)}
}

// noun is a command that only holds others: `rochdale stack`.
func (a *app) noun(use, help string, below ...*cobra.Command) *cobra.Command {
	c := a.verb(use, help, func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return c.Help()
	})
	c.Args = cobra.ArbitraryArgs
	c.AddCommand(below...)
	return c
}

func unknownCommand(c *cobra.Command, word string) error {
	c.SuggestionsMinimumDistance = 2
	near := c.SuggestionsFor(word)
	if len(near) == 0 {
		return usage("cli.unknown-command", "command", c.CommandPath()+" "+word, "above", c.CommandPath())
	}
	return usage("cli.misspelt-command", "command", c.CommandPath()+" "+word, "near", c.CommandPath()+" "+near[0])
}

// arguments checks a command line against its use line: "show NAME" takes one
// argument, "list" none, "logs [NAME]" at most one.
func arguments(use string) cobra.PositionalArgs {
	words := strings.Fields(use)[1:]
	least := 0
	for _, w := range words {
		if !strings.HasPrefix(w, "[") {
			least++
		}
	}
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > len(words) {
			return usage("cli.arguments", "command", c.CommandPath(), "use", c.UseLine())
		}
		return nil
	}
}

// usage is an error in what was typed.
func usage(id string, pairs ...any) *appliance.Error {
	return appliance.Problem(id, nil, pairs...).WithCode(appliance.ExitUsage)
}
