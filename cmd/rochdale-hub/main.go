// SPDX-License-Identifier: AGPL-3.0-or-later

// Command rochdale-hub is the tool of hub staff: it builds the bundles that
// co-ops run.
//
// It only wires stacks, stacks/bundle and stacks/hub together. It never runs on
// a co-op's box and imports nothing of the appliance.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}
