// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rochdale/backups"
)

func problemOf(err error) *backups.Problem {
	var p *backups.Problem
	if errors.As(err, &p) {
		return p
	}
	return &backups.Problem{}
}

func lineOf(t interface{ Helper() }, number int, seed byte) string {
	t.Helper()
	data := make([]byte, lineData)
	for i := range data {
		data[i] = (seed*7 + byte(i)*11) & 31
	}
	return writeLine(number, data)
}

// TestField: 2 makes every element but 0, and logOf is the way back.
func TestField(t *testing.T) {
	v := byte(1)
	seen := map[byte]bool{}
	for p := range 31 {
		if got, ok := logOf(1, v); !ok || got != p {
			t.Errorf("log of %d: %d, %v", v, got, ok)
		}
		seen[v] = true
		v = times(v, 2)
	}
	if len(seen) != 31 || v != 1 || seen[0] {
		t.Errorf("2 makes %d elements", len(seen))
	}
}

// TestKnownLines are worked out by hand: the check characters of all zeros, and
// of a lone 1 before them, which is the remainder of x^2 alone.
func TestKnownLines(t *testing.T) {
	for want, c := range map[string]struct {
		number int
		last   byte
	}{
		"00000-00000": {0, 0},
		"00000-00132": {0, 1}, // x^2 = 3x + 2
	} {
		data := make([]byte, lineData)
		data[lineData-1] = c.last
		if got := writeLine(c.number, data); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestEverySlipIsNamed mistypes every character of a line as every other one.
func TestEverySlipIsNamed(t *testing.T) {
	for number := 1; number <= pageLines; number++ {
		line := lineOf(t, number, byte(number))
		if err := ReadLine(number, line); err != nil {
			t.Fatal(err)
		}
		plain := strings.ReplaceAll(line, "-", "")
		for i := range plain {
			for _, c := range alphabet {
				if byte(c) == plain[i] {
					continue
				}
				p := problemOf(ReadLine(number, plain[:i]+string(c)+plain[i+1:]))
				if p.ID != "kit.page-slip-at" || p.Args["line"] != strconv.Itoa(number) || p.Args["place"] != strconv.Itoa(i+1) {
					t.Fatalf("line %d, character %d: %v", number, i+1, p)
				}
			}
		}
	}
}

// TestTwoSlipsAreFound: any two wrong characters, changed places among them.
func TestTwoSlipsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.IntRange(1, pageLines).Draw(t, "number")
		values, _ := symbols(lineOf(t, number, rapid.Byte().Draw(t, "seed")))
		wrong := bytes.Clone(values)
		for range 2 {
			wrong[rapid.IntRange(0, lineChars-1).Draw(t, "place")] = rapid.ByteRange(0, 31).Draw(t, "value")
		}
		err := ReadLine(number, characters(wrong))
		if same := bytes.Equal(values, wrong); same != (err == nil) {
			t.Fatalf("%v typed as %v: %v", values, wrong, err)
		}
		if err != nil && problemOf(err).Args["line"] != strconv.Itoa(number) {
			t.Fatalf("another line is named: %v", err)
		}
	})
}

// TestAnotherLineIsSeen types every line in the place of every other one.
func TestAnotherLineIsSeen(t *testing.T) {
	for typed := 1; typed <= pageLines; typed++ {
		for place := 1; place <= pageLines; place++ {
			p := problemOf(ReadLine(place, lineOf(t, typed, 3)))
			if typed != place && (p.ID != "kit.page-line-order" || p.Args["other"] != strconv.Itoa(typed)) {
				t.Errorf("line %d as line %d: %v", typed, place, p)
			}
		}
	}
}

// TestTyping: what a person may type for a line.
func TestTyping(t *testing.T) {
	line := writeLine(4, []byte{0, 1, 27, 10, 0, 1, 31, 20})
	if line != "01VA0-1ZMGE" {
		t.Fatal(line)
	}
	for _, typed := range []string{
		line, strings.ToLower(line), "01VA01ZMGE", "01 VA0 1Z M GE", " 01va0 - 1zmge\t", "OIUA0-LZMGE", "olva0-izmge",
		"4. " + line, "4: " + line, "4) " + line, " 4 " + line, "01VA0–1ZMGE",
	} {
		if err := ReadLine(4, typed); err != nil {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for typed, id := range map[string]string{
		"":                "kit.page-length",
		"01VA0-1ZMG":      "kit.page-length",
		"01VA0-1ZMGEE":    "kit.page-length",
		"01VA0-1ZMG!":     "kit.page-letter",
		"01VA0-1ZMGé":     "kit.page-letter",
		"10VA0-1ZMGE":     "kit.page-slip",
		"01VA0-1ZMGG":     "kit.page-slip-at",
		"\xff1VA0-1ZMGEE": "kit.page-letter",
	} {
		err := ReadLine(4, typed)
		if p := problemOf(err); p.ID != id || p.Args["line"] != "4" || !errors.Is(err, ErrTyped) {
			t.Errorf("%q: %v, want %s", typed, err, id)
		}
	}
}
