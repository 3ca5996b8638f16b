// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"bytes"
	"encoding/json"
	"strings"
)

// output is what restic said in one run. Messages of types that are not known
// here are left out, as its documentation asks.
type output struct {
	Ended
	summary []byte // the last message of the type summary
	exit    string // why it ended, in its last message
	errors  []said
	plain   []string // lines of stderr that are no messages
}

// said is one error, and what it is about.
type said struct {
	message, item string
}

func read(e Ended) output {
	o := output{Ended: e}
	for line := range bytes.Lines(e.Stdout) {
		if m, ok := parse(line); ok && m.Type == "summary" {
			o.summary = line
		}
	}
	for line := range bytes.Lines(e.Stderr) {
		o.take(line)
	}
	return o
}

func (o *output) take(line []byte) {
	m, ok := parse(line)
	switch {
	case !ok:
		if s := tidy(string(line)); s != "" {
			o.plain = append(o.plain, s)
		}
	case m.Type == "exit_error":
		o.exit = tidy(m.Message)
		// Whoever ran it may not have seen its code, as systemd-run does not now and then.
		if m.Code != codeOK {
			o.Code = m.Code
		}
	case m.Type == "error":
		o.errors = append(o.errors, said{tidy(m.Message + m.Error.Message), m.Item})
	}
}

// message has the fields that are of use here, of all types.
type message struct {
	Type    string `json:"message_type"`
	Message string `json:"message"`
	Code    int    `json:"code"` // of an exit_error
	Error   struct {
		Message string `json:"message"`
	} `json:"error"`
	Item string `json:"item"`
}

func parse(line []byte) (m message, ok bool) {
	if !bytes.HasPrefix(line, []byte("{")) {
		return m, false
	}
	return m, json.Unmarshal(line, &m) == nil
}

// tidy leaves out what is for programmers: a stack, and the word before it all.
func tidy(s string) string {
	s, _, _ = strings.Cut(s, "\ngithub.com/")
	s, _, _ = strings.Cut(s, "\nmain.")
	s = strings.TrimSpace(strings.ReplaceAll(s, "\r", ""))
	for strings.HasPrefix(s, "Fatal: ") {
		s = strings.TrimPrefix(s, "Fatal: ")
	}
	return s
}

// everything is all that was said about what went wrong. What a dump's program
// said is not: its troubles are not restic's.
func (o output) everything() string {
	lines := []string{o.exit}
	for _, line := range o.plain {
		if strings.HasPrefix(line, "subprocess ssh: ") || !strings.HasPrefix(line, "subprocess ") {
			lines = append(lines, line)
		}
	}
	for _, e := range o.errors {
		lines = append(lines, e.message)
	}
	return strings.Join(lines, "\n")
}

// silent tells whether restic said nothing at all: it always says why it ends,
// if it is the one that ends it.
func (o output) silent() bool { return o.exit == "" && len(o.errors) == 0 && len(o.plain) == 0 }

// detail is the one line that tells most, for the log and for a person.
func (o output) detail() string {
	s := o.exit
	if s == "" && len(o.plain) > 0 {
		s = o.plain[len(o.plain)-1]
	}
	s, _, _ = strings.Cut(s, "\n")
	return short(s, 300)
}

func short(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// few are the first of a list in one line.
func few(list []string) string {
	const most = 5
	if len(list) > most {
		return short(strings.Join(list[:most], ", "), 500) + ", …"
	}
	return short(strings.Join(list, ", "), 500)
}
