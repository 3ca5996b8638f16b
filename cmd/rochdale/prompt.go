// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"rochdale/appliance"
)

// confirm asks a yes-or-no question (a message id) until it has one of both. --yes
// answers it; where nobody can answer, it is an error that names --yes. Enter alone, and
// Ctrl-D, are a no.
func (a *app) confirm(ctx context.Context, id string, pairs ...any) (bool, error) {
	if a.flags.Yes {
		return true, nil
	}
	if !a.asks() {
		return false, usage("cli.needs-yes")
	}
	question := a.t(id, pairs...) + " "
	for {
		answer, err := a.ask(ctx, question+a.t("cli.yes-or-no")+" ")
		answer = " " + strings.Trim(strings.ToLower(answer), " .,!") + " "
		switch {
		case appliance.IsProblem(err, "cli.no-answer"), err == nil && (answer == "  " || strings.Contains(a.t("cli.no-words"), answer)):
			a.printer.Note("cli.plan.stopped")
			return false, nil
		case err != nil:
			return false, err
		case strings.Contains(a.t("cli.yes-words"), answer):
			return true, nil
		}
		question = ""
	}
}

// asks tells whether there is a person to ask.
func (a *app) asks() bool {
	return a.streams.Terminal && !a.flags.NoInput && !a.flags.JSON
}

// maxAnswer bounds what is read as an answer, in bytes.
const maxAnswer = 1024

// ask shows the question on Err and reads one line.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.streams.Err, question)
	type line struct {
		text string
		err  error
	}
	got := make(chan line, 1)
	go func() {
		s, err := bufio.NewReader(io.LimitReader(a.streams.In, maxAnswer)).ReadString('\n')
		if err == io.EOF && s != "" {
			err = nil
		}
		got <- line{strings.TrimSpace(s), err}
	}()
	select {
	case l := <-got:
		if errors.Is(l.err, io.EOF) { // Ctrl-D
			fmt.Fprintln(a.streams.Err)
			return "", usage("cli.no-answer")
		}
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
