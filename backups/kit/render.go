// SPDX-License-Identifier: AGPL-3.0-or-later

package kit

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"strings"
	"time"

	"rochdale/backups/shelf"
)

// recoverLine is what a person types on the new machine. A program that they brought
// themselves lies in the folder that they are in, and may have lost the right to run.
const (
	recoverLine = "rochdale recover --kit " + Name
	broughtLine = "chmod +x rochdale"
	besideLine  = "./" + recoverLine
)

// maxPlaces is how many addresses fit on a page.
const (
	maxPlaces = 4
	maxDisks  = 2
)

// Frame is what all pages of a printing say beside their codes. None of it is
// secret.
type Frame struct {
	Box     Box
	Printed time.Time
	Install string   // the one line that downloads the program; may be empty
	Version string   // of the program; may be empty
	Places  []string // addresses of the repositories that have a kit beside them
	Disks   []string // folders of repositories on disks beside the machine
}

// view is a page in words, ready to be drawn.
type view struct {
	Lang, Title, Box, Lead string
	What, Keep             section
	Name, Since            string
	Lost                   section
	Steps                  []step
	Code                   section
	Lines                  []string
	Checks                 section
	Codes                  []string
	Foot                   string
}

type section struct{ Head, Text string }

// step is one thing to do: in words, as a line to type, and with a list.
type step struct {
	Text, Line string
	List       []string
}

func (f Frame) view(lang string, p Paper) (view, error) {
	w, lang, err := wordsIn(lang)
	if err != nil {
		return view{}, err
	}
	lines, err := p.Page.Lines()
	if err != nil {
		return view{}, err
	}
	at := p.Page
	return view{
		Lang:   lang,
		Title:  w.say("title", "index", at.Index, "of", at.Of),
		Box:    f.Box.String(),
		Lead:   w.say(leadOf(at), "need", at.Need, "of", at.Of),
		What:   section{w.say("what.head"), w.say("what.text", "box", f.Box.Name)},
		Keep:   section{w.say("keep.head"), w.say(keepOf(at))},
		Name:   w.say("keep.name"),
		Since:  w.say("keep.since"),
		Lost:   section{Head: w.say("lost.head")},
		Steps:  f.steps(w, at),
		Code:   section{w.say("code.head"), w.say("code.text")},
		Lines:  lines,
		Checks: section{w.say("checks.head"), w.say("checks.text")},
		Codes:  p.Codes,
		Foot: w.say("foot", "date", f.Printed.UTC().Format(time.DateOnly),
			"set", hex.EncodeToString(at.Set[:]), "key", hex.EncodeToString(at.Key[:])),
	}, nil
}

// String is the name with the domain, where there is one.
func (b Box) String() string {
	if b.Domain == "" {
		return b.Name
	}
	return b.Name + " (" + b.Domain + ")"
}

func leadOf(p Page) string {
	switch {
	case p.Of == 1:
		return "lead.alone"
	case p.Need == 1:
		return "lead.one"
	default:
		return "lead.some"
	}
}

func keepOf(p Page) string {
	if p.Of == 1 {
		return "keep.alone"
	}
	return "keep.text"
}

func (f Frame) steps(w words, p Page) []step {
	program := step{Text: w.say("lost.program"), Line: f.Install}
	start := step{Text: w.say("lost.recover-one"), Line: recoverLine}
	if f.Install == "" {
		program, start.Line = step{Text: w.say("lost.no-line"), Line: broughtLine}, besideLine
		if f.Version != "" {
			program.Text = w.say("lost.no-line-version", "version", f.Version)
		}
	}
	if p.Need > 1 {
		start.Text = w.say("lost.recover-some", "need", p.Need)
	}
	all := []step{{Text: w.say("lost.machine")}, program, f.fetch(w)}
	if len(f.Disks) > 0 {
		all = append(all, step{Text: w.say("lost.disk", "paths", strings.Join(f.Disks[:min(len(f.Disks), maxDisks)], ", "))})
	}
	return append(all, start, step{Text: w.say("lost.old")})
}

// fetch tells where kits lie. One is enough, so a page names the first few.
func (f Frame) fetch(w words) step {
	if len(f.Places) == 0 {
		return step{Text: w.say("lost.copy", "file", Name)}
	}
	s := step{Text: w.say("lost.kit", "file", Name)}
	most := maxPlaces
	if len(f.Disks) > 0 {
		most-- // they need room too
	}
	for _, place := range f.Places[:min(len(f.Places), most)] {
		s.List = append(s.List, shelf.Plain(place))
	}
	if more := len(f.Places) - most; more > 0 {
		s.List = append(s.List, w.say("lost.more", "count", more))
	}
	return s
}

//go:embed page.html
var pageHTML string

// HTML draws papers in a language as one document, each on a page of A4. It
// needs nothing from anywhere and runs no script.
func (f Frame) HTML(lang string, papers ...Paper) ([]byte, error) {
	t, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	var views []view
	for _, p := range papers {
		v, err := f.view(lang, p)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, views); err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	return b.Bytes(), nil
}
