// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/installer"
)

func TestDurationAndBytes(t *testing.T) {
	for d, want := range map[time.Duration]string{time.Second: "1 s", 59*time.Second + 600*time.Millisecond: "1 min 0 s", 125 * time.Second: "2 min 5 s"} {
		if got := duration(d); got != want {
			t.Errorf("duration(%v) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1500: "2 kB", 41_600_000: "42 MB", 2_250_000_000: "2.2 GB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	a, _ := testApp(false, nil, "--lang", "en")
	if err := newRootCommand(a).ParseFlags([]string{"--lang", "en"}); err != nil {
		t.Fatal(err)
	}
	a.printer.configure(a.flags)
	for d, want := range map[time.Duration]string{59 * time.Second: "0 min", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 75 * time.Hour: "3 days"} {
		if got := a.age(d); got != want {
			t.Errorf("age(%v) = %q, want %q", d, got, want)
		}
	}
}

// TestInstalled: the last words of an installation are what one needs next.
func TestInstalled(t *testing.T) {
	a, out := testApp(false, nil, "--lang", "en")
	if err := newRootCommand(a).ParseFlags([]string{"--lang", "en"}); err != nil {
		t.Fatal(err)
	}
	a.printer.configure(a.flags)
	r := installer.Result{URL: "https://box.lan/", RootURL: "http://box.lan/rochdale-root.crt", AdminLink: "https://box.lan/join/x"}
	if err := a.installed(&r); err != nil {
		t.Fatal(err)
	}
	said := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{r.URL, r.RootURL, r.AdminLink, "rochdale status"} {
		if len(said) != 4 || !strings.Contains(said[i], want) {
			t.Fatalf("line %d of these does not name %s:\n%s", i+1, want, out)
		}
	}
}

func TestSinceTime(t *testing.T) {
	now := time.Date(2027, 1, 31, 18, 0, 0, 0, time.FixedZone("", 3600))
	cases := map[string]string{
		"": "", "90m": "2027-01-31T16:30:00+01:00", "2027-01-30": "2027-01-30T00:00:00+01:00",
		"2027-01-30 07:15": "2027-01-30T07:15:00+01:00", "2027-01-30 07:15:10": "2027-01-30T07:15:10+01:00",
		"2027-01-30T07:15:10Z": "2027-01-30T07:15:10Z",
	}
	for in, want := range cases {
		at, err := sinceTime(in, now)
		got := ""
		if !at.IsZero() {
			got = at.Format(time.RFC3339)
		}
		if err != nil || got != want {
			t.Errorf("sinceTime(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"yesterday", "-1h", "2027-13-01"} {
		if _, err := sinceTime(in, now); appliance.ExitCode(err) != appliance.ExitUsage {
			t.Errorf("sinceTime(%q): %v", in, err)
		}
	}
}

func TestWantedHosts(t *testing.T) {
	now := appliance.StackConfig{Domain: "old.example", Aliases: []string{"www.old.example"}}
	cases := []struct {
		name    string
		options hostOptions
		aliases bool
		want    string
	}{
		{"a new domain keeps the old one pointing", hostOptions{domain: "new.example"}, false, "new.example old.example www.old.example"},
		{"unless it is to be forgotten", hostOptions{domain: "new.example", forget: true}, false, "new.example www.old.example"},
		{"new aliases replace the former ones", hostOptions{aliases: []string{"b.example", "a.example"}}, true, "old.example a.example b.example"},
		{"no alias at all", hostOptions{aliases: []string{""}}, true, "old.example"},
		{"an alias becomes the domain", hostOptions{domain: "www.old.example"}, false, "www.old.example old.example"},
		{"the same domain", hostOptions{domain: "old.example"}, false, "old.example www.old.example"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(wantedHosts(now, test.options, test.aliases).Hosts(), " ")
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if !slices.Equal(now.Aliases, []string{"www.old.example"}) {
				t.Error("the present configuration was changed")
			}
		})
	}
}

func TestSameFinding(t *testing.T) {
	finding := func(id string, pairs ...any) appliance.Finding {
		return appliance.Finding{Message: appliance.Message{ID: id, Args: appliance.Args(pairs...)}}
	}
	if !same(finding("a", "path", "/", "free", "1 GB"), finding("a", "path", "/", "free", "2 GB")) {
		t.Error("a figure that has moved on makes another finding")
	}
	if same(finding("a", "path", "/"), finding("a", "path", "/srv")) || same(finding("a"), finding("b")) {
		t.Error("two findings are taken for one")
	}
}

func TestConfirm(t *testing.T) {
	cases := []struct {
		name, lang, typed string
		terminal          bool
		flags             globalFlags
		want              bool
		code              int
		says              string
	}{
		{name: "yes", typed: "yes\n", terminal: true, want: true},
		{name: "no", typed: "no\n", terminal: true, says: "Nothing was changed."},
		{name: "Ctrl-D is a no", terminal: true, says: "Nothing was changed."},
		{name: "only Enter is a no", typed: "\n", terminal: true},
		{name: "part of a word is asked again", typed: "ye\n", terminal: true, says: "Nothing was changed."},
		{name: "until there is an answer", typed: "maybe\nyes,\n", terminal: true, want: true},
		{name: "in Spanish", lang: "es", typed: "Sí\n", terminal: true, want: true},
		{name: "in French", lang: "fr", typed: "oui", terminal: true, want: true},
		{name: "--yes", flags: globalFlags{Yes: true}, want: true},
		{name: "nobody there", typed: "yes\n", code: 2},
		{name: "--no-input", typed: "yes\n", terminal: true, flags: globalFlags{NoInput: true}, code: 2},
		{name: "--json", typed: "yes\n", terminal: true, flags: globalFlags{JSON: true}, code: 2},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			a, out := testApp(test.terminal, map[string]string{"LANG": test.lang})
			a.streams.In, a.flags = lineByLine{strings.NewReader(test.typed)}, test.flags
			got, err := a.confirm(t.Context(), "cli.run-again")
			if got != test.want || appliance.ExitCode(err) != test.code {
				t.Errorf("got %v, %v", got, err)
			}
			if !strings.Contains(out.String(), test.says) {
				t.Errorf("said %q", out)
			}
		})
	}
}

// lineByLine reads as a terminal does.
type lineByLine struct{ from *strings.Reader }

func (l lineByLine) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if p[n], err = l.from.ReadByte(); err != nil {
			return n, err
		}
		if n++; p[n-1] == '\n' {
			break
		}
	}
	return n, nil
}

