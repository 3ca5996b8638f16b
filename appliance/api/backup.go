// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"net/http"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// backupRequest asks for work on repositories; Only may name one of them.
type backupRequest struct {
	Kind appliance.BackupKind `json:"kind"`
	Only string               `json:"only,omitempty"`
}

type repositoryName struct {
	Repository string `json:"repository"`
}

// copies are the verbs about snapshots.
func copies(m *http.ServeMux, d Daemon) {
	m.Handle("POST /v1/backup.run", stream(func(ctx context.Context, r backupRequest, o out) (none, error) {
		switch r.Kind {
		case appliance.BackupDump, appliance.BackupFull:
			return none{}, d.Backup(ctx, r.Kind, r.Only, o.event)
		case appliance.BackupCheck, appliance.BackupPrune:
			return none{}, d.Upkeep(ctx, r.Kind, o.event)
		default:
			return none{}, appliance.Problem("daemon.request", nil, "detail", r.Kind).WithCode(appliance.ExitUsage)
		}
	}))
	m.Handle("POST /v1/backup.drill", stream(func(ctx context.Context, q appliance.DrillRequest, o out) (none, error) {
		return none{}, d.Drill(ctx, q, o.event)
	}))
	m.Handle("POST /v1/backup.snapshots", answer(func(ctx context.Context, r repositoryName) ([]appliance.Restorable, error) {
		return d.Snapshots(ctx, r.Repository)
	}))
	m.Handle("POST /v1/restore.find", answer(func(ctx context.Context, r appliance.RestoreRequest) (appliance.Restorable, error) {
		return d.FindSnapshot(ctx, r)
	}))
	m.Handle("POST /v1/restore.apply", stream(func(ctx context.Context, r appliance.RestoreRequest, o out) (appliance.Change, error) {
		return d.Restore(ctx, r, o.event)
	}))
}

// Backup makes a snapshot, checks repositories or forgets old snapshots now.
func (c *Client) Backup(ctx context.Context, kind appliance.BackupKind, only string, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"backup.run", backupRequest{kind, only}}, hear{event: watch})
	return err
}

// Drill restores the newest snapshot of stacks beside them, to prove it.
func (c *Client) Drill(ctx context.Context, q appliance.DrillRequest, watch func(step.Event)) error {
	_, err := tell[none](ctx, c, call{"backup.drill", q}, hear{event: watch})
	return err
}

// Snapshots lists what is in a repository, the newest first.
func (c *Client) Snapshots(ctx context.Context, repository string) ([]appliance.Restorable, error) {
	return ask[[]appliance.Restorable](ctx, c, "backup.snapshots", repositoryName{repository})
}

// FindSnapshot tells which snapshot a restore would take.
func (c *Client) FindSnapshot(ctx context.Context, r appliance.RestoreRequest) (appliance.Restorable, error) {
	return ask[appliance.Restorable](ctx, c, "restore.find", r)
}

// Restore takes a stack to the data of a snapshot.
func (c *Client) Restore(ctx context.Context, r appliance.RestoreRequest, watch func(step.Event)) (appliance.Change, error) {
	return tell[appliance.Change](ctx, c, call{"restore.apply", r}, hear{event: watch})
}
