// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"rochdale/appliance/host"
)

// frugal trades a little processor time for memory: a unit of ours idles for
// days beside the stacks, on machines with half a gigabyte.
func frugal() {
	debug.SetGCPercent(40)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(96 << 20)
	}
}

// When a unit has started, and how often it is tidied after that.
const (
	settleAfter = 20 * time.Second
	tidyEvery   = 15 * time.Minute
)

// unload gives back, now and then, what only starting or some rare request
// needed: the one binary holds every part of Rochdale, and most of it is never
// looked at again.
func unload(ctx context.Context) {
	for wait := settleAfter; ; wait = tidyEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := host.ForgetStartup(); err != nil {
			slog.Debug("memory was not given back", "error", err)
		}
	}
}
