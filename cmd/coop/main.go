// SPDX-License-Identifier: AGPL-3.0-or-later

// Command coop is the platform's server. It runs inside its stack's container:
// one static binary on an empty image, a read-only root, only /data writable.
//
// It only wires stacks/coop together; it may import nothing of the appliance.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], streams{os.Stdout, os.Stderr}, os.Getenv))
}
