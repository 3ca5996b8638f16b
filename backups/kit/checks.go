// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"rochdale/backups"
)

// CodesPerPage is how many check codes are printed on a page. Asked twice a
// year they last for six.
const CodesPerPage = 12

const (
	codeData   = 7            // random characters of a code: 35 bits
	codeChars  = codeData + 1 // and one that checks them
	saltBytes  = 16
	maxChecked = 256 << 10 // bytes of the checks as kept
)

// Checks is what a box keeps to ask the holders of pages, now and then, whether
// they still have theirs: of each code that is printed on a page a salted hash.
//
// The codes are random and have nothing to do with the share beside them. Any
// proof that is made from the share would need a computer at the holder's, or
// would tell the box, bit by bit, what must stay on paper; a code that is read
// out tells nothing and is worth nothing afterwards. They are short: somebody
// who has stolen the hashes can guess codes, and gains a wrong "yes, I still
// have it"; the box's own root could answer that anyway. Codes are never printed
// again without their page, or they would prove that somebody has the codes.
type Checks struct {
	Schema int          `json:"schema"`
	Set    string       `json:"set"` // of the pages, in hex
	Salt   []byte       `json:"salt"`
	Pages  []PageChecks `json:"pages"` // by number, the first is page 1
}

// PageChecks is what a box keeps of one page.
type PageChecks struct {
	Hashes [][]byte  `json:"hashes"` // of its codes, in the order in which they are asked
	Used   int       `json:"used"`   // as many were given
	Proven time.Time `json:"proven"` // when the last one was; zero for never
}

// newChecks makes codes for n pages: the hashes to keep, and by page the codes
// to print.
func newChecks(set [3]byte, n int) (Checks, [][]string, error) {
	c := Checks{Schema: Schema, Set: hex.EncodeToString(set[:]), Salt: make([]byte, saltBytes), Pages: make([]PageChecks, n)}
	if _, err := rand.Read(c.Salt); err != nil {
		return Checks{}, nil, fmt.Errorf("random bytes: %w", err)
	}
	printed := make([][]string, n)
	for page := range n {
		for number := range CodesPerPage {
			code, err := newCode()
			if err != nil {
				return Checks{}, nil, err
			}
			printed[page] = append(printed[page], code)
			c.Pages[page].Hashes = append(c.Pages[page].Hashes, c.hash(page+1, number+1, code))
		}
	}
	return c, printed, nil
}

func newCode() (string, error) {
	var code [codeChars]byte
	if _, err := rand.Read(code[:codeData]); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	for i := range code {
		code[i] &= 31
	}
	code[codeData] = codeCheck(code[:codeData])
	return codeText(code[:]), nil
}

func codeText(values []byte) string {
	text := make([]byte, 0, codeChars+1)
	for i, v := range values {
		if i == codeChars/2 {
			text = append(text, '-')
		}
		text = append(text, alphabet[v])
	}
	return string(text)
}

// codeCheck weighs each character by another number: it finds one that is wrong
// and two that changed places.
func codeCheck(values []byte) (sum byte) {
	for _, v := range values {
		sum = times(sum^v, 2)
	}
	return sum
}

func (c Checks) hash(page, number int, code string) []byte {
	h := hmac.New(sha256.New, c.Salt)
	fmt.Fprintf(h, "rochdale check code\n%s\n%d\n%d\n%s", c.Set, page, number, code)
	return h.Sum(nil)
}

// Next gives the number of the code that is to be asked of a page, from 1.
func (c *Checks) Next(page int) (number int, err error) {
	p, err := c.page(page)
	if err != nil {
		return 0, err
	}
	if p.Used >= len(p.Hashes) {
		return 0, slip("kit.codes-used-up", "page", page)
	}
	return p.Used + 1, nil
}

// Left is how many codes a page still has.
func (c *Checks) Left(page int) int {
	p, err := c.page(page)
	if err != nil {
		return 0
	}
	return len(p.Hashes) - p.Used
}

func (c *Checks) page(number int) (*PageChecks, error) {
	if number < 1 || number > len(c.Pages) {
		return nil, slip("kit.no-such-page", "page", number, "of", len(c.Pages))
	}
	return &c.Pages[number-1], nil
}

// Verify takes the code that [Checks.Next] asked for. When it is right the code
// is used up and the page proven at now: keep c durably before saying so. The
// caller bounds how often somebody may try.
func (c *Checks) Verify(page int, typed string, now time.Time) error {
	number, err := c.Next(page)
	if err != nil {
		return err
	}
	code, err := readCode(typed)
	if err != nil {
		return err
	}
	right := 0
	for n := range c.Pages[page-1].Hashes { // all of them: how long it takes tells nothing
		if hmac.Equal(c.Pages[page-1].Hashes[n], c.hash(page, n+1, code)) {
			right = n + 1
		}
	}
	switch right {
	case number:
		c.Pages[page-1].Used, c.Pages[page-1].Proven = number, now
		return nil
	case 0:
		return slip("kit.code-wrong", "page", page, "number", number)
	default:
		return slip("kit.code-other", "page", page, "number", number, "given", right)
	}
}

// readCode tells a slip of the hand from a code of another page.
func readCode(typed string) (string, error) {
	values, bad := symbols(typed[:min(len(typed), maxTyped)])
	if bad != "" || len(values) != codeChars || codeCheck(values[:codeData]) != values[codeData] {
		return "", slip("kit.code-slip")
	}
	return codeText(values), nil
}

// Encode gives the checks as they are kept.
func (c Checks) Encode() ([]byte, error) { return json.Marshal(c) }

// DecodeChecks reads kept checks strictly.
func DecodeChecks(data []byte) (Checks, error) {
	var c Checks
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if len(data) > maxChecked {
		return Checks{}, badChecks(fmt.Errorf("they have %d bytes", len(data)))
	}
	if err := d.Decode(&c); err != nil {
		return Checks{}, badChecks(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Checks{}, badChecks(errors.New("something follows the document"))
	}
	if c.Schema != Schema || len(c.Salt) != saltBytes || len(c.Pages) == 0 || len(c.Pages) > maxPages {
		return Checks{}, badChecks(fmt.Errorf("schema %d, %d pages", c.Schema, len(c.Pages)))
	}
	for i, p := range c.Pages {
		if p.Used < 0 || p.Used > len(p.Hashes) {
			return Checks{}, badChecks(fmt.Errorf("page %d: %d codes used of %d", i+1, p.Used, len(p.Hashes)))
		}
	}
	return c, nil
}

func badChecks(cause error) error { return &backups.Problem{ID: "kit.checks-damaged", Err: cause} }
