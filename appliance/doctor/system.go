// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rochdale/appliance"
)

func clock(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Machine == nil {
		return nil, nil
	}
	synced, known, err := d.Machine.ClockSynced()
	if err != nil || synced || !known {
		return nil, err
	}
	return only(warning("doctor.clock"))
}

// listsBound is how old the package lists may be.
const listsBound = 3 * 24 * time.Hour

// updates looks whether security updates still come in: the lists are fetched
// daily, and the last run of the updater ended well.
func updates(ctx context.Context, d Doctor) (list []appliance.Finding, _ error) {
	fetched, err := newest(d.at("var/lib/apt/lists"), d.at("var/lib/apt/periodic/update-success-stamp"))
	if err != nil {
		return nil, err
	}
	if age := time.Since(fetched); !fetched.IsZero() && age > listsBound {
		list = append(list, warning("doctor.updates-stale", "days", int(age.Hours()/24)))
	}
	if d.Units == nil {
		return list, nil
	}
	state, err := d.Units.Show(ctx, "apt-daily-upgrade.service", "LoadState", "Result")
	if err != nil {
		return list, err
	}
	if state["LoadState"] == "loaded" && state["Result"] != "success" {
		list = append(list, warning("doctor.updates-failed", "result", state["Result"]))
	}
	return list, nil
}

// newest gives the time of the file that changed last; those that are not there
// do not count, and none is the zero time.
func newest(paths ...string) (at time.Time, _ error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}

// reboot tells whether an update waits for a restart: the system says so, or a
// newer kernel is installed than the one that runs.
func reboot(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	mark := d.at("run/reboot-required")
	if data, err := os.ReadFile(mark); err == nil {
		return only(notice("doctor.reboot", "reason", reasons(data, mark+".pkgs")))
	}
	if d.Machine == nil {
		return nil, nil
	}
	running, err := d.Machine.Kernel()
	if err != nil {
		return nil, err
	}
	installed, err := filepath.Glob(d.at("boot/vmlinuz-*"))
	if err != nil {
		return nil, fmt.Errorf("list the kernels: %w", err)
	}
	if newer := newerKernel(running, installed); newer != "" {
		return only(notice("doctor.reboot", "reason", running+" -> "+newer))
	}
	return nil, nil
}

// reasons are the packages that asked for the restart, or what the mark says.
func reasons(mark []byte, packages string) string {
	if data, err := os.ReadFile(packages); err == nil {
		mark = data
	}
	words := strings.Fields(string(mark))
	slices.Sort(words)
	words = slices.Compact(words)
	return strings.Join(words[:min(len(words), 8)], " ")
}

// newerKernel gives the newest of the installed kernels if the running one is
// among them (else the machine boots by other means, and this tells nothing)
// and older.
func newerKernel(running string, files []string) string {
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimPrefix(filepath.Base(f), "vmlinuz-"))
	}
	if !slices.Contains(names, running) {
		return ""
	}
	last := slices.MaxFunc(names, compareVersions)
	if compareVersions(last, running) > 0 {
		return last
	}
	return ""
}

// compareVersions orders "6.1.0-9" before "6.1.0-18": runs of digits by their
// value, all else by bytes.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, restA := run(a)
		y, restB := run(b)
		if c := compareRuns(x, y); c != 0 {
			return c
		}
		a, b = restA, restB
	}
	return len(a) - len(b)
}

func compareRuns(x, y string) int {
	n, errX := strconv.ParseUint(x, 10, 64)
	m, errY := strconv.ParseUint(y, 10, 64)
	switch {
	case errX != nil || errY != nil:
		return strings.Compare(x, y)
	case n < m:
		return -1
	case n > m:
		return 1
	default:
		return 0
	}
}

// run splits off the longest beginning that is all digits or has none.
func run(s string) (string, string) {
	digit := func(i int) bool { return s[i] >= '0' && s[i] <= '9' }
	i := 1
	for i < len(s) && digit(i) == digit(0) {
		i++
	}
	return s[:i], s[i:]
}

// backup says that there is no copy outside the machine until the configuration
// names a repository. Whether one works is for the daemon to say.
func backup(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	c, err := appliance.ReadConfig(d.Paths.Config())
	if err == nil && len(c.Backups.Repositories) > 0 {
		return nil, nil
	}
	return only(notice("backup.no-offsite"))
}
