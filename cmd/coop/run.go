// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/text"
)

// Exit codes, the same as rochdale's.
const (
	exitDone   = 0
	exitError  = 1
	exitUsage  = 2
	exitFailed = 12
)

const usage = `Usage: coop [COMMAND]

  serve         answer requests (the default)
  admin-link    print a one-time path that makes the first admin
                (--again: also when there is an admin already)
  reset-link    print a one-time path with which the member whose e-mail
                address follows sets a new password
  healthcheck   ask the server beside for its health; exit 0 when it's well
  version       print the version

Settings come from the environment: COOP_LISTEN, COOP_DATABASE,
COOP_DATABASE_PASSWORD_FILE, COOP_BASE_URL, COOP_NAME, COOP_CURRENCY, COOP_LANG,
COOP_TIMEZONE, COOP_TRUSTED_PROXY.
`

type streams struct{ out, err io.Writer }

// run is the whole program: arguments, streams and environment in, exit code out.
func run(ctx context.Context, args []string, std streams, getenv func(string) string) int {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	again := command == "admin-link" && len(args) == 1 && args[0] == "--again"
	email := command == "reset-link" && len(args) == 1
	if command == "reset-link" && len(args) == 0 {
		fmt.Fprintf(std.err, "coop: reset-link needs the member's e-mail address\n\n%s", usage)
		return exitUsage
	}
	if len(args) > 0 && !again && !email {
		fmt.Fprintf(std.err, "coop: %s takes no %q\n\n%s", command, args[0], usage)
		return exitUsage
	}
	switch command {
	case "version":
		fmt.Fprintln(std.out, release())
		return exitDone
	case "help", "-h", "--help":
		fmt.Fprint(std.out, usage)
		return exitDone
	case "serve", "admin-link", "reset-link", "healthcheck":
	default:
		fmt.Fprintf(std.err, "coop: there is no command %q\n\n%s", command, usage)
		return exitUsage
	}
	s, err := readSettings(getenv)
	if err == nil {
		switch command {
		case "serve":
			err = serve(ctx, s, std)
		case "admin-link":
			err = adminLink(ctx, s, std, again)
		case "reset-link":
			err = resetLink(ctx, s, std, args[0])
		case "healthcheck":
			err = healthcheck(ctx, s)
		}
	}
	return report(err, command, std)
}

// printable leaves out what a terminal would obey rather than show: an error may
// quote what somebody else wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) || r == '\u00a0' {
			return r
		}
		return -1
	}, s)
}

// report is the one place that turns an error into words and a code.
func report(err error, command string, std streams) int {
	if err == nil {
		return exitDone
	}
	said := err.Error()
	if p, ok := coop.ProblemOf(err); ok {
		if words, e := text.Load(); e == nil {
			said = words.T("en", "problem."+p.Key) + " " + words.T("en", "problem."+p.Key+".fix")
		}
	}
	fmt.Fprintf(std.err, "coop: %s\n", printable(said))
	var check *unhealthy
	switch {
	case errors.As(err, &check):
		return exitFailed
	case errors.Is(err, errUsage):
		return exitUsage
	}
	return exitError
}
