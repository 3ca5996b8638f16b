// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
)

// watchdog tells systemd that we live, when it asks for that (WatchdogSec),
// until ctx is done. Each beat goes through the locks that a request needs: a
// process that is stuck there does not beat.
func (e *edge) watchdog(ctx context.Context) {
	every, err := sdnotify.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.board.total()
			e.visitors.count(now)
			_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyWatchdog) // without systemd nobody listens
		}
	}
}
