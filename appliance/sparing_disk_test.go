// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestBackupSparesTheDisk: one that takes the disk from the stacks is ended, what it
// wrote is given back, and the other repositories get theirs.
func TestBackupSparesTheDisk(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.slow(time.Minute)
		began, plenty := time.Now(), b.space.free
		b.space.now = func() int64 {
			if time.Since(began) > 10*time.Second {
				return 1 << 20
			}
			return plenty
		}
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.no-spare") {
			t.Error(err)
		}
		heard := b.vault.heard(0)
		if !slices.Contains(heard, "prune box") || b.vault.count("box") != 0 || b.vault.count("offsite") != 1 {
			t.Error(heard)
		}
	})
}
