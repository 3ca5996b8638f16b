// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// waitingDisk notes which files lie in the folders that somebody waits for.
type waitingDisk struct {
	host.OS
	mu   sync.Mutex
	held map[string]string // names of files, by folder, when it was waited for first
}

func (d *waitingDisk) SyncAll(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.held[path]; again {
		return nil
	}
	var names []string
	err := filepath.WalkDir(path, func(at string, _ fs.DirEntry, err error) error {
		names = append(names, at)
		return err
	})
	d.held[path] = strings.Join(names, "\n")
	return err
}

// laidOut wants a folder to have been waited for while all that a snapshot has was
// still in it.
func (d *waitingDisk) laidOut(t *testing.T, dir string, also ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range append(also, "manifest.json", "databases/main.db", "stack/stack.yaml", "photo.jpg") {
		if !strings.Contains(d.held[dir], "/"+name) {
			t.Errorf("nobody waited for %s in %s before it was moved", name, dir)
		}
	}
}

// TestLaidOutIsOnTheDisk before anything of it is moved: after a power cut what was
// moved is kept as it is.
func TestLaidOutIsOnTheDisk(t *testing.T) {
	t.Run("recovery", func(t *testing.T) {
		lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
			disk := &waitingDisk{held: map[string]string{}}
			b.disk = disk
			if err := recoverNow(b.boot(), p); err != nil {
				t.Fatal(err)
			}
			disk.laidOut(t, b.paths.Restored("delivery", "recovery"), "secrets/key")
		})
	})
	t.Run("restore", func(t *testing.T) {
		saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
			if err := backup(d, appliance.BackupFull); err != nil {
				t.Fatal(err)
			}
			disk := &waitingDisk{held: map[string]string{}}
			b.stop()
			b.disk = disk
			d = b.boot()
			b.data.set(2, map[string]int64{"orders": 12})
			c, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			disk.laidOut(t, b.paths.Restored("delivery", c.ID))
		})
	})
}
