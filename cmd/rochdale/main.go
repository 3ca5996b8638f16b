// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"os"
)

func main() {
	ctx, stop := interruptible(context.Background())
	code := run(ctx, os.Args[1:], standardStreams(), os.Getenv)
	stop()
	os.Exit(code)
}
