// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"rochdale/appliance"
	"rochdale/appliance/step"
	"rochdale/appliance/text"
)

// Printer shows everything, in one of three renderings: a terminal (colours,
// lines that are rewritten), plain text that reads well aloud, JSON lines.
//
// The answer goes to Out, the talk around it to Err. As JSON everything goes to
// Out, one object a line, each with its type.
type Printer struct {
	app      *app
	out, err io.Writer
	json     bool
	quiet    bool
	colour   bool
	rewrite  bool   // lines may be rewritten
	begun    bool   // the line of a step that runs has no end yet
	dots     string // after the title of a step that runs
}

// width is how much of a line is rewritten; a longer one would wrap and stay.
const width = 78

func newPrinter(a *app) *Printer {
	p := &Printer{app: a, out: a.streams.Out, err: a.streams.Err, dots: "..."}
	if a.streams.Terminal && a.env("TERM") != "dumb" {
		p.rewrite = true
		p.colour = a.env("NO_COLOR") == ""
		if utf8Locale(a.env) {
			p.dots = "…"
		}
	}
	return p
}

func utf8Locale(env func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(env(name)); v != "" {
			return strings.HasSuffix(v, "utf-8") || strings.HasSuffix(v, "utf8")
		}
	}
	return false
}

// configure follows the flags once they are parsed.
func (p *Printer) configure(f globalFlags) {
	p.json, p.quiet = f.JSON, f.Quiet
}

// JSON tells whether the answer is wanted as JSON.
func (p *Printer) JSON() bool { return p.json }

// Object writes one JSON line to Out. It is the answer of a command when --json
// is given.
func (p *Printer) Object(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// linesSchema is the version of the JSON lines; they only ever gain fields.
const linesSchema = 1

// typed writes one line of a stream of JSON lines: the object v with its type,
// and the schema unless it has one of its own, before its other fields.
func (p *Printer) typed(kind string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write %s as JSON: %w", kind, err)
	}
	head := fmt.Sprintf(`{"type":%q`, kind)
	if !bytes.HasPrefix(b.Bytes(), []byte(`{"schema":`)) {
		head += fmt.Sprintf(`,"schema":%d`, linesSchema)
	}
	if b.Len() > len("{}\n") {
		head += ","
	}
	_, err := fmt.Fprint(p.out, head+b.String()[1:])
	return err
}

// Result writes the answer of a command that also streams events: as JSON a
// line of type "result", else what human writes to Out.
func (p *Printer) Result(v any, human func(w io.Writer)) {
	if p.json {
		_ = p.typed("result", v) // whoever reads has gone
		return
	}
	human(p.out)
}

// Say writes a line of the answer to Out.
func (p *Printer) Say(id string, pairs ...any) {
	if p.json {
		return
	}
	fmt.Fprintln(p.out, p.app.t(id, pairs...))
}

// Note writes a line of talk to Err.
func (p *Printer) Note(id string, pairs ...any) {
	if p.json || p.quiet {
		return
	}
	fmt.Fprintln(p.err, p.app.t(id, pairs...))
}

// Event shows the progress of a plan; give it to [step.Plan.Run].
func (p *Printer) Event(e step.Event) {
	switch {
	case p.json:
		_ = p.typed("event", struct {
			step.Event
			Title string `json:"title,omitempty"`
		}{e, p.eventTitle(e)})
	case p.quiet || e.Kind == step.Ended:
	case e.Kind == step.Started:
		fmt.Fprintf(p.err, "%s ", p.head(e))
		p.begun = true
	case e.Kind == step.Noted:
		p.note(e)
	default:
		p.finished(e)
	}
}

func (p *Printer) eventTitle(e step.Event) string {
	if e.Step == "" {
		return ""
	}
	return p.app.stepTitle(e.Plan, e.Step)
}

func (p *Printer) head(e step.Event) string {
	return fmt.Sprintf("[%d/%d] %s %s", e.Index, e.Total, p.eventTitle(e), p.dots)
}

// note shows progress inside a step where the line can be rewritten; elsewhere
// a step stays one line.
func (p *Printer) note(e step.Event) {
	if p.rewrite {
		line := p.head(e) + " " + text.Calm(e.Note)
		fmt.Fprintf(p.err, "\r\x1b[K%s", cut(line, width))
	}
}

