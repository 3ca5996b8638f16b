// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"slices"
	"strconv"
)

// Part is the share N of T of a repository's bytes, N from 1 to T; the zero
// Part is none of them. restic deals each pack to a part by its name, so that T
// checks one after the other read every byte.
type Part struct {
	N int `json:"n,omitempty"`
	T int `json:"t,omitempty"`
}

// String is the part as restic takes it.
func (p Part) String() string { return strconv.Itoa(p.N) + "/" + strconv.Itoa(p.T) }

// maxParts is how many restic can tell apart.
const maxParts = 256

// NextPart is the part to read after last; t is how many there are from now on.
// With another t than before it begins anew.
func NextPart(last Part, t int) Part {
	if last.T != t || last.N < 1 || last.N >= t {
		return Part{N: 1, T: max(t, 1)}
	}
	return Part{N: last.N + 1, T: t}
}

// Health is what the checks of one repository found, and what is still open.
// The zero Health is that of a repository that was never checked.
type Health struct {
	Last   Part   `json:"last"`             // of the rotation
	Failed []Part `json:"failed,omitempty"` // checks that found errors, and that were not passed since
}

// After is the health when a check ended with this report. A check that could
// not be made has no report and changes nothing.
//
// A check that passes closes only what it looked at: a broken pack is found by
// one part of the rotation, and the others say nothing about it.
func (h Health) After(report CheckReport) Health {
	next := Health{Last: h.Last}
	for _, p := range h.Failed {
		if report.Errors > 0 || !report.Part.covers(p) {
			next.Failed = append(next.Failed, p)
		}
	}
	if report.Errors > 0 && !slices.Contains(next.Failed, report.Part) {
		next.Failed = append(next.Failed, report.Part)
	}
	if report.Part == NextPart(h.Last, report.Part.T) {
		next.Last = report.Part
	}
	return next
}

// covers tells whether a check of p looks at all that a check of q looks at:
// each one looks at the structure, and the only part of one at every byte.
func (p Part) covers(q Part) bool {
	return q == Part{} || p == q || p == Part{N: 1, T: 1}
}

// MayForget tells whether snapshots may be forgotten and bytes pruned: not while
// a failed check is open, as what is broken may be needed to heal the rest.
func (h Health) MayForget() bool { return len(h.Failed) == 0 }

// Next is the part to check in the next run: one that failed as long as there
// is one, else the next of the rotation through t parts.
func (h Health) Next(t int) Part {
	if len(h.Failed) > 0 {
		return h.Failed[0]
	}
	return NextPart(h.Last, t)
}
