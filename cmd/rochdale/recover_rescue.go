// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/host"
	"rochdale/appliance/state"
	"rochdale/backups"
	"rochdale/installer"
)

// rescuer reaches the backups of a lost machine, with the keys that its kit gave.
type rescuer struct {
	a       *app
	config  appliance.Config
	without []string // names of repositories that are gone for good
}

var _ installer.Rescue = rescuer{}

func (a *app) newRescuer(config appliance.Config, without []string) rescuer {
	return rescuer{a, config, without}
}

// all are the repositories elsewhere, and the one on the machine if its disk was
// saved.
func (r rescuer) all() []backups.Repository { return appliance.Repositories(r.a.paths, r.config) }

func overSSH(p appliance.Paths, c appliance.Config) bool {
	return slices.ContainsFunc(appliance.Repositories(p, c), func(r backups.Repository) bool { return r.Kind() == backups.SFTP })
}

func (r rescuer) open(ctx context.Context) (appliance.Rescue, error) {
	door, err := r.a.openDoor(ctx, host.Systemd{Runner: host.Exec{}})
	if err != nil {
		return appliance.Rescue{}, err
	}
	return appliance.NewRescue(r.a.paths, door, r.all()), nil
}

// Find implements [installer.Rescue].
func (r rescuer) Find(ctx context.Context) (appliance.RescuePoint, error) {
	rescue, err := r.open(ctx)
	if err != nil {
		return appliance.RescuePoint{}, err
	}
	return rescue.Find(ctx, r.without...)
}

// Fetch implements [installer.Rescue].
func (r rescuer) Fetch(ctx context.Context, p appliance.RescuePoint, into string) error {
	rescue, err := r.open(ctx)
	if err != nil {
		return err
	}
	return rescue.Fetch(ctx, p, into)
}

// Adopt implements [installer.Rescue].
func (r rescuer) Adopt(ctx context.Context, file string) (err error) {
	db, err := state.Open(ctx, r.a.paths.State())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.CloseFile()) }()
	return db.Adopt(ctx, file)
}

// TakeOver implements [installer.Rescue]. The configuration may be newer than the
// kit by now.
func (r rescuer) TakeOver(ctx context.Context, epoch int64) (missed []string, err error) {
	if now, err := appliance.ReadConfig(r.a.paths.Config()); err == nil {
		r.config = now
	}
	_, missed, err = appliance.TakeOver(ctx, r.a.paths, newShelves(), r.all(), epoch)
	return missed, err
}

// Recover implements [installer.Rescue].
func (r rescuer) Recover(ctx context.Context, stack string, p appliance.RescuePoint, report func(string)) error {
	c := api.NewClient(r.a.paths.DaemonSocket())
	return afterEarlierRun(ctx, c, "stack-recover", report, func() error {
		_, err := c.Recover(ctx, appliance.RecoverRequest{Stack: stack, RescuePoint: p}, notes(report))
		return err
	})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
