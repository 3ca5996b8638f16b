// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	columns = 80
	inRow   = 4 // check codes
)

// Text draws one paper in a language as plain text of 80 columns. Lines that a
// person types or reads as a whole are not broken.
func (f Frame) Text(lang string, p Paper) (string, error) {
	v, err := f.view(lang, p)
	if err != nil {
		return "", err
	}
	var t plain
	t.head(strings.ToUpper(v.Title), "=")
	t.wrapped("", v.Box)
	t.wrapped("", v.Lead)
	t.section(v.What)
	t.section(v.Keep)
	t.line("%s ______________________________ %s ______________", v.Name, v.Since)
	t.section(v.Lost)
	for i, s := range v.Steps {
		t.step(i+1, s)
	}
	t.section(v.Code)
	t.line("")
	for i, line := range v.Lines {
		t.line("    %d.  %s", i+1, line)
	}
	t.section(v.Checks)
	t.line("")
	t.grid(v.Codes)
	t.line("")
	t.wrapped("", v.Foot)
	return t.String(), nil
}

// plain writes lines.
type plain struct{ strings.Builder }

func (t *plain) line(format string, args ...any) {
	t.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (t *plain) head(text, under string) {
	t.line("%s", text)
	t.line("%s", strings.Repeat(under, utf8.RuneCountInString(text)))
}

func (t *plain) section(s section) {
	t.line("")
	t.head(s.Head, "-")
	t.wrapped("", s.Text)
}

func (t *plain) step(number int, s step) {
	t.wrapped(fmt.Sprintf("%d. ", number), s.Text)
	if s.Line != "" {
		t.line("     %s", s.Line)
	}
	for _, l := range s.List {
		t.line("   - %s", l)
	}
}

func (t *plain) grid(codes []string) {
	for i := 0; i < len(codes); i += inRow {
		var row strings.Builder
		for j := i; j < min(i+inRow, len(codes)); j++ {
			fmt.Fprintf(&row, "%4d: %-13s", j+1, codes[j])
		}
		t.line("%s", row.String())
	}
}

// wrapped writes a paragraph; lead stands before its first line, spaces before
// the others.
func (t *plain) wrapped(lead, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(lead))
	current, width := lead, utf8.RuneCountInString(lead)
	begin := true
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if !begin && width+1+n > columns {
			t.line("%s", current)
			current, width, begin = indent, len(indent), true
		}
		if !begin {
			current, width = current+" ", width+1
		}
		current, width, begin = current+word, width+n, false
	}
	if !begin {
		t.line("%s", current)
	}
}
