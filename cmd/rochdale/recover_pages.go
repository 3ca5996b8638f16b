// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/backups/kit"
)

// typedPages reads pages from files, or asks for them line by line.
func (a *app) typedPages(ctx context.Context, files []string) (hand kit.Hand, err error) {
	for _, name := range files {
		data, err := a.pageFile(name)
		if err != nil {
			return hand, appliance.Problem("cli.recover.page-file", err, "file", name, "detail", err).WithCode(appliance.ExitUsage)
		}
		for _, one := range pagesIn(string(data)) {
			page, err := kit.ReadPage(one)
			if err != nil {
				return hand, slipIn(name, err)
			}
			if err := hand.Add(page); err != nil { // it is as printed, and does not fit the others
				return hand, err
			}
		}
	}
	for hand.Missing() > 0 {
		if !a.asks() {
			return hand, usage("cli.recover.pages", "missing", hand.Missing())
		}
		if err := a.typePage(ctx, &hand); err != nil {
			return hand, err
		}
	}
	return hand, nil
}

// slipIn tells in which file of several something is not as printed.
func slipIn(file string, err error) error {
	var p *backups.Problem
	if !errors.As(err, &p) {
		return err
	}
	e := appliance.Problem("cli.recover.page-slip", err, "file", file)
	e.Places = []appliance.Place{{Message: appliance.Message{ID: p.ID, Args: p.Args}, File: file}}
	return e
}

func (a *app) pageFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(a.streams.In, appliance.MaxCredentials))
	}
	return smallFile(name, appliance.MaxCredentials)
}

// pagesIn parts a text into pages: an empty line is between two. Pages as they were
// printed are understood too: their lines are the numbered ones.
func pagesIn(text string) []string {
	if printed := printedPages(text); len(printed) > 0 {
		return printed
	}
	var pages []string
	for one := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if strings.TrimSpace(one) != "" {
			pages = append(pages, one)
		}
	}
	return pages
}

var (
	// numberedLine is what a line of a printed page looks like: "    1.  ABCDE-FGHJK".
	numberedLine = regexp.MustCompile(`^\s*([1-9])\.\s+(\S.*?)\s*$`)
	// codeForm is that of a code, maybe with a slip in it.
	codeForm = regexp.MustCompile(`^[0-9A-Za-z]{3,7}-[0-9A-Za-z]{3,7}$`)
)

// printedPages finds the codes of pages; each page begins with a first line.
func printedPages(text string) (pages []string) {
	for line := range strings.Lines(text) {
		number, code, ok := numberedCode(line)
		switch {
		case !ok:
		case number == 1 || len(pages) == 0:
			pages = append(pages, code)
		default:
			pages[len(pages)-1] += "\n" + code
		}
	}
	return pages
}

// numberedCode gives the code in a numbered line. One that was typed without the dash is
// known by checking itself; other lines of a printed page are numbered, too.
func numberedCode(line string) (number int, code string, ok bool) {
	m := numberedLine.FindStringSubmatch(line)
	if m == nil {
		return 0, "", false
	}
	number, err := strconv.Atoi(m[1])
	return number, m[2], err == nil && (codeForm.MatchString(m[2]) || kit.ReadLine(number, m[2]) == nil)
}

// linesOfPage is how many lines a printed page has.
const linesOfPage = 9

// typePage asks for the lines of one page, each again until it is as printed.
func (a *app) typePage(ctx context.Context, hand *kit.Hand) error {
	if hand.Empty() {
		a.printer.Note("cli.recover.type-first")
	} else {
		a.printer.Note("cli.recover.type-page", "missing", hand.Missing())
	}
	var lines []string
	for len(lines) < linesOfPage {
		n := len(lines) + 1
		line, err := a.ask(ctx, fmt.Sprintf("%d. ", n))
		if err != nil {
			return err
		}
		if err := kit.ReadLine(n, line); err != nil {
			a.printer.problem(a.describe(ctx, err))
			continue
		}
		lines = append(lines, line)
	}
	page, err := kit.ReadPage(strings.Join(lines, "\n"))
	if err == nil {
		err = hand.Add(page)
	}
	if errors.Is(err, kit.ErrTyped) {
		a.printer.problem(a.describe(ctx, err))
		return nil // another page may fit
	}
	return err
}
