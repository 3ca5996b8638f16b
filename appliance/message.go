// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Message is something to tell a person: an id that the message catalogues
// know in every language, and what to fill in. Room text renders it.
type Message struct {
	ID   string            `json:"id"`
	Args map[string]string `json:"args,omitempty"`
}

// Args makes the map of a message from pairs of name and value.
func Args(pairs ...any) map[string]string {
	m := make(map[string]string, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = fmt.Sprint(pairs[i+1])
	}
	return m
}

func (m Message) String() string {
	var b strings.Builder
	b.WriteString(m.ID)
	for _, k := range slices.Sorted(maps.Keys(m.Args)) {
		fmt.Fprintf(&b, " %s=%q", k, m.Args[k])
	}
	return b.String()
}

// messageForm begins a message in the text of an error: an id, and maybe its arguments.
var messageForm = regexp.MustCompile(`(?m)(?:^|: )([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+)(?: |:|$)`)

// messagesIn finds the messages in the text of an error, as a journal keeps it: what
// [Message.String] wrote, the outermost first.
func messagesIn(s string) (all []Message) {
	for {
		at := messageForm.FindStringSubmatchIndex(s)
		if at == nil {
			return all
		}
		m := Message{ID: s[at[2]:at[3]]}
		m.Args, s = argsIn(s[at[3]:])
		all = append(all, m)
	}
}

// InWords is a text in which each message, as [Message.String] wrote it, is as render
// tells it.
func InWords(s string, render func(Message) string) string {
	var b strings.Builder
	for {
		at := messageForm.FindStringSubmatchIndex(s)
		if at == nil {
			return b.String() + s
		}
		b.WriteString(s[:at[2]])
		m := Message{ID: s[at[2]:at[3]]}
		m.Args, s = argsIn(s[at[3]:])
		b.WriteString(render(m))
	}
}

// argsIn reads ` name="value"` as often as it stands at the beginning.
func argsIn(s string) (args map[string]string, rest string) {
	for {
		name, _, ok := strings.Cut(strings.TrimPrefix(s, " "), "=")
		if !ok || !strings.HasPrefix(s, " ") || strings.ContainsAny(name, " :\n") {
			return args, s
		}
		quoted, err := strconv.QuotedPrefix(s[len(name)+2:])
		if err != nil {
			return args, s
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return args, s
		}
		if args == nil {
			args = map[string]string{}
		}
		args[name] = value
		s = s[len(name)+2+len(quoted):]
	}
}

// Severity is how much a finding matters.
type Severity string

// The severities. Only a Failure stops an installation or makes a box unhealthy.
const (
	Notice  Severity = "notice"
	Warning Severity = "warning"
	Failure Severity = "failure"
)

// Finding is something wrong, with why it matters and what to do. Its
// Message.ID is stable; the catalogues hold title, why and fix.
type Finding struct {
	Message
	Severity Severity `json:"severity"`
}

// Exit codes of the command line; docs list them for operators.
const (
	ExitOK          = 0
	ExitUnexpected  = 1
	ExitUsage       = 2
	ExitWarnings    = 3
	ExitNotThere    = 10 // not installed
	ExitLocked      = 11 // another operation holds the lock
	ExitCheckFailed = 12
	ExitSignature   = 13
	ExitInterrupted = 130
)

// Error is an error for a person: what happened, why it matters and what to do
// (all three in the catalogues under Message.ID), and the exit code it leads to.
type Error struct {
	Message
	Code   int
	Places []Place // all that is wrong with a document, where it is one
	Err    error   // the cause, for the log; may be nil
}

// Place is one of the things that are wrong with a document, and where it stands.
type Place struct {
	Message
	File string `json:"file"`
	Line int    `json:"line,omitempty"` // from 1; 0 when it is about the whole file
}

// Problem makes an [Error] with the exit code for a failed check.
func Problem(id string, cause error, pairs ...any) *Error {
	return &Error{Message: Message{ID: id, Args: Args(pairs...)}, Code: ExitCheckFailed, Err: cause}
}

// WithCode changes the exit code.
func (e *Error) WithCode(code int) *Error {
	e.Code = code
	return e
}

// Error implements error; the text is for logs, people get the rendered one.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.String()
	}
	return e.String() + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// MessageOf gives what there is to tell a person about an error.
func MessageOf(err error) Message {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return Message{ID: "daemon.unexpected", Args: Args("detail", err)}
}

// ExitCode is the code that the command line ends with for this error.
func ExitCode(err error) int {
	var e *Error
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e) && e.Code != 0:
		return e.Code
	default:
		return ExitUnexpected
	}
}
