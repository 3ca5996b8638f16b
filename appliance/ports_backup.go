// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"time"

	"rochdale/backups"
)

// Vault is the way to the repositories; [backups.Door] is one.
type Vault interface {
	// Init makes the repository unless it is there, and gives its id.
	Init(ctx context.Context, r backups.Repository) (id string, err error)
	// Identify gives the id of a repository that is there.
	Identify(ctx context.Context, r backups.Repository) (id string, err error)
	Backup(ctx context.Context, r backups.Repository, b backups.Backup) (backups.Saved, error)
	// Snapshots lists what has all of these tags, the newest first.
	Snapshots(ctx context.Context, r backups.Repository, tags ...string) ([]backups.Snapshot, error)
	Forget(ctx context.Context, r backups.Repository, k backups.Retention, tags ...string) (backups.Forgotten, error)
	Prune(ctx context.Context, r backups.Repository) error
	Check(ctx context.Context, r backups.Repository, p backups.Part) (backups.CheckReport, error)
	Restore(ctx context.Context, r backups.Repository, what backups.Restore) (backups.Restored, error)
	Heal(ctx context.Context, r backups.Repository, report backups.CheckReport, again func(context.Context) error) (backups.Healed, error)
}

var _ Vault = (*backups.Door)(nil)

// BackupKind is what a run on a repository was for.
type BackupKind string

// The kinds of run.
const (
	BackupDump  BackupKind = "dump"  // databases, configuration and the release
	BackupFull  BackupKind = "full"  // that, and all files of the stacks
	BackupPrune BackupKind = "prune" // old snapshots are forgotten
	BackupCheck BackupKind = "check" // a part of the bytes was read again
	BackupDrill BackupKind = "drill" // a snapshot was restored beside the running stack
)

// BackupRun is one run on one repository and how it ended.
type BackupRun struct {
	ID         string     `json:"id"` // ULID
	Repository string     `json:"repository"`
	Kind       BackupKind `json:"kind"`
	Began      time.Time  `json:"began"`
	Ended      time.Time  `json:"ended"`
	OK         bool       `json:"ok"`
	Error      *Message   `json:"error,omitempty"`
	Snapshot   string     `json:"snapshot,omitempty"`
	// Bytes were added to the repository, or restored.
	Bytes  int64           `json:"bytes,omitempty"`
	Health *backups.Health `json:"health,omitempty"` // after a check
	// Without are the stopped stacks that could not be put into the snapshot, and why.
	Without map[string]Message `json:"without,omitempty"`
	Drill   *Drill             `json:"drill,omitempty"`
	// Ahead tell of snapshots from the future, after a prune that let them stay.
	Ahead []Message `json:"ahead,omitempty"`
}

// Drill is the evidence of a restore that was tried out.
type Drill struct {
	Stack    string           `json:"stack"`
	Version  string           `json:"version"`
	Snapshot time.Time        `json:"snapshot"` // when it was made
	Facts    map[string]int64 `json:"facts"`
	// Seconds is how long it took from the first byte to the last probe.
	Seconds float64 `json:"seconds"`
}

// KeptRuns is how many runs of a kind on one repository are remembered.
const KeptRuns = 200
