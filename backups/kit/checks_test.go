// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func printing(t *testing.T, k, n int) Printing {
	t.Helper()
	p, err := NewPrinting(k, n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCodesAreAskedInOrder(t *testing.T) {
	p := printing(t, 2, 3)
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for n := 1; n <= CodesPerPage; n++ {
		next, err := p.Checks.Next(2)
		if err != nil || next != n || p.Checks.Left(2) != CodesPerPage-n+1 {
			t.Fatalf("next %d, left %d, %v", next, p.Checks.Left(2), err)
		}
		if err := p.Checks.Verify(2, strings.ToLower(p.Papers[1].Codes[n-1]), now); err != nil {
			t.Fatal(err)
		}
		if again := p.Checks.Verify(2, p.Papers[1].Codes[n-1], now); again == nil {
			t.Fatalf("code %d counts twice", n)
		}
		p.Checks = kept(t, p.Checks) // as after a restart
	}
	if _, err := p.Checks.Next(2); problemOf(err).ID != "kit.codes-used-up" {
		t.Errorf("after the last: %v", err)
	}
	if got := p.Checks.Pages[1].Proven; !got.Equal(now) || !p.Checks.Pages[0].Proven.IsZero() {
		t.Errorf("proven %v, page 1 %v", got, p.Checks.Pages[0].Proven)
	}
	if p.Checks.Left(1) != CodesPerPage || p.Checks.Left(9) != 0 {
		t.Error("the other pages have lost codes")
	}
}

func kept(t *testing.T, c Checks) Checks {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeChecks(data)
	if err != nil || !reflect.DeepEqual(c, again) {
		t.Fatalf("%+v was kept as %+v, %v", c, again, err)
	}
	return again
}

func TestCodesThatAreRefused(t *testing.T) {
	p, other := printing(t, 2, 3), printing(t, 2, 3)
	before := kept(t, p.Checks)
	for name, c := range map[string]struct {
		page     int
		code, id string
	}{
		"not the next one":    {1, p.Papers[0].Codes[3], "kit.code-other"},
		"of another page":     {1, p.Papers[1].Codes[0], "kit.code-wrong"},
		"of another printing": {1, other.Papers[0].Codes[0], "kit.code-wrong"},
		"cut off":             {1, p.Papers[0].Codes[0][:6], "kit.code-slip"},
		"nothing":             {1, "", "kit.code-slip"},
		"a book":              {1, strings.Repeat("A", 1<<20), "kit.code-slip"},
		"no letter":           {1, "ABCD-EFG!", "kit.code-slip"},
		"page 0":              {0, p.Papers[0].Codes[0], "kit.no-such-page"},
		"page 4":              {4, p.Papers[0].Codes[0], "kit.no-such-page"},
	} {
		err := p.Checks.Verify(c.page, c.code, time.Now())
		if problemOf(err).ID != c.id || !errors.Is(err, ErrTyped) {
			t.Errorf("%s: %v, want %s", name, err, c.id)
		}
	}
	if !reflect.DeepEqual(before, p.Checks) {
		t.Error("a wrong code changed something")
	}
}

// TestEverySlipOfACode: one wrong character and two changed places are told from
// a code of somewhere else.
func TestEverySlipOfACode(t *testing.T) {
	p := printing(t, 1, 1)
	values, _ := symbols(p.Papers[0].Codes[0])
	try := func(wrong []byte) {
		if err := p.Checks.Verify(1, codeText(wrong), time.Now()); problemOf(err).ID != "kit.code-slip" {
			t.Errorf("%v typed as %v: %v", values, wrong, err)
		}
	}
	for i := range values {
		for v := range byte(32) {
			wrong := bytes.Clone(values)
			wrong[i] = v
			if v != values[i] {
				try(wrong)
			}
		}
		if wrong := bytes.Clone(values); i > 0 && wrong[i] != wrong[i-1] {
			wrong[i], wrong[i-1] = wrong[i-1], wrong[i]
			try(wrong)
		}
	}
}

// TestKeptChecksTellNoCode: what the box keeps has no code in it, and no two
// hashes are the same.
func TestKeptChecksTellNoCode(t *testing.T) {
	p := printing(t, 2, 16)
	data, err := p.Checks.Encode()
	if err != nil || len(data) > maxChecked {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	seen := map[string]bool{}
	for i, paper := range p.Papers {
		for n, code := range paper.Codes {
			if bytes.Contains(data, []byte(code)) || seen[code] {
				t.Errorf("code %s is shown or there twice", code)
			}
			hash := string(p.Checks.Pages[i].Hashes[n])
			if seen[hash] {
				t.Error("a hash is there twice")
			}
			seen[code], seen[hash] = true, true
		}
	}
}

func TestDamagedChecks(t *testing.T) {
	good, err := printing(t, 1, 2).Checks.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"nothing": "", "half": string(good[:len(good)/2]), "two": string(good) + "{}",
		"newer":         strings.Replace(string(good), `"schema":1`, `"schema":2`, 1),
		"unknown field": strings.Replace(string(good), `"schema":1`, `"schema":1,"x":1`, 1),
		"used too many": strings.Replace(string(good), `"used":0`, `"used":99`, 1),
		"no pages":      `{"schema":1,"set":"","salt":"AAAAAAAAAAAAAAAAAAAAAA==","pages":[]}`,
		"far too long":  strings.Repeat(" ", maxChecked+1),
	} {
		if _, err := DecodeChecks([]byte(data)); problemOf(err).ID != "kit.checks-damaged" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
