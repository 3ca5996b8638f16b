// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"rochdale/appliance"
)

func newManCommand(a *app) *cobra.Command {
	dir := ""
	c := a.verb("man", "help.man", func(c *cobra.Command, _ []string) error {
		if dir == "" {
			return usage("cli.man-dir")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		root := c.Root()
		root.DisableAutoGenTag = true
		header := &doc.GenManHeader{Section: "1", Source: "Rochdale " + appliance.Version(), Manual: "Rochdale"}
		if err := doc.GenManTree(root, header, dir); err != nil {
			return err
		}
		a.printer.Note("cli.man-written", "path", dir)
		return nil
	})
	c.Flags().StringVar(&dir, "dir", "", a.t("flag.man.dir"))
	return c
}
