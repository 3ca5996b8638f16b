// SPDX-License-Identifier: AGPL-3.0-or-later

// Command coop is the platform's server. It runs inside its stack's container:
// one static binary on an empty image, a read-only root, only /data writable.
//
// It may import stacks/coop and its subpackages, and wires them together. It must
// never import the appliance, decide a rule, or migrate the database.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdout, os.Stderr}, os.Getenv))
}
