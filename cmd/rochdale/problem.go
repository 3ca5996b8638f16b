// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/appliance/step"
	"rochdale/backups"
	"rochdale/backups/kit"
	"rochdale/installer"
	"rochdale/stacks"
	"rochdale/stacks/bundle"
)

// problem is an error as a person gets it, in one language.
type problem struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Why    string `json:"why,omitempty"`
	Fix    string `json:"fix,omitempty"`
	Step   string `json:"step,omitempty"`
	Detail string `json:"detail,omitempty"`   // the technical cause
	Items  []item `json:"problems,omitempty"` // all of one document
	Log    string `json:"log,omitempty"`      // where more is written
	Code   int    `json:"exit_code"`
	again  bool   // running it again continues
	silent bool   // the command has said everything
}

// exit ends the program with a code after the command itself said all there is.
type exit int

// Error implements error.
func (exit) Error() string { return "said already" }

// logged is an error beside the place where more is written about it.
type logged struct {
	error
	where string
}

// Unwrap gives the cause.
func (l logged) Unwrap() error { return l.error }

// withLog adds the path of the log (or the command that shows it) to an error.
func withLog(err error, where string) error {
	if err == nil {
		return nil
	}
	return logged{err, where}
}

// describe is the one place that turns an error into words and an exit code.
func (a *app) describe(ctx context.Context, err error) problem {
	var silent exit
	if errors.As(err, &silent) {
		return problem{Code: int(silent), silent: true}
	}
	p := a.explain(ctx, err)
	var inStep *step.Error
	if errors.As(err, &inStep) {
		p.again, p.Step = goesOn(inStep.Plan) && p.Code != appliance.ExitInterrupted, a.stepTitle(inStep.Plan, inStep.Step)
	}
	var l logged
	if errors.As(err, &l) {
		p.Log = l.where
	}
	return p
}

// goesOn tells whether a plan that failed is gone on with when it is run again. A
// change of a stack was put back, and what is done with backups begins anew: then there
// is nothing to go on with.
func goesOn(plan string) bool {
	return !strings.HasPrefix(plan, "backup-") && !slices.Contains([]string{"stack-update", "stack-rollback", "stack-restore"}, plan)
}

func (a *app) explain(ctx context.Context, err error) problem {
	var known *appliance.Error
	var program *host.ExitError
	var stack *stacks.Invalid
	var refused *bundle.Refused
	var backup *backups.Problem
	switch {
	case ctx.Err() != nil && ownWork(err):
		return a.render(appliance.Problem("cli.interrupted", nil).WithCode(appliance.ExitInterrupted))
	case errors.As(err, &known):
		return a.render(known)
	case errors.As(err, &stack):
		return a.invalid(stack)
	case errors.As(err, &refused):
		e := &appliance.Error{Message: appliance.Message{ID: refused.ID, Args: refused.Args}, Code: appliance.ExitCheckFailed, Err: refused.Err}
		if refused.ID == unknownStack {
			e.Code = appliance.ExitUsage
		}
		return a.render(e)
	case errors.As(err, &backup):
		e := &appliance.Error{Message: appliance.Message{ID: backup.ID, Args: backup.Args}, Code: appliance.ExitCheckFailed, Err: backup.Err}
		if backup.ID == "kit.split" || backup.ID == "kit.pages-twice" { // mistakes in what was typed
			e.Code = appliance.ExitUsage
		}
		return a.render(e)
	case errors.As(err, &program):
		e := appliance.Problem("cli.program-failed", err, "program", program.Name, "code", program.Code)
		return a.render(e.WithCode(appliance.ExitUnexpected))
	default:
		return a.render(appliance.Problem("cli.unexpected", err).WithCode(appliance.ExitUnexpected))
	}
}

// ownWork tells whether an error is of what this process did itself: then Ctrl-C has
// stopped it, whatever the programs say that got the signal too. What the daemon was
// asked to do goes on, and has words of its own.
func ownWork(err error) bool {
	var inStep *step.Error
	if errors.As(err, &inStep) {
		return !strings.HasPrefix(inStep.Plan, "stack-") && !strings.HasPrefix(inStep.Plan, "backup-")
	}
	var known *appliance.Error
	return !errors.As(err, &known) || known.Code != appliance.ExitInterrupted
}

// unknownStack is a mistake in what was typed, not in a bundle.
const unknownStack = "stack.bundle.unknown"

func (a *app) render(e *appliance.Error) problem {
	r := a.texts.Render(a.lang, e.Message)
	p := problem{ID: e.ID, Title: r.Title, Why: r.Why, Fix: r.Fix, Code: appliance.ExitCode(e)}
	if e.ID == "daemon.job-failed" { // its places were read from a text
		e.Places = slices.DeleteFunc(slices.Clone(e.Places), func(x appliance.Place) bool { return !a.texts.Has(x.ID) })
	}
	if e.Err != nil && len(e.Places) == 0 && !errors.Is(e.Err, kit.ErrTyped) { // else it says the same once more
		p.Detail = appliance.InWords(e.Err.Error(), a.titleOf)
	}
	for _, one := range e.Places {
		r := a.texts.Render(a.lang, one.Message)
		p.Items = append(p.Items, item{File: one.File, Line: one.Line, ID: one.ID, Title: r.Title, Fix: r.Fix})
	}
	return p
}

// titleOf is a message in one line; one that is not known stays as it is.
func (a *app) titleOf(m appliance.Message) string { return a.texts.Render(a.lang, m).Title }

// item is one of many problems of a document.
type item struct {
	File  string `json:"file"`
	Line  int    `json:"line,omitempty"`
	ID    string `json:"id"`
	Title string `json:"title"`
	Fix   string `json:"fix,omitempty"`
}

// line is the item as people get it: place, what is wrong, what to write.
func (i item) line() string {
	place := i.File
	if i.Line > 0 {
		place += ":" + strconv.Itoa(i.Line)
	}
	if place == "" {
		return strings.TrimSpace(i.Title + ". " + i.Fix)
	}
	return strings.TrimSpace(place + ": " + i.Title + ". " + i.Fix)
}

func (a *app) invalid(e *stacks.Invalid) problem {
	p := appliance.Problem("cli.stack-invalid", nil, "count", len(e.Problems))
	p.Places = places(e)
	return a.render(p)
}

// stepTitle is what a person calls a step. Many steps of a recovery are those of an
// installation.
func (a *app) stepTitle(plan, id string) string {
	title := a.t("step." + plan + "." + id)
	if plan == installer.RecoverPlan && title == "step."+plan+"."+id {
		return a.t("step.install." + id)
	}
	return title
}
