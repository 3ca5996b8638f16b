// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Meter tells what units hold: of the memory of their main process, what is
// theirs alone and their share of what they have in common (PSS).
type Meter struct {
	Systemd Systemd
	Units   []string
}

// Memory gives the bytes by unit. Units that do not run are left out.
func (m Meter) Memory(ctx context.Context) (map[string]int64, error) {
	held := map[string]int64{}
	var all error
	for _, unit := range m.Units {
		p, err := m.Systemd.Show(ctx, unit, "MainPID")
		if err != nil {
			return held, err
		}
		if pid := p["MainPID"]; pid != "" && pid != "0" {
			bytes, err := proportional("/proc/" + pid + "/smaps_rollup")
			if err == nil {
				held[unit] = bytes
			} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) { // ended since
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
