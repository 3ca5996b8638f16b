// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rochdale/stacks"
	"rochdale/stacks/bundle"
)

// streams take the answer and the talk around it.
type streams struct{ out, err io.Writer }

// Exit codes, the same as rochdale's.
const (
	exitDone        = 0
	exitUnexpected  = 1
	exitUsage       = 2
	exitCheckFailed = 12
	exitInterrupted = 130
)

// errUsage marks a command line that cannot be meant.
var errUsage = errors.New("usage")

// run is the whole program: it gives the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := &cobra.Command{
		Use:           "rochdale-hub",
		Short:         "Build the bundles that co-ops run",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(args)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(newBundleCommand(s))
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(s.err, "rochdale-hub:", err)
	}
	return exitCode(ctx, err)
}

func exitCode(ctx context.Context, err error) int {
	var invalid *stacks.Invalid
	var refused *bundle.Refused
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.As(err, &invalid), errors.As(err, &refused):
		return exitCheckFailed
	}
	return exitUnexpected
}
