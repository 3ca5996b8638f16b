// SPDX-License-Identifier: AGPL-3.0-or-later

package step

import (
	"context"
	"time"
)

// Journal keeps what happened to jobs, so that an interrupted one is found and
// gone on with. Every method returns only when its record is durable.
type Journal interface {
	// Open returns the id of the unfinished job of this plan and key, or makes
	// a new one. resumed is true for a job that was found unfinished.
	Open(ctx context.Context, plan, key string, at time.Time) (job string, resumed bool, err error)
	// Record adds an event to its job. Recording the same event twice is
	// harmless.
	Record(ctx context.Context, e Event) error
	// Close ends the job with its outcome.
	Close(ctx context.Context, job string, outcome Outcome, at time.Time) error
}

// Outcome is how a job ended.
type Outcome string

// The outcomes. A job that was interrupted has none yet.
const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
)

// Kind is what an [Event] tells.
type Kind string

// The kinds of event, in the order in which a step emits them.
const (
	Started Kind = "started" // the step runs
	Noted   Kind = "noted"   // a note of progress
	Skipped Kind = "skipped" // it was already so
	Done    Kind = "done"    // the step ran and ended well
	Broke   Kind = "broke"   // the step failed, or was interrupted
	Ended   Kind = "ended"   // the whole plan ended
)

// Event is one thing that happened in a job.
type Event struct {
	Job      string        `json:"job"`
	Plan     string        `json:"plan"`
	Step     string        `json:"step,omitempty"`
	Index    int           `json:"index,omitempty"` // from 1
	Total    int           `json:"total,omitempty"`
	Kind     Kind          `json:"kind"`
	Note     string        `json:"note,omitempty"`
	Error    string        `json:"error,omitempty"`
	Resumed  bool          `json:"resumed,omitempty"`
	At       time.Time     `json:"at"`
	Duration time.Duration `json:"duration_ns,omitempty"`
}