func (p *Printer) finished(e step.Event) {
	p.begun = false
	head := p.head(e) + " "
	switch {
	case p.rewrite:
		head = "\r\x1b[K" + head
	case e.Kind != step.Skipped:
		head = "" // the line was begun when the step started
	}
	fmt.Fprintln(p.err, head+p.ending(e))
}

func (p *Printer) ending(e step.Event) string {
	var word string
	switch e.Kind {
	case step.Skipped:
		return p.app.t("cli.step.skipped")
	case step.Broke:
		word = p.paint(red, p.app.t("cli.step.failed"))
	default:
		word = p.paint(green, p.app.t("cli.step.done"))
	}
	if e.Duration < time.Second {
		return word
	}
	return word + " (" + duration(e.Duration) + ")"
}

// problem shows the error that a command ended with.
func (p *Printer) problem(x problem) {
	if p.json {
		_ = p.typed("error", x)
		return
	}
	title := text.Calm(x.Title)
	if x.Step != "" {
		title = x.Step + ": " + title
	}
	if p.begun {
		fmt.Fprintln(p.err)
	}
	word := p.paint(red, p.app.t("cli.word.error"))
	if x.Code == appliance.ExitInterrupted { // a person wanted it so
		word = p.paint(blue, p.app.t("cli.severity.notice"))
	}
	if x.Code == appliance.ExitWarnings { // the thing itself was done
		word = p.paint(yellow, p.app.t("cli.severity.warning"))
	}
	fmt.Fprintln(p.err, word+" "+title)
	for _, item := range x.Items {
		fmt.Fprintln(p.err, "  "+item.line())
	}
	p.reason(p.err, x.Why, x.Fix)
	p.labelled(p.err, "cli.word.cause", x.Detail)
	p.labelled(p.err, "cli.word.log", x.Log)
	if x.again {
		fmt.Fprintln(p.err, p.app.t("cli.run-again"))
	}
}

// View is a finding in the person's language, as JSON carries it.
type View struct {
	ID       string             `json:"id"`
	Severity appliance.Severity `json:"severity"`
	Title    string             `json:"title"`
	Why      string             `json:"why"`
	Fix      string             `json:"fix"`
	Args     map[string]string  `json:"args,omitempty"`
}

// Views renders findings; the result is never nil, so that JSON has a list.
func (p *Printer) Views(findings []appliance.Finding) []View {
	views := make([]View, 0, len(findings))
	for _, f := range findings {
		r := p.app.texts.Render(p.app.lang, f.Message)
		views = append(views, View{ID: f.ID, Severity: f.Severity, Title: r.Title, Why: r.Why, Fix: r.Fix, Args: f.Args})
	}
	return views
}

// Findings shows findings as talk: on Err, or as JSON lines of type "finding".
func (p *Printer) Findings(findings []appliance.Finding) {
	for _, v := range p.Views(findings) {
		if p.json {
			_ = p.typed("finding", v)
			continue
		}
		p.view(p.err, v)
	}
}

// view writes one finding: its severity as a word, why, and what to do.
func (p *Printer) view(w io.Writer, v View) {
	fmt.Fprintln(w, p.paint(colourOf(v.Severity), p.app.t("cli.severity."+string(v.Severity)))+" "+v.Title)
	p.reason(w, v.Why, v.Fix)
}

func (p *Printer) reason(w io.Writer, why, fix string) {
	p.labelled(w, "cli.word.why", why)
	p.labelled(w, "cli.word.fix", fix)
}

func (p *Printer) labelled(w io.Writer, id, s string) {
	if s == "" {
		return
	}
	fmt.Fprintln(w, "  "+p.app.t(id)+" "+strings.ReplaceAll(strings.TrimSpace(text.Calm(s)), "\n", "\n    "))
}

// table writes rows under heads. Columns are parted by two spaces, and there are
// no lines to be read out.
func table(w io.Writer, heads []string, rows [][]string) {
	widths := make([]int, len(heads))
	for _, row := range append([][]string{heads}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range append([][]string{heads}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

func colourOf(s appliance.Severity) string {
	switch s {
	case appliance.Failure:
		return red
	case appliance.Warning:
		return yellow
	default:
		return blue
	}
}

// paint adds colour to a word that also says it.
func (p *Printer) paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// duration is for people: "41 s", "2 min 5 s".
func duration(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	if s < 60 {
		return fmt.Sprintf("%d s", s)
	}
	return fmt.Sprintf("%d min %d s", s/60, s%60)
}

func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n])
}
