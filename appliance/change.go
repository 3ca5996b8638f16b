// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"strings"
	"time"
)

// ChangeKind is why a stack came to run something else.
type ChangeKind string

// The kinds of change.
const (
	KindUpdate   ChangeKind = "update"   // another release on a copy of the data
	KindRollback ChangeKind = "rollback" // the release before, on its own data
	KindRestore  ChangeKind = "restore"  // the data of a snapshot
)

// ChangeOutcome is how a change ended.
type ChangeOutcome string

// The outcomes. A change that is under way has none yet.
const (
	Committed   ChangeOutcome = "committed"
	PutBack     ChangeOutcome = "put-back"    // it failed and the old release serves on its untouched data
	Postponed   ChangeOutcome = "postponed"   // visitors were busy; nothing was stopped
	Interrupted ChangeOutcome = "interrupted" // the daemon ended in the middle; put back too
)

// Change is one attempt to make a stack run something else. All of them are the
// history of the stack.
type Change struct {
	ID    string     `json:"id"` // ULID
	Stack string     `json:"stack"`
	Kind  ChangeKind `json:"kind"`
	From  Release    `json:"from"`
	To    Release    `json:"to"` // its generation is 0 until one was made
	Began time.Time  `json:"began"`
	// Ended is zero while the change is under way.
	Ended   time.Time     `json:"ended,omitzero"`
	Outcome ChangeOutcome `json:"outcome,omitempty"`
	// Held is how long visitors waited, in nanoseconds.
	Held time.Duration `json:"held_ns,omitempty"`
	// Reason is why it did not come to be, and Log the last lines of the
	// container that failed.
	Reason *Message `json:"reason,omitempty"`
	Log    string   `json:"log,omitempty"`
	// Facts are those of the new data when it was committed.
	Facts map[string]int64 `json:"facts,omitempty"`
	// Snapshot is what a restore took the data from.
	Snapshot string `json:"snapshot,omitempty"`
}

// Over tells whether the change has ended one way or the other.
func (c Change) Over() bool { return c.Outcome != "" }

// KeptChanges is how many changes of a stack are remembered.
const KeptChanges = 200

// notItsOwn are reasons that a change was put back for which say nothing of the
// release: the machine had no room, it was busy, the engine or the edge did not answer,
// the data that are here could not be copied. Each passes, or can be mended here, and
// then the same release may be taken. One that ends in "*" is meant with all that begin
// so. What is not listed is held against the release.
func notItsOwn() []string {
	return []string{
		"update.no-room", "update.no-memory", "update.over-budget", "update.not-up", "update.interrupted", "update.postponed",
		"migrate.disk-full", "migrate.busy", "migrate.data-busy", "migrate.broken-off", "migrate.data-broken-off",
		"migrate.copy-failed", "migrate.damaged", "migrate.no-database",
		"engine.unreachable", "engine.slow", "engine.not-there", "engine.refused", "engine.name-taken", "engine.network-taken",
		"daemon.busy", "daemon.stopping", "daemon.database-gone", "daemon.not-configured", "daemon.state-*",
		"config.*", "edge.*",
	}
}

// ofThisMachine tells whether a reason is one of those.
func ofThisMachine(reason Message) bool {
	return slices.ContainsFunc(notItsOwn(), func(id string) bool {
		begin, all := strings.CutSuffix(id, "*")
		return reason.ID == id || all && strings.HasPrefix(reason.ID, begin)
	})
}

// ownFault tells whether a change was put back for a reason of the release itself.
func (c Change) ownFault() bool {
	return c.Outcome == PutBack && (c.Reason == nil || !ofThisMachine(*c.Reason))
}

// bad tells why a bundle should not be tried again: its last attempt on this
// stack that told anything of it was put back. ok is false when nothing is known
// against it.
func (d *Daemon) bad(ctx context.Context, stack, digest string) (why Change, ok bool, err error) {
	all, err := d.Store.Changes(ctx, stack, KeptChanges)
	if err != nil {
		return why, false, err
	}
	for _, c := range all {
		if c.To.Digest != digest || c.Kind != KindUpdate || !c.Over() {
			continue
		}
		if c.ownFault() || c.Outcome == Committed {
			return c, c.Outcome == PutBack, nil
		}
	}
	return why, false, nil
}

// lastCommitted is the change that made the row what it is; ok is false for a
// stack that still runs what it began with.
func (d *Daemon) lastCommitted(ctx context.Context, row Release) (last Change, ok bool, err error) {
	all, err := d.Store.Changes(ctx, row.Stack, KeptChanges)
	if err != nil {
		return last, false, err
	}
	for _, c := range all {
		if c.Outcome == Committed {
			return c, c.To.Digest == row.Digest && c.To.Generation == row.Generation, nil
		}
	}
	return last, false, nil
}
