// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import "time"

// Backup says what one snapshot is to hold.
type Backup struct {
	Paths    []string // absolute; files and folders
	Excludes []string // restic's patterns

	Tags  []string  // "stack:delivery", "dump" say; no commas
	Host  string    // under which name; empty: this machine's
	Time  time.Time // of the snapshot; zero: now
	Force bool      // read every file again, also those that look unchanged
}

// Saved is a snapshot that was made.
type Saved struct {
	SnapshotID     string        `json:"snapshot"`
	FilesNew       int64         `json:"files_new"` // new or changed
	FilesAll       int64         `json:"files_all"`
	BytesAdded     int64         `json:"bytes_added"` // to the repository, as stored
	BytesProcessed int64         `json:"bytes_processed"`
	Duration       time.Duration `json:"duration_ns"`
}

// Snapshot is one state of the data that a repository holds.
type Snapshot struct {
	ID    string    `json:"id"` // whole, 64 hex digits
	Time  time.Time `json:"time"`
	Host  string    `json:"host"`
	Tags  []string  `json:"tags,omitempty"`
	Paths []string  `json:"paths"`
	Bytes int64     `json:"bytes"` // of the data, as restored
}

// Retention says which snapshots stay, counted back from the newest one. There
// is no rule that counts snapshots alone: whoever can add snapshots could push
// the good ones out of it.
type Retention struct {
	Hourly  time.Duration // one an hour is kept for this long; 0, or an hour at least
	Daily   time.Duration
	Weekly  time.Duration
	Monthly time.Duration
	Last    int // at least these many are kept, however old; 1 or more
}

// Forgotten is what [Door.Forget] did.
type Forgotten struct {
	Kept    int      `json:"kept"`
	Removed []string `json:"removed,omitempty"` // ids
	// Ahead tells of snapshots from the future, which stay until a person removes
	// them, and how that is done; nil: there are none.
	Ahead *Problem `json:"-"`
}

// CheckReport is what a check found.
type CheckReport struct {
	Part               Part     `json:"part"`   // whose bytes were read
	Errors             int64    `json:"errors"` // 0: all is well
	BrokenPacks        []string `json:"broken_packs,omitempty"`
	SuggestRepairIndex bool     `json:"suggest_repair_index,omitempty"`
	SuggestPrune       bool     `json:"suggest_prune,omitempty"`
	Details            []string `json:"details,omitempty"` // restic's own words, for the log; the first few
}

// Restore says what is to be taken out of a snapshot, and where to.
type Restore struct {
	Snapshot string   // its id
	Target   string   // absolute; restic makes it, with mode 0700
	Include  []string // restic's patterns; empty: all
}

// Restored is a restore that worked.
type Restored struct {
	Files    int64         `json:"files"` // and folders
	Bytes    int64         `json:"bytes"`
	Duration time.Duration `json:"duration_ns"`
}

// Healed is what [Door.Heal] did.
type Healed struct {
	Packs []string `json:"packs,omitempty"` // broken ones, taken apart
	// Gone are snapshots that could not be kept as they were, New are those that
	// hold what was left of them.
	Gone []string `json:"gone,omitempty"`
	New  []string `json:"new,omitempty"`
}
