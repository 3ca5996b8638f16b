// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"rochdale/appliance/engine"
	"rochdale/installer"
)

// sweeper takes everything of ours out of the container engine, without the
// daemon's help: an uninstall must work on a box whose daemon does not.
type sweeper struct {
	socket   string
	programs []string // where the engine's own program can be
}

func newSweeper() sweeper {
	return sweeper{engine.Socket, []string{"/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"}}
}

var _ installer.Sweeper = sweeper{}

// open gives the engine, or nil when there is none.
func (s sweeper) open(ctx context.Context) (*engine.Engine, error) {
	if !there(s.socket) {
		return nil, nil
	}
	e, err := engine.New(s.socket)
	if err != nil {
		return nil, err
	}
	err = e.Ping(ctx)
	if err != nil && !slices.ContainsFunc(s.programs, there) {
		// Its packages went, in an uninstall that was interrupted; systemd leaves the socket's file behind.
		return nil, nil
	}
	return e, err
}

func there(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Sweep implements [installer.Sweeper].
func (s sweeper) Sweep(ctx context.Context, report func(string)) error {
	e, err := s.open(ctx)
	if err != nil || e == nil {
		return err
	}
	return e.RemoveAll(ctx, report)
}

// Foreign implements [installer.Sweeper].
func (s sweeper) Foreign(ctx context.Context) (bool, error) {
	e, err := s.open(ctx)
	if err != nil || e == nil {
		return false, err
	}
	return e.Foreign(ctx)
}
