// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The kernel shows a container the memory of the whole machine. What decides by memory (a swap file, a warning) reads
// /proc/meminfo, so a machine with a limit gets one that agrees with it. Its numbers stand still.
const meminfoInside = "/run/testhost-meminfo"

func (m *Machine) meminfoPath() string { return filepath.Join(m.lease.Dir, "meminfo") }

// writeMeminfo prepares the file that a machine with a memory limit sees.
func (m *Machine) writeMeminfo() error {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return err
	}
	return os.WriteFile(m.meminfoPath(), []byte(scaleMeminfo(string(data), m.memory>>10)), 0o444)
}

// scaleMeminfo caps every amount at total kB, and shows no swap, since the machine has none of its own yet.
func scaleMeminfo(text string, total int64) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			out.WriteString(line)
			continue
		}
		value, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			continue
		}
		if strings.HasPrefix(fields[0], "Swap") {
			value = 0
		}
		if fields[0] == "MemTotal:" {
			value = total
		}
		fmt.Fprintf(&out, "%-15s %8d kB\n", fields[0], min(value, total))
	}
	return out.String()
}

// showMeminfo puts the file over the kernel's in a machine that just started.
func (m *Machine) showMeminfo(ctx context.Context, init int) error {
	_, err := run(ctx, "nsenter", "-t", strconv.Itoa(init), "-m", "--", "/bin/mount", "--bind", meminfoInside, "/proc/meminfo")
	return err
}
