// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"time"

	"rochdale/appliance/step"
)

// Store is the box's memory; room state keeps it. A method that changes
// something returns only when the change is durable.
type Store interface {
	step.Journal
	Reader

	// Commit makes r the one row of its stack. The generation's reservation,
	// if there was one, is used up with it.
	Commit(ctx context.Context, r Release) error
	// Forget removes the row of a stack. Generation numbers are not used again.
	Forget(ctx context.Context, stack string) error
	// ReserveGeneration gives the number of a new generation of the stack's
	// data for this release. Asked again before the commit, it gives the same
	// number: an interrupted start goes on with the folder that it began. The
	// number is above every one given before, and above floor.
	ReserveGeneration(ctx context.Context, stack, digest string, floor int64) (int64, error)
	// NextRoutesVersion counts up, starting with 1, and never gives less than
	// atLeast.
	NextRoutesVersion(ctx context.Context, atLeast uint64) (uint64, error)
	// KeepRequest keeps what an operation was asked for, so that the daemon
	// can go on with it after a crash. Plan and key name it as in the journal.
	KeepRequest(ctx context.Context, r Request) error
	// DropRequest forgets it; one that is not there is no error.
	DropRequest(ctx context.Context, plan, key string) error
	// KeepChange keeps a change under its id, as it is now. The oldest ones of
	// the stack beyond [KeptChanges] are forgotten.
	KeepChange(ctx context.Context, c Change) error
	// KeepRun keeps how a run on a repository ended. The oldest ones of its kind
	// there beyond [KeptRuns] are forgotten, but for the last one that went well.
	KeepRun(ctx context.Context, r BackupRun) error
	// KeepRepositories keeps since when repositories are known, and forgets all others.
	KeepRepositories(ctx context.Context, all []KnownRepository) error
	// KnownRepositories gives what was kept last, by name.
	KnownRepositories(ctx context.Context) ([]KnownRepository, error)
	// CopyTo writes a consistent copy of the whole store to a file that is not
	// there yet.
	CopyTo(ctx context.Context, path string) error
	// Ran keeps when a task of the schedule last ran.
	Ran(ctx context.Context, task string, at time.Time) error
}

// Reader is the part of [Store] that changes nothing. The command line reads
// through it while the daemon is dead.
type Reader interface {
	// Release gives the row of one stack; ok is false when there is none.
	Release(ctx context.Context, stack string) (r Release, ok bool, err error)
	// Releases gives all rows, ordered by stack.
	Releases(ctx context.Context) ([]Release, error)
	// Jobs gives the newest jobs first, at most limit.
	Jobs(ctx context.Context, limit int) ([]Job, error)
	// Events gives the events of one job in their order.
	Events(ctx context.Context, job string) ([]step.Event, error)
	// Requests gives what was asked for and is not finished.
	Requests(ctx context.Context) ([]Request, error)
	// Changes gives the newest changes of a stack first, or of all stacks with
	// stack "", at most limit.
	Changes(ctx context.Context, stack string, limit int) ([]Change, error)
	// Change gives one change by its id; ok is false when it is not known.
	Change(ctx context.Context, id string) (c Change, ok bool, err error)
	// Runs gives the newest runs of a kind on a repository first, at most limit;
	// "" stands for any of them.
	Runs(ctx context.Context, repository string, kind BackupKind, limit int) ([]BackupRun, error)
	// LastRun tells when a task of the schedule last ran; ok is false for never.
	LastRun(ctx context.Context, task string) (at time.Time, ok bool, err error)
}

// Job is one run of a plan.
type Job struct {
	ID     string    `json:"id"` // ULID
	Plan   string    `json:"plan"`
	Key    string    `json:"key,omitempty"`
	Opened time.Time `json:"opened"`
	// Closed is zero while the job runs, or waits to be gone on with.
	Closed  time.Time    `json:"closed,omitzero"`
	Outcome step.Outcome `json:"outcome,omitempty"`
}

// Request is an operation that somebody asked for and that is not finished.
type Request struct {
	Plan string          `json:"plan"`
	Key  string          `json:"key"`
	Body json.RawMessage `json:"body"`
}
