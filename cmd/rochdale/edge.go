// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"log/slog"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/edge"
)

// newEdgeCommand is what rochdale-edge.service runs: the front door, on the
// sockets that systemd holds.
func newEdgeCommand(a *app) *cobra.Command {
	c := a.verb("edge", "help.edge", func(c *cobra.Command, _ []string) error {
		// Nothing is read again while it runs: a reload that is asked for from
		// habit must not end it.
		signal.Ignore(syscall.SIGHUP)
		o, err := a.edgeOptions()
		if err != nil {
			return err
		}
		return edge.Run(c.Context(), o)
	})
	c.Hidden = true // only systemd runs it
	return c
}

func (a *app) edgeOptions() (edge.Options, error) {
	listeners, err := edge.SystemdListeners(a.env)
	if err != nil {
		return edge.Options{}, err
	}
	settings, err := edge.LoadSettings(filepath.Join(a.paths.Edge(), "settings.json"))
	if err != nil {
		return edge.Options{}, err
	}
	return edge.Options{
		Listeners:     listeners,
		Dir:           a.paths.Edge(),
		Settings:      settings,
		ControlSocket: a.paths.EdgeSocket(),
		Words:         a.words,
		Log:           slog.New(slog.NewJSONHandler(a.streams.Err, nil)),
	}, nil
}

// words renders a page for a visitor, in the visitor's language.
func (a *app) words(lang string, m appliance.Message) edge.Words {
	r := a.texts.Render(lang, m)
	return edge.Words{Title: r.Title, Why: r.Why, Fix: r.Fix}
}
