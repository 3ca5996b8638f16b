// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
)

// confirm asks a yes-or-no question (a message id). --yes answers it; where
// nobody can answer, it is an error that names --yes. Anything but a clear yes
// is a no.
func (a *app) confirm(ctx context.Context, id string, pairs ...any) (bool, error) {
	if a.flags.Yes {
		return true, nil
	}
	if !a.asks() {
		return false, usage("cli.needs-yes")
	}
	answer, err := a.ask(ctx, a.t(id, pairs...)+" "+a.t("cli.yes-or-no")+" ")
	if err != nil {
		return false, err
	}
	answer = strings.ToLower(answer)
	return answer != "" && strings.Contains(a.t("cli.yes-words"), " "+answer+" "), nil
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
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
