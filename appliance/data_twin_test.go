// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rochdale/appliance"
	"rochdale/stacks"
)

// spaceTwin has as much room as it is told.
type spaceTwin struct{ free, memory int64 }

func (s *spaceTwin) Free(string) (int64, error) { return s.free, nil }
func (s *spaceTwin) Memory() (int64, error)     { return s.memory, nil }

// dataTwin copies one file a volume, and measures numbers that it is told.
type dataTwin struct {
	mu    sync.Mutex
	facts map[int64]map[string]int64 // by generation
	// takes is how long a copy takes.
	takes  time.Duration
	err    error
	halted int
	loads  map[string]int64 // the facts of a generation that was loaded; nil: as they were
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

func (d *dataTwin) Copy(ctx context.Context, from, to appliance.DataPlace) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(d.takes):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, d.err
	}
	d.facts[to.Generation] = maps.Clone(d.facts[from.Generation])
	return 1, d.write(from, to)
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

func (d *dataTwin) Facts(_ context.Context, at appliance.DataPlace, facts map[string]stacks.Fact) (map[string]int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known, told := d.facts[at.Generation]
	if told && known == nil {
		return nil, fmt.Errorf("generation %d can not be measured", at.Generation)
	}
	got := map[string]int64{}
	for name := range facts {
		got[name] = known[name]
	}
	return got, nil
}

func (d *dataTwin) Snapshot(ctx context.Context, at appliance.DataPlace, into string, facts map[string]stacks.Fact) (appliance.Snapshot, error) {
	if d.snapshots != nil {
		if err := d.snapshots(at); err != nil {
			return appliance.Snapshot{}, err
		}
	}
	got, err := d.Facts(ctx, at, facts)
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

func (d *dataTwin) Drop(context.Context, appliance.DataPlace) error { return nil }

func (d *dataTwin) Halt(context.Context, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.halted++
	return nil
}
