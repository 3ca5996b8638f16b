// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "time"

// Release is what a stack runs: one bundle on one generation of its data. The
// one row of a stack in state, and nothing else, says what runs.
type Release struct {
	Stack      string    `json:"stack"`
	Digest     string    `json:"digest"`  // of the bundle, "sha256:..."
	Version    string    `json:"version"` // a label for people
	Generation int64     `json:"generation"`
	Committed  time.Time `json:"committed,omitzero"`
	// Stopped is true while the stack is wanted down: its containers were
	// removed on purpose, its data stays.
	Stopped bool `json:"stopped,omitempty"`
	// Settings is the fingerprint of the box's settings (address, language)
	// that its containers were started with. Another one means: swap them.
	Settings string `json:"settings,omitempty"`
}
