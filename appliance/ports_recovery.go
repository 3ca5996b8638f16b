// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"time"

	"rochdale/backups"
)

// Shelf keeps small files beside repositories, where the next machine finds them.
type Shelf interface {
	// Get gives a file. The error has [fs.ErrNotExist] in it when there is none, and
	// is the problem kit.shelf-none where the place keeps no files but its own.
	Get(ctx context.Context, r backups.Repository, name string) ([]byte, error)
	// Put makes or replaces a file: the old one or the new one is there afterwards.
	Put(ctx context.Context, r backups.Repository, name string, content []byte) error
}

// KitOrder is what a recovery kit is made of. What is secret in it is read by who
// makes the kit.
type KitOrder struct {
	Recipient     string // the public half of the printed pages
	Serial        int64
	Issued        time.Time
	Epoch         int64 // of this machine, see [Owner]
	Name, Domain  string
	Configuration string // rochdale.yaml
	Repositories  []backups.Repository
	IDs           map[string]string // restic's, by repository, as far as they are known
}

// SealedKit is a kit that only the printed pages open.
type SealedKit struct {
	Serial      int64           `json:"serial"`
	Issued      time.Time       `json:"issued"`
	Fingerprint string          `json:"fingerprint"` // tells nothing of what is in it
	Label       json.RawMessage `json:"label"`       // says which one it is; no secret
	SHA256      string          `json:"sha256"`      // of the File, in hex; the box fills it in
	// Recipient is of the pages that open it; the box fills it in. Empty: nobody noted it.
	Recipient string `json:"recipient,omitempty"`
	// Without are repositories that are not in it: nobody could read what it takes
	// to open them.
	Without []string `json:"without,omitempty"`
	// ByHand is what no kit may bring, "REPOSITORY: WHAT": somebody has to write it on the
	// machine that takes over.
	ByHand []string `json:"by_hand,omitempty"`
	File   []byte   `json:"-"`
}

// PageState is how one printed page is.
type PageState struct {
	Page   int       `json:"page"`
	Next   int       `json:"next"` // number of the check code to ask for; 0: none is left
	Left   int       `json:"left"` // codes that were not used yet
	Proven time.Time `json:"proven,omitzero"`
}

// Kits makes recovery kits and asks the holders of pages; room backups/kit knows how.
type Kits interface {
	// Make makes the kit of an order. One that would say the same as the kit with
	// the fingerprint than is not sealed again: it comes without a File.
	Make(ctx context.Context, o KitOrder, than string) (SealedKit, error)
	// Publish puts the kit beside a repository.
	Publish(ctx context.Context, r backups.Repository, k SealedKit) error
	// Published tells whether this very kit lies whole beside a repository.
	Published(ctx context.Context, r backups.Repository, k SealedKit) (bool, error)
	// Pages reads the kept checks of a printing.
	Pages(checks json.RawMessage) ([]PageState, error)
	// Answer takes the code that a holder has read out, and gives the checks as they
	// are to be kept from now on.
	Answer(checks json.RawMessage, a PageAnswer, at time.Time) (json.RawMessage, error)
}

// PageAnswer is a check code as it was typed.
type PageAnswer struct {
	Page int    `json:"page"`
	Code string `json:"code"`
}