// TestLastLines: of a time that has more lines than are wanted, the last ones are shown.
func TestLastLines(t *testing.T) {
	l := lastLines{keep: 3}
	for _, part := range []string{"1\n2", "\n3\n4\n", "5\n6\n7", "\n8\n9\n10", "\n"} {
		if _, err := io.WriteString(&l, part); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(l.bytes()); got != "8\n9\n10\n" {
		t.Errorf("got %q", got)
	}
	if got := journalLines(logOptions{lines: 0}, time.Time{}); got != "all" { // as the help says; of 0 the journal prints none
		t.Errorf("of all: %s", got)
	}
	if got := journalLines(logOptions{lines: 3}, time.Now()); got != "all" {
		t.Errorf("journalctl is told %s lines", got)
	}
}

// TestAskEndsWithCtrlC: a question does not hold up a person who wants to leave.
func TestAskEndsWithCtrlC(t *testing.T) {
	a, _ := testApp(true, nil)
	in, never := io.Pipe()
	defer never.Close()
	a.streams.In = in
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.ask(ctx, "?"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestJSONLines(t *testing.T) {
	a, out := testApp(false, nil, "--json")
	lines := newJSONLines(a.printer, "delivery")
	for _, part := range []string{"one\ntw", "o \"<x>\"\n", "\xff end"} {
		if _, err := io.WriteString(lines, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := lines.Close(); err != nil {
		t.Fatal(err)
	}
	want := `{"type":"log","schema":1,"name":"delivery","line":"one"}
{"type":"log","schema":1,"name":"delivery","line":"two \"<x>\""}
{"type":"log","schema":1,"name":"delivery","line":"? end"}
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// splitLines gives the lines of s without their ends.
func splitLines(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
}

func cutEqual(s string) (name, value string, found bool) { return strings.Cut(s, "=") }
