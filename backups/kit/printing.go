// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

// Printing is what one act of printing makes: paper for the holders, and what
// the box keeps. The secret itself is forgotten.
type Printing struct {
	Recipient string // seals kits for these pages
	Checks    Checks // asks the holders of these pages
	Papers    []Paper
}

// Paper is one page with its check codes. It is for one holder alone: print it,
// and keep it nowhere.
type Paper struct {
	Page  Page
	Codes []string
}

// NewPrinting makes n pages, any k of which open the kits that are sealed from
// now on. Pages of an earlier printing open the kits of their time.
func NewPrinting(k, n int) (Printing, error) {
	s := NewSecret()
	pages, err := s.Split(k, n)
	if err != nil {
		return Printing{}, err
	}
	recipient, err := s.Recipient()
	if err != nil {
		return Printing{}, err
	}
	checks, codes, err := newChecks(pages[0].Set, n)
	if err != nil {
		return Printing{}, err
	}
	p := Printing{Recipient: recipient, Checks: checks}
	for i, page := range pages {
		p.Papers = append(p.Papers, Paper{Page: page, Codes: codes[i]})
	}
	return p, nil
}
