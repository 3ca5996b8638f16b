// SPDX-License-Identifier: AGPL-3.0-or-later

package step

import (
	"context"
	"fmt"
	"time"
)

// Step is one idempotent part of a plan.
//
// Do must be safe to run again after it was killed at any point: the second run
// ends in the state that one undisturbed run would have left.
type Step struct {
	// ID names the step in its plan, in the journal and in message catalogues
	// ("step.PLAN.ID"). Lower-case words joined by dashes; it never changes.
	ID string
	// Done tells whether the machine is already as the step wants it. It
	// changes nothing. A nil Done means that the step always runs.
	Done func(ctx context.Context) (bool, error)
	// Do brings the machine to the state that the step wants. report may be
	// called with short progress notes.
	Do func(ctx context.Context, report Report) error
	// Effects tell a person, before anything runs, what the step changes.
	Effects []Effect
	// Estimate is how long the step takes on a small machine; zero: at once.
	Estimate time.Duration
}

// Report passes one line of progress to whoever watches the running step.
type Report func(note string)

// Effect is one thing that a step changes, for the plan that a person reads.
type Effect struct {
	// Kind is one of "writes", "installs", "downloads", "starts", "creates",
	// "changes" and "removes".
	Kind string `json:"kind"`
	// What is a path, a package, a unit or an address.
	What string `json:"what"`
	// Bytes is the size of a download or of what is written, 0 if small or unknown.
	Bytes int64 `json:"bytes,omitempty"`
}

// Plan is a long operation: its steps in the order in which they run.
type Plan struct {
	// Name is the kind of operation: "install", "uninstall", "stack-start".
	Name string
	// Key tells two runs of one kind apart (a stack's name); may be empty.
	// An unfinished run with the same name and key is gone on with.
	Key   string
	Steps []Step
}

// Validate reports a plan that can not be journalled: a step without an ID or
// without Do, or two steps with one ID.
func (p Plan) Validate() error {
	if p.Name == "" {
		return fmt.Errorf("plan has no name")
	}
	seen := make(map[string]bool, len(p.Steps))
	for i, s := range p.Steps {
		switch {
		case s.ID == "":
			return fmt.Errorf("plan %s: step %d has no id", p.Name, i+1)
		case seen[s.ID]:
			return fmt.Errorf("plan %s: two steps are called %q", p.Name, s.ID)
		case s.Do == nil:
			return fmt.Errorf("plan %s: step %q does nothing", p.Name, s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}
