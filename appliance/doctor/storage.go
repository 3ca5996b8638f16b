// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"rochdale/appliance"
)

// Disk is the space of one file system.
type Disk struct {
	ID                string // the same for two paths on one file system
	Free, Total       int64  // bytes; Free is what a process of root gets
	Inodes, AllInodes uint64 // free, and all; all is 0 where there is no such limit
}

// Memory is /proc/meminfo, in bytes.
type Memory struct {
	Total, Available    int64
	SwapTotal, SwapFree int64
}

const (
	mega = 1000 * 1000
	giga = 1000 * mega
)

// disks looks at the file systems that fill in practice: ours, the engine's and
// the system's.
func disks(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Machine == nil {
		return nil, nil
	}
	var list []appliance.Finding
	seen := map[string]bool{}
	for _, path := range []string{d.Paths.Var(), d.at("var/lib/docker"), d.at()} {
		disk, err := d.Machine.Disk(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return list, fmt.Errorf("ask for the space on %s: %w", path, err)
		}
		if !seen[disk.ID] {
			list = append(list, judgeDisk(path, disk)...)
		}
		seen[disk.ID] = true
	}
	return list, nil
}

// judgeDisk: a tenth of the disk or 2 GB, whichever is less, is a warning; 3 %
// or 500 MB a failure, because databases stop when nothing is left.
func judgeDisk(path string, d Disk) (list []appliance.Finding) {
	switch {
	case d.Free < min(d.Total*3/100, 500*mega):
		list = append(list, failure("doctor.disk-full", "path", path, "free", size(d.Free)))
	case d.Free < min(d.Total/10, 2*giga):
		list = append(list, warning("doctor.disk-low", "path", path, "free", size(d.Free)))
	}
	switch {
	case d.AllInodes == 0:
	case d.Inodes < d.AllInodes/50:
		list = append(list, failure("doctor.inodes-full", "path", path, "free", d.Inodes))
	case d.Inodes < d.AllInodes/10:
		list = append(list, warning("doctor.inodes-low", "path", path, "free", d.Inodes))
	}
	return list
}

func memory(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Machine == nil {
		return nil, nil
	}
	m, err := d.Machine.Memory()
	if err != nil {
		return nil, err
	}
	return judgeMemory(m), nil
}

// judgeMemory warns when less than 64 MB can be had without swapping, and where
// a small machine has no swap at all to survive a peak.
func judgeMemory(m Memory) (list []appliance.Finding) {
	if m.Available+m.SwapFree < 64*mega {
		list = append(list, failure("doctor.memory-full", "free", size(m.Available), "total", size(m.Total)))
	} else if m.Available < 64*mega {
		list = append(list, warning("doctor.memory-low", "free", size(m.Available), "total", size(m.Total)))
	}
	if m.Total < 2*giga && m.SwapTotal == 0 {
		list = append(list, warning("doctor.no-swap", "total", size(m.Total)))
	}
	return list
}

// size is for people, in units of 1000.
func size(n int64) string {
	if n < giga {
		return fmt.Sprintf("%d MB", n/mega)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/giga)
}
