// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"rochdale/backups"
)

// Split gives n pages, any k of which give the secret back; fewer tell nothing
// about it. With k = 1 each page has the whole secret.
func (s Secret) Split(k, n int) ([]Page, error) {
	if k < 1 || k > n || n > maxPages {
		return nil, slip("kit.split", "need", k, "of", n, "most", maxPages)
	}
	recipient, err := s.Recipient()
	if err != nil {
		return nil, err
	}
	blank := Page{Key: KeyID(recipient), Need: k, Of: n}
	if _, err := rand.Read(blank.Set[:]); err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}
	shares := secretsharing.New(rand.Reader, uint(k-1), s.scalar).Share(uint(n))
	pages := make([]Page, n)
	for i, share := range shares {
		pages[i] = blank
		pages[i].Index, pages[i].value = i+1, share.Value
	}
	return pages, nil
}

// Hand is the pages that were typed so far.
type Hand struct{ pages []Page }

// Add takes a page that belongs to those that are there.
func (h *Hand) Add(p Page) error {
	for _, have := range h.pages {
		if have.Set != p.Set || have.Key != p.Key || have.Need != p.Need || have.Of != p.Of {
			return slip("kit.pages-mixed", "page", p.Index, "first", h.pages[0].Index)
		}
		if have.Index == p.Index {
			return slip("kit.pages-twice", "page", p.Index)
		}
	}
	h.pages = append(h.pages, p)
	return nil
}

// Missing is how many pages are still to be typed; with none typed yet it is 1,
// since nobody knows.
func (h *Hand) Missing() int {
	if len(h.pages) == 0 {
		return 1
	}
	return max(0, h.pages[0].Need-len(h.pages))
}

// Empty tells whether there is no page yet: then nobody knows how many are needed.
func (h *Hand) Empty() bool { return len(h.pages) == 0 }

// Secret puts the pages together.
func (h *Hand) Secret() (Secret, error) {
	if n := h.Missing(); n > 0 {
		return Secret{}, slip("kit.pages-too-few", "missing", n)
	}
	shares := make([]secretsharing.Share, len(h.pages))
	for i, p := range h.pages {
		shares[i] = secretsharing.Share{ID: group.Ristretto255.NewScalar().SetUint64(uint64(p.Index)), Value: p.value}
	}
	scalar, err := secretsharing.Recover(uint(h.pages[0].Need-1), shares)
	if err != nil {
		return Secret{}, wrongPages(err)
	}
	s := Secret{scalar}
	recipient, err := s.Recipient()
	if err != nil {
		return Secret{}, wrongPages(err)
	}
	if KeyID(recipient) != h.pages[0].Key {
		return Secret{}, wrongPages(errors.New("the secret is not the one that the pages name"))
	}
	return s, nil
}

func wrongPages(cause error) error { return &backups.Problem{ID: "kit.pages-wrong", Err: cause} }
