// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build failpoints

package step

import (
	"os"
	"syscall"
)

// failpoint kills this very process with SIGKILL when the environment names
// this point as PLAN/STEP/before or PLAN/STEP/after: the kill matrix uses it.
// Only binaries built with the tag "failpoints" have it.
func failpoint(plan, step, when string) {
	if os.Getenv("ROCHDALE_FAILPOINT") != plan+"/"+step+"/"+when {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
