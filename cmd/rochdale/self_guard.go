// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"log/slog"

	"github.com/spf13/cobra"
)

// newGuardCommand is what systemd runs of the version before the one on trial:
// `guard UNIT` before each start of that unit, `guard` to watch the trial. The
// units of the next version call it too, so its command line never changes.
func newGuardCommand(a *app) *cobra.Command {
	c := a.verb("guard [UNIT]", "help.guard", func(c *cobra.Command, args []string) error {
		s := a.self()
		if len(args) > 0 {
			return s.Count(c.Context(), args[0])
		}
		log := slog.New(slog.NewTextHandler(a.streams.Err, &slog.HandlerOptions{ReplaceAttr: untimed}))
		if err := s.Guard(c.Context(), log); c.Context().Err() == nil {
			return err
		}
		return nil // systemd ended it; the trial is on the disk
	})
	c.Hidden = true // only systemd runs it
	return c
}
