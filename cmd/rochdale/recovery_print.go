// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups/kit"
)

// printOptions are the flags of `rochdale recovery print`.
type printOptions struct {
	pages, needed int
	output        string
	html          bool
}

func newRecoveryPrintCommand(a *app) *cobra.Command {
	var o printOptions
	c := a.verb("print", "help.recovery.print", func(c *cobra.Command, _ []string) error {
		return a.printPages(c.Context(), o)
	})
	f := c.Flags()
	f.IntVar(&o.pages, "pages", 1, a.t("flag.recovery.pages"))
	f.IntVar(&o.needed, "needed", 0, a.t("flag.recovery.needed"))
	f.StringVar(&o.output, "output", "", a.t("flag.recovery.output"))
	f.BoolVar(&o.html, "html", false, a.t("flag.recovery.html"))
	return c
}

// printedAnswer is what `rochdale recovery print` ends with. It holds no page.
type printedAnswer struct {
	Schema int      `json:"schema"`
	Set    string   `json:"set"`
	Need   int      `json:"need"`
	Of     int      `json:"of"`
	Files  []string `json:"files"`
	Serial int64    `json:"serial"`
}

// printPages makes pages. The secret is in this process alone: what is on paper
// first, and only then told to the daemon, is its public half. Killed in between,
// the pages open nothing and those before them still do.
func (a *app) printPages(ctx context.Context, o printOptions) error {
	if o.needed == 0 {
		o.needed = o.pages/2 + 1
	}
	if o.output == "" && a.flags.JSON {
		return usage("cli.recovery.print-json")
	}
	if err := a.there(); err != nil {
		return err
	}
	s, err := a.daemonClient().Recovery(ctx)
	if err != nil {
		return err
	}
	if s.Set != "" {
		if agreed, err := a.confirm(ctx, "cli.recovery.again", "set", s.Set); err != nil || !agreed {
			return err
		}
	}
	p, err := kit.NewPrinting(o.needed, o.pages)
	if err != nil {
		return err
	}
	files, err := a.putOnPaper(p, s, o)
	if err != nil {
		return err
	}
	checks, err := p.Checks.Encode()
	if err != nil {
		return err
	}
	s, err = a.daemonClient().Printed(ctx, appliance.Printing{Recipient: p.Recipient, Set: p.Checks.Set, Need: o.needed, Of: o.pages, Checks: checks})
	if err != nil {
		return err
	}
	a.tellPrinted(s, files)
	return nil
}

func (a *app) putOnPaper(p kit.Printing, s appliance.RecoveryState, o printOptions) (files []string, err error) {
	frame := kit.Frame{Box: kit.Box{Name: s.Name, Domain: s.Domain}, Printed: time.Now(), Version: appliance.Version(), Places: s.Places, Disks: s.Disks}
	if o.output == "" {
		return nil, a.writePapers(a.streams.Out, frame, p.Papers, o.html)
	}
	dir, err := filepath.Abs(o.output)
	if err != nil {
		return nil, err
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, badOutput(dir, fmt.Errorf("%s: %w", dir, syscall.ENOTDIR))
	}
	if err := host.NewFiles().MkdirAll(dir, private); err != nil {
		return nil, badOutput(dir, err)
	}
	private.Mode = 0o600
	for _, paper := range p.Papers {
		base := filepath.Join(dir, fmt.Sprintf("recovery-%s-page-%d-of-%d", p.Checks.Set, paper.Page.Index, paper.Page.Of))
		text, err := frame.Text(a.lang, paper)
		if err != nil {
			return files, err
		}
		html, err := frame.HTML(a.lang, paper)
		if err != nil {
			return files, err
		}
		for _, one := range []struct {
			path string
			data []byte
		}{{base + ".txt", []byte(text)}, {base + ".html", html}} {
			if err := host.NewFiles().Write(one.path, one.data, private); err != nil {
				return files, err
			}
			files = append(files, one.path)
		}
	}
	return files, nil
}

// writePapers prints all pages; in text a form feed is between two.
func (a *app) writePapers(w io.Writer, frame kit.Frame, papers []kit.Paper, html bool) error {
	if html {
		all, err := frame.HTML(a.lang, papers...)
		if err != nil {
			return err
		}
		_, err = w.Write(all)
		return err
	}
	for i, paper := range papers {
		text, err := frame.Text(a.lang, paper)
		if err != nil {
			return err
		}
		if i > 0 {
			text = "\f" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// tellPrinted says what to do with the pages. Where they went to standard output
// themselves, that is talk and goes to the other side.
func (a *app) tellPrinted(s appliance.RecoveryState, files []string) {
	if files == nil {
		a.printer.Note("cli.recovery.printed", "set", s.Set, "need", s.Need, "of", s.Of)
		a.printer.Note("cli.recovery.paper")
	} else {
		a.printer.Result(printedAnswer{1, s.Set, s.Need, s.Of, files, s.Serial}, func(w io.Writer) {
			for _, f := range files {
				fmt.Fprintln(w, f)
			}
			fmt.Fprintln(w, a.t("cli.recovery.printed", "set", s.Set, "need", s.Need, "of", s.Of))
			fmt.Fprintln(w, a.t("cli.recovery.files"))
		})
	}
	if s.Trouble != nil {
		a.printer.Findings([]appliance.Finding{{Severity: appliance.Warning, Message: *s.Trouble}})
	}
}
