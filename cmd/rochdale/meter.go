// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// meter tells what the units of the box hold: the memory of their main process
// that is theirs alone, and their share of what they have in common.
type meter struct{ units host.Systemd }

var _ appliance.Meter = meter{}

// measured are the units whose memory a person asks about.
func measured() []string {
	return []string{"rochdale.service", "rochdale-edge.service", "docker.service", "containerd.service"}
}

// Memory implements [appliance.Meter]. Units that do not run are left out.
func (m meter) Memory(ctx context.Context) (map[string]int64, error) {
	held := map[string]int64{}
	var all error
	for _, unit := range measured() {
		p, err := m.units.Show(ctx, unit, "MainPID")
		if err != nil {
			return held, err
		}
		if pid := p["MainPID"]; pid != "" && pid != "0" {
			bytes, err := proportional("/proc/" + pid + "/smaps_rollup")
			if err == nil {
				held[unit] = bytes
			} else if !errors.Is(err, fs.ErrNotExist) { // ended since
				all = errors.Join(all, err)
			}
		}
	}
	return held, all
}

// proportional reads the Pss line.
func proportional(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if kib, ok := strings.CutPrefix(lines.Text(), "Pss:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.Join(fmt.Errorf("%s has no Pss", path), lines.Err())
}
