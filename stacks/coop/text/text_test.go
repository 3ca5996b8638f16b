// SPDX-License-Identifier: AGPL-3.0-or-later

package text

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func catalogues(t *testing.T) Catalogues {
	t.Helper()
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSameKeys: every text is there in every language, with the same blanks.
func TestSameKeys(t *testing.T) {
	c := catalogues(t)
	blanks := regexp.MustCompile(`\{[a-z]+\}`)
	sorted := func(s string) []string { return slices.Sorted(slices.Values(blanks.FindAllString(s, -1))) }
	for _, lang := range Langs() {
		for _, other := range Langs() {
			for key, text := range c.Keys(lang) {
				twin, ok := c.Keys(other)[key]
				if !ok {
					t.Errorf("%s has %q and %s hasn't", lang, key, other)
				} else if !slices.Equal(sorted(text), sorted(twin)) {
					t.Errorf("%q: the blanks in %s and %s differ: %q, %q", key, lang, other, text, twin)
				}
				if strings.TrimSpace(text) == "" {
					t.Errorf("%s: %q is empty", lang, key)
				}
			}
		}
	}
}

// TestEveryKeyIsThere reads the pages and the rules for the keys that they name.
func TestEveryKeyIsThere(t *testing.T) {
	c := catalogues(t)
	known := c.Keys("en")
	found := 0
	check := func(name, key string) {
		found++
		if _, ok := known[key]; !ok {
			t.Errorf("%s: there's no text for %q", name, key)
		}
	}
	inPages := regexp.MustCompile(`\.T "([a-z_.]+)"|\.Field "[a-z]+" "([a-z_.]+)"`)
	inCode := regexp.MustCompile(`say\(r, who, "([a-z_.]+)"`)
	problems := regexp.MustCompile(`(?:problem\([A-Za-z]+, |invalid\(|orProblem\([^"]+, |missingAs\(err, |Key: +)"([a-z_]+)"`)
	each(t, "..", func(name, body string) {
		for _, m := range inPages.FindAllStringSubmatch(body, -1) {
			check(name, m[1]+m[2])
		}
		for _, m := range inCode.FindAllStringSubmatch(body, -1) {
			check(name, m[1])
		}
		for _, m := range problems.FindAllStringSubmatch(body, -1) {
			check(name, "problem."+m[1])
			check(name, "problem."+m[1]+".fix")
		}
	})
	if found < 250 {
		t.Errorf("only %d uses of texts were found; do the patterns still fit?", found)
	}
}

func each(t *testing.T, root string, do func(name, body string)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || (!strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".html")) {
			return err
		}
		body, err := os.ReadFile(root + "/" + path)
		do(path, string(body))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPick(t *testing.T) {
	c := catalogues(t)
	for header, want := range map[string]string{
		"": "en", "de": "en", "fr": "fr", "es-MX,es;q=0.9,en;q=0.8": "es", "de-DE, fr;q=0.5, en;q=0.7": "en", "fr;q=x,es;q=0.1": "es", strings.Repeat("de,", 50) + "fr": "en",
	} {
		if got := c.Pick(header, "en"); got != want {
			t.Errorf("%q: %s and not %s", header, got, want)
		}
	}
}

func TestMoney(t *testing.T) {
	for _, c := range []struct{ lang, amount, unit, want string }{
		{"en", "37.05", "EUR", "€37.05"}, {"es", "37.05", "EUR", "37,05\u00a0€"}, {"fr", "-1.00", "USD", "−1,00\u00a0$"},
		{"en", "5", "XOF", "XOF\u00a05"}, {"fr", "5", "XOF", "5\u00a0XOF"},
	} {
		if got := Money(c.lang, c.amount, c.unit); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestT(t *testing.T) {
	c := catalogues(t)
	if got := c.T("fr", "orders.number", "number", "7"); got != "Commande 7" {
		t.Error(got)
	}
	if got := c.T("en", "no.such.key"); got != "no.such.key" {
		t.Error(got)
	}
}
