// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"errors"
	"fmt"
)

// ProblemKind says what sort of refusal a Problem is, so that each surface can
// answer in its own way (an HTTP status, an exit code).
type ProblemKind string

// The kinds of a Problem.
const (
	Invalid   ProblemKind = "invalid"   // what was sent can't be used as it is
	SignIn    ProblemKind = "sign-in"   // nobody is signed in, or the session ended
	Forbidden ProblemKind = "forbidden" // this person may not do this
	NotFound  ProblemKind = "not-found" // no such thing, or not theirs to see
	Conflict  ProblemKind = "conflict"  // the thing has moved on since
	TooMany   ProblemKind = "too-many"  // a rate limit
	Busy      ProblemKind = "busy"      // the server has no room for it now
)

// Problem is an expected refusal, with a stable key under which each language
// has a sentence for what is wrong and one for what to do ("problem.KEY" and
// "problem.KEY.fix").
type Problem struct {
	Kind  ProblemKind
	Key   string
	Field string // the form field it's about, if it's about one
}

// Error names the problem for logs; people read the catalogue's text.
func (p *Problem) Error() string { return fmt.Sprintf("%s: %s", p.Kind, p.Key) }

// ProblemOf returns the Problem in err's chain, if there is one.
func ProblemOf(err error) (*Problem, bool) {
	var p *Problem
	ok := errors.As(err, &p)
	return p, ok
}

func problem(kind ProblemKind, key string) error { return &Problem{Kind: kind, Key: key} }

func invalid(key, field string) error { return &Problem{Kind: Invalid, Key: key, Field: field} }

// orInvalid returns err, or the problem when there's no err.
func orInvalid(err error, key, field string) error {
	if err != nil {
		return err
	}
	return invalid(key, field)
}

// ErrMissing is what a Tx returns when there's no such row.
var ErrMissing = errors.New("coop: no such row")

// ErrStale is what a Tx returns when a row is no longer in the state that the
// caller saw.
var ErrStale = errors.New("coop: the row has changed since it was read")

// missingAs turns "no such row" into the given problem.
func missingAs(err error, key string) error {
	if errors.Is(err, ErrMissing) {
		return problem(NotFound, key)
	}
	return err
}
