// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"

	"rochdale/appliance"
	"rochdale/backups"
)

// shut is a vault that can not be opened, and says why each time.
type shut struct{ why error }

var _ appliance.Vault = shut{}

// Init implements [appliance.Vault].
func (s shut) Init(context.Context, backups.Repository) (string, error) { return "", s.why }

// Identify implements [appliance.Vault].
func (s shut) Identify(context.Context, backups.Repository) (string, error) { return "", s.why }

// Backup implements [appliance.Vault].
func (s shut) Backup(context.Context, backups.Repository, backups.Backup) (backups.Saved, error) {
	return backups.Saved{}, s.why
}

// Snapshots implements [appliance.Vault].
func (s shut) Snapshots(context.Context, backups.Repository, ...string) ([]backups.Snapshot, error) {
	return nil, s.why
}

// Forget implements [appliance.Vault].
func (s shut) Forget(context.Context, backups.Repository, backups.Retention, ...string) (backups.Forgotten, error) {
	return backups.Forgotten{}, s.why
}

// Prune implements [appliance.Vault].
func (s shut) Prune(context.Context, backups.Repository) error { return s.why }

// Check implements [appliance.Vault].
func (s shut) Check(context.Context, backups.Repository, backups.Part) (backups.CheckReport, error) {
	return backups.CheckReport{}, s.why
}

// Restore implements [appliance.Vault].
func (s shut) Restore(context.Context, backups.Repository, backups.Restore) (backups.Restored, error) {
	return backups.Restored{}, s.why
}

// Heal implements [appliance.Vault].
func (s shut) Heal(context.Context, backups.Repository, backups.CheckReport, func(context.Context) error) (backups.Healed, error) {
	return backups.Healed{}, s.why
}
