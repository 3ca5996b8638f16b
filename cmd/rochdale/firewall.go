// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// newFirewallCommand is what rochdale-firewall.service runs after it has loaded
// the table: it adds the operator's own rules. One bad file does not keep the
// others out; it ends with a failure all the same, so that a reload says so.
func newFirewallCommand(a *app) *cobra.Command {
	c := a.verb("firewall", "help.firewall", func(c *cobra.Command, _ []string) error {
		log := slog.New(slog.NewJSONHandler(a.streams.Err, nil))
		bad, err := a.ownRules().Add(c.Context())
		for _, b := range bad {
			log.Error("own firewall rules were not loaded", "file", b.File, "error", b.Err)
		}
		if err == nil && len(bad) > 0 {
			err = appliance.Problem("doctor.firewall-rules", bad[0].Err, "file", bad[0].File, "detail", bad[0].Err)
		}
		return err
	})
	c.Hidden = true // only systemd runs it
	return c
}

// ownRules are the operator's own firewall rules on this machine.
func (a *app) ownRules() host.OwnRules {
	return host.OwnRules{Nft: host.Nft{Runner: host.Exec{}}, Base: a.paths.Firewall(), Folder: a.paths.FirewallFolder()}
}
