// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build failpoints

package step

import (
	"os"
	"strings"
	"syscall"
)

// failpointFile names one point for a process that already runs. Whoever is
// killed there has removed it, so that the next start goes on.
const failpointFile = "/var/lib/rochdale/failpoint"

// failpoint kills this very process with SIGKILL when the environment or
// failpointFile names this point as PLAN/STEP/before or PLAN/STEP/after: the kill
// matrices use it. Only binaries built with the tag "failpoints" have it.
func failpoint(plan, step, when string) {
	point := plan + "/" + step + "/" + when
	if os.Getenv("ROCHDALE_FAILPOINT") != point && !once(point) {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}

func once(point string) bool {
	named, err := os.ReadFile(failpointFile)
	return err == nil && strings.TrimSpace(string(named)) == point && os.Remove(failpointFile) == nil
}
