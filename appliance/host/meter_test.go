// SPDX-License-Identifier: AGPL-3.0-or-later

package host_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"rochdale/appliance/host"
)

// pids answers for systemd with the main process of each unit.
type pids map[string]int

func (p pids) Run(_ context.Context, c host.Command) (host.Result, error) {
	return host.Result{Stdout: fmt.Appendf(nil, "MainPID=%d\n", p[c.Args[1]])}, nil
}

// TestMeter measures this very process; what does not run, or has ended since
// systemd was asked, is left out.
func TestMeter(t *testing.T) {
	units := pids{"here.service": os.Getpid(), "down.service": 0, "ended.service": 1 << 30}
	m := host.Meter{Systemd: host.Systemd{Runner: units}, Units: []string{"here.service", "down.service", "ended.service"}}
	held, err := m.Memory(t.Context())
	if err != nil || len(held) != 1 || held["here.service"] < 1<<20 {
		t.Errorf("%v, %v", held, err)
	}
}
