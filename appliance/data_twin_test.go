// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/stacks"
)

// spaceTwin has as much room as it is told.
type spaceTwin struct {
	free, memory int64
	now          func() int64 // instead of free, if it is set
}

func (s *spaceTwin) Free(string) (int64, error) {
	if s.now != nil {
		return s.now(), nil
	}
	return s.free, nil
}

func (s *spaceTwin) SameDisk(a, _ string) (bool, error) {
	return strings.HasPrefix(a, "/mnt/folder"), nil
}

func (s *spaceTwin) Memory() (int64, error) { return s.memory, nil }

// dataTwin copies one file a volume, and measures numbers that it is told.
type dataTwin struct {
	mu    sync.Mutex
	facts map[int64]map[string]int64 // by generation
	// takes is how long a copy takes.
	takes  time.Duration
	looks  time.Duration // for measuring facts by themselves
	err    error
	halted int
	asked  []map[string]stacks.Fact // by themselves: each time takes a child
	drops  func()                   // called when databases are about to be dropped, if set
	drop   int                      // how often they were
	loads  map[string]int64         // the facts of a generation that was loaded; nil: as they were
	// snapshots is asked before each snapshot of databases.
	snapshots func(appliance.DataPlace) error
}

var _ appliance.Data = (*dataTwin)(nil)

func newDataTwin() *dataTwin { return &dataTwin{facts: map[int64]map[string]int64{}} }

// set gives the facts of a generation.
func (d *dataTwin) set(generation int64, facts map[string]int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.facts[generation] = maps.Clone(facts)
}

func (d *dataTwin) Copy(ctx context.Context, from, to appliance.DataPlace, facts map[string]stacks.Fact) (appliance.Copied, error) {
	select {
	case <-ctx.Done():
		return appliance.Copied{}, context.Cause(ctx)
	case <-time.After(d.takes):
	}
	got, err := d.measure(from.Generation, facts)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(err, d.err); err != nil {
		return appliance.Copied{}, err
	}
	d.facts[to.Generation] = maps.Clone(d.facts[from.Generation])
	return appliance.Copied{Bytes: 1, Facts: got}, d.write(from, to)
}

func (d *dataTwin) write(from, to appliance.DataPlace) error {
	for name, dir := range to.Volumes {
		content, err := os.ReadFile(filepath.Join(from.Volumes[name], "coop.db"))
		if err != nil {
			content = nil
		}
		if err := os.WriteFile(filepath.Join(dir, "coop.db"), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataTwin) CopyFiles(context.Context, appliance.DataPlace, appliance.DataPlace) (int64, error) {
	return 0, nil
}

func (d *dataTwin) Size(context.Context, appliance.DataPlace) (int64, error) { return 1 << 20, nil }

func (d *dataTwin) Facts(ctx context.Context, at appliance.DataPlace, facts map[string]stacks.Fact) (map[string]int64, error) {
	d.mu.Lock()
	if len(facts) > 0 {
		d.asked = append(d.asked, facts)
	}
	d.mu.Unlock()
	if d.looks > 0 {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(d.looks):
		}
	}
	return d.measure(at.Generation, facts)
}

func (d *dataTwin) measure(generation int64, facts map[string]stacks.Fact) (map[string]int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, told := d.facts[generation]
	if told && known == nil {
		return nil, appliance.Problem("migrate.fact-failed", nil, "generation", generation)
	}
	got := map[string]int64{}
	for name := range facts {
		got[name] = known[name]
	}
	return got, nil
}

// children tells for which facts a child of their own was needed since the twin
// was last asked, by name.
func (d *dataTwin) children() (names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, facts := range d.asked {
		names = append(names, strings.Join(slices.Sorted(maps.Keys(facts)), " "))
	}
	d.asked = nil
	return names
}

func (d *dataTwin) Snapshot(_ context.Context, at appliance.DataPlace, into string, facts map[string]stacks.Fact) (appliance.Snapshot, error) {
	if d.snapshots != nil {
		if err := d.snapshots(at); err != nil {
			return appliance.Snapshot{}, err
		}
	}
	got, err := d.measure(at.Generation, facts)
	if err != nil {
		return appliance.Snapshot{}, err
	}
	content := fmt.Appendf(nil, "generation %d", at.Generation)
	s := appliance.Snapshot{Files: map[string]string{"main": "main.db"}, Bytes: int64(len(content)), Facts: got}
	return s, os.WriteFile(filepath.Join(into, "main.db"), content, 0o600)
}

func (d *dataTwin) Load(_ context.Context, from string, at appliance.DataPlace) error {
	if d.loads != nil {
		d.set(at.Generation, d.loads)
	}
	content, err := os.ReadFile(filepath.Join(from, "main.db"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at.Volumes["data"], "coop.db"), content, 0o600)
}

// Mend replaces all that differs, and counts.
func (d *dataTwin) Mend(_ context.Context, from string, at appliance.DataPlace, aside string) (m appliance.Mended, err error) {
	to := slices.Collect(maps.Values(at.Volumes))[0]
	list, err := os.ReadDir(from)
	for _, e := range list {
		want, _ := os.ReadFile(filepath.Join(from, e.Name()))
		have, gone := os.ReadFile(filepath.Join(to, e.Name()))
		if gone == nil && string(have) == string(want) {
			continue
		}
		if m.Back++; gone == nil {
			m.Aside++
			err = errors.Join(err, os.WriteFile(filepath.Join(aside, e.Name()), have, 0o600))
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(to, e.Name()), want, 0o600))
	}
	return m, err
}

func (d *dataTwin) Drop(context.Context, appliance.DataPlace) error {
	d.mu.Lock()
	d.drop++
	d.mu.Unlock()
	if d.drops != nil {
		d.drops()
	}
	return nil
}

// dropped is how often databases were dropped.
func (d *dataTwin) dropped() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.drop
}

func (d *dataTwin) Halt(context.Context, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.halted++
	return nil
}
