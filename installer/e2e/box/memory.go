// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rochdale/installer/testhost"
)

// Process is the memory of one process in the machine.
type Process struct {
	PID  int
	Unit string // its systemd unit, or "container" for one of Docker's
	Name string
	PSS  int64 // bytes: its own pages, and its share of those it shares
}

// Ours tells whether the process is one of Rochdale's own.
func (p Process) Ours() bool { return strings.HasPrefix(p.Unit, "rochdale") }

// Memory measures every process of the machine, the largest first.
func (b *Box) Memory(ctx context.Context) ([]Process, error) {
	r, err := b.Exec(ctx, testhost.Command{Args: []string{"grep", "-s", "-H", "^Pss:", "-r", "--include=smaps_rollup", "/proc", "--exclude-dir=task", "--exclude-dir=self", "--exclude-dir=thread-self"}})
	if err != nil {
		return nil, err
	}
	var all []Process
	lines := bufio.NewScanner(strings.NewReader(r.Stdout))
	for lines.Scan() {
		var p Process
		var kb int64
		line := strings.NewReplacer("/proc/", "", "/smaps_rollup:Pss:", " ").Replace(lines.Text())
		if _, err := fmt.Sscan(line, &p.PID, &kb); err != nil {
			continue // a file of another form; processes always have this one
		}
		if p.PSS = kb << 10; p.PSS > 0 {
			p.Name, p.Unit = b.identify(ctx, p.PID)
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(x, y Process) int { return cmp.Compare(y.PSS, x.PSS) })
	return all, nil
}

func (b *Box) identify(ctx context.Context, pid int) (name, unit string) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	if comm, err := b.ReadFile(ctx, dir+"comm"); err == nil {
		name = strings.TrimSpace(string(comm))
	}
	groups, err := b.ReadFile(ctx, dir+"cgroup")
	if err != nil {
		return name, ""
	}
	for line := range strings.Lines(string(groups)) {
		if strings.Contains(line, "docker-") || strings.Contains(line, "/docker/") {
			return name, "container"
		}
		if i := strings.LastIndex(line, "/"); strings.Contains(line, ".service") {
			unit = strings.TrimSpace(line[i+1:])
		}
	}
	return name, unit
}

// Sum adds the memory of the processes that keep accepts.
func Sum(all []Process, keep func(Process) bool) (bytes int64) {
	for _, p := range all {
		if keep(p) {
			bytes += p.PSS
		}
	}
	return bytes
}
