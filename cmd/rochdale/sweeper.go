// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"rochdale/appliance/engine"
	"rochdale/installer"
)

// sweeper takes everything of ours out of the container engine, without the
// daemon's help: an uninstall must work on a box whose daemon does not.
type sweeper struct{}

var _ installer.Sweeper = sweeper{}

// open gives the engine, or nil when there is none.
func (sweeper) open(ctx context.Context) (*engine.Engine, error) {
	if _, err := os.Stat(engine.Socket); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	e, err := engine.New(engine.Socket)
	if err != nil {
		return nil, err
	}
	return e, e.Ping(ctx)
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
