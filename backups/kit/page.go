// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudflare/circl/group"
)

// ErrTyped is in the chain of problems with what somebody typed: asking again is
// the way on.
var ErrTyped = errors.New("it is not as printed")

const (
	pageVersion = 1
	pageLines   = 9
	pageBytes   = pageLines * lineData * 5 / 8 // 45
	sumBytes    = 4
	maxPages    = 16
	maxTyped    = 4 << 10 // bytes of a page as typed
)

// Page is one printed page: a share of a secret. It prints without it.
type Page struct {
	Set   [3]byte // of one printing; random
	Key   [4]byte // [KeyID] of the recipient whose kits it opens
	Need  int     // as many pages of the set open a kit
	Of    int     // as many were printed
	Index int     // which one this is, from 1
	value group.Scalar
}

// Format implements [fmt.Formatter]: the share is never shown by mistake.
func (p Page) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "[page %d of %d, set %x]", p.Index, p.Of, p.Set[:])
}

// Lines writes the page for people: 9 lines of 10 characters, in two groups.
//
// The first 8 characters of each line are 40 bits in Crockford's base 32, the
// last 2 check the line and its number. All lines together are 45 bytes:
//
//	version 1 and need-1, 4 bits each
//	of-1 and index-1, 4 bits each
//	set, 3 bytes
//	key, 4 bytes
//	the share, 32 bytes, little-endian
//	the first 4 bytes of SHA-256("rochdale recovery page\n" + all before)
func (p Page) Lines() ([]string, error) {
	raw, err := p.encode()
	if err != nil {
		return nil, err
	}
	data := fives(raw)
	lines := make([]string, pageLines)
	for i := range lines {
		lines[i] = writeLine(i+1, data[i*lineData:(i+1)*lineData])
	}
	return lines, nil
}

func (p Page) encode() ([]byte, error) {
	value, err := p.value.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("the page's share: %w", err)
	}
	raw := []byte{pageVersion<<4 | byte(p.Need-1), byte(p.Of-1)<<4 | byte(p.Index-1)}
	raw = append(append(append(raw, p.Set[:]...), p.Key[:]...), value...)
	return append(raw, pageSum(raw)...), nil
}

func pageSum(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte("rochdale recovery page\n"), raw...))
	return sum[:sumBytes]
}

// ReadLine tells whether one line of a page, counted from 1, is as printed. A
// prompt asks it line by line.
func ReadLine(number int, text string) error {
	_, err := readLine(number, text)
	return err
}

// ReadPage reads a page as somebody typed it: its lines, or all of them in one.
// Small letters, spaces and dashes make no difference, nor do O for 0 and I or L
// for 1. Problems name the line.
func ReadPage(typed string) (Page, error) {
	lines := typedLines(typed[:min(len(typed), maxTyped)])
	if len(lines) != pageLines {
		return Page{}, slip("kit.page-lines", "have", len(lines), "want", pageLines)
	}
	var data []byte
	for i, line := range lines {
		part, err := readLine(i+1, line)
		if err != nil {
			return Page{}, err
		}
		data = append(data, part...)
	}
	return decodePage(bytesOf(data))
}

// typedLines parts what was typed; one long line is cut where lines end.
func typedLines(typed string) []string {
	var lines []string
	for line := range strings.Lines(typed) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		return lines
	}
	values, bad := symbols(lines[0])
	if bad != "" || len(values) != pageLines*lineChars {
		return lines
	}
	lines = nil
	for i := 0; i < len(values); i += lineChars {
		lines = append(lines, characters(values[i:i+lineChars]))
	}
	return lines
}

// bytesOf puts groups of five bits together; pages leave none over.
func bytesOf(fives []byte) []byte {
	var out []byte
	acc, bits := uint(0), 0
	for _, v := range fives {
		acc, bits = acc<<5|uint(v), bits+5
		if bits >= 8 {
			bits -= 8
			out = append(out, byte(acc>>bits))
		}
	}
	return out
}

func decodePage(raw []byte) (Page, error) {
	body, sum := raw[:pageBytes-sumBytes], raw[pageBytes-sumBytes:]
	if !bytes.Equal(pageSum(body), sum) {
		return Page{}, slip("kit.page-mixed")
	}
	if version := int(body[0] >> 4); version != pageVersion {
		return Page{}, slip("kit.page-newer", "version", version)
	}
	p := Page{
		Set: [3]byte(body[2:5]), Key: [4]byte(body[5:9]),
		Need: int(body[0]&15) + 1, Of: int(body[1]>>4) + 1, Index: int(body[1]&15) + 1,
		value: group.Ristretto255.NewScalar(),
	}
	if p.Need > p.Of || p.Index > p.Of || p.value.UnmarshalBinary(body[9:]) != nil {
		return Page{}, slip("kit.page-mixed")
	}
	return p, nil
}
