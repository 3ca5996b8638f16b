// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"regexp"
	"strconv"
	"strings"

	"rochdale/backups"
)

// alphabet is Crockford's: no letter in it looks like another sign in it.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	lineData  = 8            // characters of a line that carry the page
	lineChars = lineData + 2 // and two that check them
	half      = lineChars / 2
)

// numbered is the number that is printed before a line.
var numbered = regexp.MustCompile(`^\s*[0-9]{1,2}\s*[:.)]`)

// symbol gives the value of a character as people type it; -1 when it is none.
func symbol(c rune) int {
	switch c {
	case 'o', 'O':
		return 0
	case 'i', 'I', 'l', 'L':
		return 1
	case 'u', 'U':
		return strings.IndexByte(alphabet, 'V')
	}
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	return strings.IndexRune(alphabet, c)
}

// symbols reads characters; spaces and dashes are for the eye alone. bad is the
// first character that is none of the alphabet.
func symbols(text string) (values []byte, bad string) {
	for _, c := range text {
		if strings.ContainsRune(" \t\r-_–—.", c) {
			continue
		}
		v := symbol(c)
		if v < 0 {
			return nil, string(c)
		}
		values = append(values, byte(v))
	}
	return values, ""
}

func characters(values []byte) string {
	var b strings.Builder
	for i, v := range values {
		if i == half {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[v])
	}
	return b.String()
}

// writeLine adds the two check characters to the data of a line.
func writeLine(number int, data []byte) string {
	high, low := remainder(number, data)
	return characters(append(append([]byte{}, data...), high, low))
}

// readLine gives the data of a line, or a problem that names the line and,
// where it can be told, the character.
func readLine(number int, text string) ([]byte, error) {
	values, bad := symbols(numbered.ReplaceAllString(text, ""))
	if bad != "" {
		return nil, slip("kit.page-letter", "line", number, "letter", bad)
	}
	if len(values) == lineChars+1 && int(values[0]) == number {
		values = values[1:] // the line's number, without a dot
	}
	if len(values) != lineChars {
		return nil, slip("kit.page-length", "line", number, "have", len(values), "want", lineChars)
	}
	if err := checkLine(number, values); err != nil {
		return nil, err
	}
	return values[:lineData], nil
}

// checkLine finds every line in which one or two characters are wrong, and all
// but one in a thousand of those with more.
func checkLine(number int, values []byte) error {
	sum, weighted := byte(number), byte(number)
	for _, v := range values {
		sum ^= v
		weighted = times(weighted, 2) ^ v
	}
	if sum == 0 && weighted == 0 {
		return nil
	}
	// One wrong character of place p from the right makes weighted = 2^p times sum.
	at, ok := logOf(sum, weighted)
	switch {
	case ok && at < lineChars:
		return slip("kit.page-slip-at", "line", number, "place", lineChars-at)
	case ok && at == lineChars && number^int(sum) >= 1 && number^int(sum) <= pageLines:
		return slip("kit.page-line-order", "line", number, "other", number^int(sum))
	default:
		return slip("kit.page-slip", "line", number)
	}
}

// remainder gives the check characters: with the line's number as first one, a
// line is a word of the Reed-Solomon code over 32 elements (x^5 + x^2 + 1) with
// the roots 1 and 2.
func remainder(number int, data []byte) (high, low byte) {
	step := func(v byte) {
		back := v ^ high
		high, low = low^times(back, 3), times(back, 2)
	}
	step(byte(number))
	for _, v := range data {
		step(v)
	}
	return high, low
}

// times multiplies in the field of 32 elements.
func times(a, b byte) (product byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		a <<= 1
		if a&32 != 0 {
			a ^= 0b100101
		}
	}
	return product
}

// logOf gives the power p for which b = 2^p times a, if there is one.
func logOf(a, b byte) (p int, ok bool) {
	if a == 0 || b == 0 {
		return 0, false
	}
	for a != b {
		a = times(a, 2)
		p++
	}
	return p, true
}

func slip(id string, pairs ...any) error {
	args := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		switch v := pairs[i+1].(type) {
		case int:
			args[name] = strconv.Itoa(v)
		case string:
			args[name] = v
		}
	}
	return &backups.Problem{ID: id, Args: args, Err: ErrTyped}
}
