// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func split(t interface {
	Helper()
	Fatal(args ...any)
}, k, n int) (Secret, []Page) {
	t.Helper()
	s := NewSecret()
	pages, err := s.Split(k, n)
	if err != nil {
		t.Fatal(err)
	}
	return s, pages
}

func linesOf(t interface {
	Helper()
	Fatal(args ...any)
}, p Page) []string {
	t.Helper()
	lines, err := p.Lines()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func same(a, b Page) bool {
	return a.Set == b.Set && a.Key == b.Key && a.Need == b.Need && a.Of == b.Of && a.Index == b.Index && a.value.IsEqual(b.value)
}

func TestPagesAreReadAsPrinted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, maxPages).Draw(t, "n")
		_, pages := split(t, rapid.IntRange(1, n).Draw(t, "k"), n)
		for _, p := range pages {
			lines := linesOf(t, p)
			if len(lines) != pageLines {
				t.Fatalf("%d lines", len(lines))
			}
			for _, how := range []string{"\n", "\r\n", "\n\n", " ", ""} {
				got, err := ReadPage(strings.Join(lines, how))
				if err != nil || !same(p, got) {
					t.Fatalf("by %q: %v, %v", how, got, err)
				}
			}
		}
	})
}

// TestEverySlipOfAPageIsNamed mistypes every character of a page once.
func TestEverySlipOfAPageIsNamed(t *testing.T) {
	_, pages := split(t, 2, 3)
	text := strings.Join(linesOf(t, pages[1]), "\n")
	line := 1
	for i, c := range text {
		if c == '\n' {
			line++
		}
		if c == '\n' || c == '-' {
			continue
		}
		next := alphabet[(strings.IndexRune(alphabet, c)+13)%32]
		_, err := ReadPage(text[:i] + string(next) + text[i+1:])
		if p := problemOf(err); p.ID != "kit.page-slip-at" || p.Args["line"] != strconv.Itoa(line) {
			t.Errorf("place %d: %v", i, err)
		}
	}
}

func TestLinesOfTwoPages(t *testing.T) {
	_, pages := split(t, 2, 3)
	_, others := split(t, 2, 3)
	for name, other := range map[string]Page{"of one set": pages[1], "of another": others[0]} {
		first, second := linesOf(t, pages[0]), linesOf(t, other)
		for i := range first {
			if first[i] == second[i] {
				continue
			}
			mixed := append(append(append([]string{}, first[:i]...), second[i]), first[i+1:]...)
			if _, err := ReadPage(strings.Join(mixed, "\n")); problemOf(err).ID != "kit.page-mixed" {
				t.Errorf("%s, line %d: %v", name, i+1, err)
			}
		}
	}
}

func TestPagesThatAreNone(t *testing.T) {
	_, pages := split(t, 1, 1)
	lines := linesOf(t, pages[0])
	all := strings.Join(lines, "\n")
	for name, c := range map[string]struct{ typed, id string }{
		"nothing":                      {"", "kit.page-lines"},
		"blank lines":                  {"\n \n\t\n", "kit.page-lines"},
		"a line less":                  {strings.Join(lines[1:], "\n"), "kit.page-lines"},
		"a line more":                  {all + "\n" + lines[0], "kit.page-lines"},
		"a book":                       {strings.Repeat(all+"\n", 1000), "kit.page-lines"},
		"all in one, a character less": {strings.ReplaceAll(all, "\n", "")[1:], "kit.page-lines"},
		"two changed places":           {strings.Join(append([]string{lines[1], lines[0]}, lines[2:]...), "\n"), "kit.page-line-order"},
	} {
		if _, err := ReadPage(c.typed); problemOf(err).ID != c.id || !errors.Is(err, ErrTyped) {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
}

// TestPagesOfAnotherProgram are whole and make no sense to this one.
func TestPagesOfAnotherProgram(t *testing.T) {
	_, pages := split(t, 2, 3)
	for name, c := range map[string]struct {
		change func(raw []byte)
		id     string
	}{
		"a newer version":         {func(raw []byte) { raw[0] = 2<<4 | raw[0]&15 }, "kit.page-newer"},
		"more needed than pages":  {func(raw []byte) { raw[0] = 1<<4 | 5 }, "kit.page-mixed"},
		"a page beyond the last":  {func(raw []byte) { raw[1] = 2<<4 | 3 }, "kit.page-mixed"},
		"a share out of range":    {func(raw []byte) { raw[40] = 0xff }, "kit.page-mixed"},
		"what it was, unchanged":  {func([]byte) {}, ""},
		"another set, undamaged":  {func(raw []byte) { raw[2]++ }, ""},
		"the order itself is out": {func(raw []byte) { copy(raw[9:], order(t)) }, "kit.page-mixed"},
	} {
		raw, err := pages[0].encode()
		if err != nil {
			t.Fatal(err)
		}
		body := raw[:pageBytes-sumBytes]
		c.change(body)
		if _, err := decodePage(append(body, pageSum(body)...)); problemOf(err).ID != c.id {
			t.Errorf("%s: %v, want %q", name, err, c.id)
		}
	}
}

// TestNothingIsShown: neither a page nor a secret shows itself in a log.
func TestNothingIsShown(t *testing.T) {
	s, pages := split(t, 1, 1)
	identity, err := s.Identity()
	if err != nil {
		t.Fatal(err)
	}
	value := fmt.Sprint(pages[0].value)
	if len(identity) < 70 || len(value) < 60 {
		t.Fatalf("%q, %q", identity, value)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown := fmt.Sprintf(verb, s) + fmt.Sprintf(verb, pages[0]) + fmt.Sprintf(verb, []Page{pages[0]}) + fmt.Sprintf(verb, Paper{Page: pages[0]})
		if strings.Contains(shown, value[2:20]) || strings.Contains(shown, identity[20:40]) || strings.Contains(shown, "0x") {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

// FuzzReadPage: whatever is typed, the answer is a page that prints as what was
// typed, or a problem for a person.
func FuzzReadPage(f *testing.F) {
	_, pages := split(f, 2, 3)
	text := strings.Join(linesOf(f, pages[0]), "\n")
	for _, seed := range []string{"", text, strings.ToLower(text), text[:40], strings.ReplaceAll(text, "\n", ""), "1. " + text, "\xff\xfe"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		p, err := ReadPage(typed)
		if err != nil {
			if problemOf(err).ID == "" {
				t.Fatalf("no words for a person: %v", err)
			}
			return
		}
		again, err := ReadPage(strings.Join(linesOf(t, p), " "))
		if err != nil || !same(p, again) {
			t.Fatalf("%q: %v, %v", typed, again, err)
		}
	})
}
