// SPDX-License-Identifier: AGPL-3.0-or-later

package web_test

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a test flag

// TestGolden compares every page in every state with how it is meant to be.
func TestGolden(t *testing.T) {
	told := map[string]bool{}
	for _, p := range story(t, "en") {
		file := filepath.Join("testdata", "golden", p.name+".html")
		told[p.name+".html"] = true
		got := steady(p)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%v; look at the page, then run go test -run Golden -update", err)
		} else if got != string(want) {
			t.Errorf("%s isn't as in %s:\n%s", p.name, file, difference(got, string(want)))
		}
		for _, fault := range faults(p.body, "en") {
			t.Errorf("%s: %s", p.name, fault)
		}
	}
	files, err := filepath.Glob("testdata/golden/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !told[filepath.Base(f)] {
			t.Errorf("no page is compared with %s", f)
		}
	}
}

// steady puts names in the place of what differs from one telling to the next.
func steady(p page) string {
	s := regexp.MustCompile(`/style-[0-9a-f]+\.css`).ReplaceAllString(p.body, "/style.css")
	s = regexp.MustCompile(`/(join|reset)/[\w-]{43}`).ReplaceAllString(s, "/$1/TOKEN")
	s = regexp.MustCompile(`<code>[0-9a-f]{64}</code>`).ReplaceAllString(s, "<code>HASH</code>")
	s = regexp.MustCompile(`(data-pin="|class="pin">)\d{4}`).ReplaceAllString(s, "${1}PIN")
	var ids []string
	for _, id := range regexp.MustCompile(`\b0[0-9A-HJKMNP-TV-Z]{25}\b`).FindAllString(s, -1) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for i, id := range ids {
		s = strings.ReplaceAll(s, id, fmt.Sprintf("ID%d", i+1))
		s = regexp.MustCompile(`\b`+id[21:]+`\b`).ReplaceAllString(s, fmt.Sprintf("N%d", i+1))
	}
	return fmt.Sprintf("<!-- %d -->\n%s", p.status, s)
}

// difference is the first line that differs.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got  %s\n want %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines and not %d", len(g), len(w))
}

// TestFirstLoad: a page with its style sheet, compressed as the edge does it, fits
// in 15 KB, so that it's there soon on a bad connection.
func TestFirstLoad(t *testing.T) {
	css, err := os.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range story(t, "en") {
		if n := packed(t, []byte(p.body)) + packed(t, css); n > 15<<10 {
			t.Errorf("%s takes %d bytes", p.name, n)
		}
	}
}

func packed(t *testing.T, b []byte) int {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
