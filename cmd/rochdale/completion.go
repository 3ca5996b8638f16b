// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "github.com/spf13/cobra"

func newCompletionCommand(a *app) *cobra.Command {
	c := a.verb("completion SHELL", "help.completion", func(c *cobra.Command, args []string) error {
		root, out := c.Root(), a.streams.Out
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(out, true)
		case "zsh":
			return root.GenZshCompletion(out)
		case "fish":
			return root.GenFishCompletion(out, true)
		default:
			return usage("cli.shell", "shell", args[0], "known", "bash, zsh, fish")
		}
	})
	c.ValidArgs = []string{"bash", "zsh", "fish"}
	return c
}
