// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/edge"
	"rochdale/appliance/engine"
	"rochdale/appliance/host"
	"rochdale/appliance/migrate"
	"rochdale/appliance/state"
)

// newDaemonCommand is what rochdale.service runs.
func newDaemonCommand(a *app) *cobra.Command {
	c := a.verb("daemon", "help.daemon", func(c *cobra.Command, _ []string) error {
		frugal()
		return a.daemon(c.Context(), slog.New(slog.NewTextHandler(a.streams.Err, &slog.HandlerOptions{ReplaceAttr: untimed})))
	})
	c.Hidden = true // only systemd runs it
	return c
}

// untimed leaves the time out: the journal has it.
func untimed(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// daemon joins the rooms and serves until ctx is done. Containers run on.
func (a *app) daemon(ctx context.Context, log *slog.Logger) (err error) {
	alone, err := api.Alone(a.paths.DaemonLock())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	db, err := state.Open(ctx, a.paths.State())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.CloseFile()) }()
	parts, err := a.parts(ctx, db, log)
	if err != nil {
		return err
	}
	if err := host.NewFiles().MkdirAll(a.paths.Run(), host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}); err != nil {
		return err
	}
	l, err := api.Listen(ctx, a.paths.DaemonSocket())
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	d := appliance.New(parts)
	d.Checks = []appliance.Check{a.daemonDoctor(d)}
	var side sync.WaitGroup
	defer side.Wait()
	defer stop()
	side.Go(func() { reloadOnHangup(ctx, d) })
	side.Go(func() { beat(ctx, d) })
	side.Go(func() { unload(ctx) })
	side.Go(func() {
		defer stop()
		if err := api.Serve(ctx, l, d, log); err != nil {
			log.Error("the socket broke", "error", err)
		}
	})
	_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyReady) // without systemd nobody listens
	log.Info("the daemon runs", "version", appliance.Version())
	err = d.Run(ctx)
	_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyStopping)
	return err
}

// measured are the units whose memory a person asks about.
func measured() []string {
	return []string{"rochdale.service", "rochdale-edge.service", "docker.service", "containerd.service"}
}

// parts are the rooms that the daemon's use cases need.
func (a *app) parts(ctx context.Context, db *state.DB, log *slog.Logger) (appliance.Parts, error) {
	containers, err := engine.New(engine.Socket)
	if err != nil {
		return appliance.Parts{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return appliance.Parts{}, err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return appliance.Parts{}, err
	}
	units := host.Systemd{Runner: host.Exec{}}
	return appliance.Parts{
		Paths:    a.paths,
		Store:    db,
		Engine:   containers,
		Edge:     edge.NewClient(a.paths.EdgeSocket()),
		Migrator: migrate.New(units, program),
		Bundles:  bundles{},
		Data:     migrate.NewData(units, program, containers, log),
		Space:    host.Space{},
		Vault:    a.newVault(ctx, units),
		Shelf:    newShelves(),
		Kits:     a.newKits(),
		Meter:    host.Meter{Systemd: units, Units: measured()},
		Log:      log,
	}, nil
}

// reloadOnHangup reads the configuration again at SIGHUP (systemctl reload).
func reloadOnHangup(ctx context.Context, d *appliance.Daemon) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = d.Reload(ctx) // a finding and the log say what is wrong
		}
	}
}

// beat tells systemd that the daemon lives, as long as it reconciles.
func beat(ctx context.Context, d *appliance.Daemon) {
	every, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if d.Alive() {
				_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyWatchdog)
			}
		}
	}
}
