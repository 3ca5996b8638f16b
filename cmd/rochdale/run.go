// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"rochdale/appliance"
	"rochdale/appliance/text"
)

// streams are where a command reads and writes. Out takes the answer, Err the
// talk around it.
type streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Terminal is true when a person sits at In and Err: only then may a
	// command ask, show colours or rewrite a line.
	Terminal bool
}

// app is what every command gets.
type app struct {
	streams streams
	env     func(string) string
	paths   appliance.Paths
	texts   *text.Catalogue
	lang    string
	printer *Printer
	flags   globalFlags
}

// globalFlags are understood by every command.
type globalFlags struct {
	JSON    bool   // the answer, progress and the final error as JSON lines on Out
	Plan    bool   // show what would be done, and stop
	Yes     bool   // do not ask
	NoInput bool   // never ask; what would be asked is an error
	Quiet   bool   // only the answer and errors
	Lang    string // en, es or fr; empty: find out
}

// run is the whole program: it gives the exit code.
func run(ctx context.Context, args []string, s streams, env func(string) string) int {
	a := newApp(args, s, env)
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return a.finish(ctx, err)
}

func newApp(args []string, s streams, env func(string) string) *app {
	a := &app{streams: s, env: env, paths: appliance.Paths{Root: env("ROCHDALE_ROOT")}, texts: text.Open()}
	a.lang = a.language(flagValue(args, "--lang"))
	a.printer = newPrinter(a)
	// An error in the flags themselves is a JSON line too when one asks for it.
	a.printer.json = slices.Contains(args, "--json")
	return a
}

// finish shows the error, if there is one, and gives the exit code.
func (a *app) finish(ctx context.Context, err error) int {
	if err == nil {
		return appliance.ExitOK
	}
	p := a.describe(ctx, err)
	if !p.silent {
		a.printer.problem(p)
	}
	return p.Code
}

// language decides before flags are parsed, because help is a text too.
func (a *app) language(flag string) string {
	return text.Pick(flag, a.configured(), a.env("LC_ALL"), a.env("LC_MESSAGES"), a.env("LANG"))
}

// configured is the language in rochdale.yaml. Trouble with the file is told by
// the commands that need more of it.
func (a *app) configured() string {
	f, err := appliance.OpenConfig(a.paths.Config())
	if err != nil {
		return ""
	}
	defer f.Close()
	c, err := appliance.ParseConfig(f)
	if err != nil {
		return ""
	}
	return c.Language
}

// t is a plain text in the person's language.
func (a *app) t(id string, pairs ...any) string { return a.texts.Label(a.lang, id, pairs...) }

// flagValue finds the value of a flag before the flags are parsed.
func flagValue(args []string, name string) string {
	for i, arg := range args {
		if v, ok := strings.CutPrefix(arg, name+"="); ok {
			return v
		}
		if arg == name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// interruptible is done at the first Ctrl-C or SIGTERM; the second one ends the
// process at once.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func standardStreams() streams {
	terminal := term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
	return streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Terminal: terminal}
}
