// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
)

// TestBackupSparesTheDisk: one that takes the disk from the stacks is ended, what it
// wrote is given back, and the other repositories get theirs.
func TestBackupSparesTheDisk(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.fillsTheDisk()
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.no-spare") {
			t.Error(err)
		}
		heard := b.vault.heard(0)
		if !slices.Contains(heard, "prune box") || b.vault.count("box") != 0 || b.vault.count("offsite") != 1 {
			t.Error(heard)
		}
	})
}

// TestSnapshotThatPassesForGood is told of, whatever ended the backup that made it: a
// person can do something about it, and nothing else tells.
func TestSnapshotThatPassesForGood(t *testing.T) {
	left := &backups.Problem{ID: "backups.not-set-aside", Args: map[string]string{"repository": "box", "snapshot": "12345678", "command": "restic"}}
	t.Run("for the sake of the disk", func(t *testing.T) {
		saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
			b.vault.stopped = left
			b.fillsTheDisk()
			if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backups.not-set-aside") {
				t.Error(err)
			}
		})
	})
	t.Run("as the daemon ends", func(t *testing.T) {
		saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
			b.vault.stopped = left
			b.hangs("offsite")
			stillOnItsWay(t, backup(d, appliance.BackupFull))
			b.stop()
			b.vault.stopped = nil
			b.boot()
			runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupFull, 9)
			if err != nil || !slices.ContainsFunc(runs, func(r appliance.BackupRun) bool { return r.Error != nil && r.Error.ID == "backups.not-set-aside" }) {
				t.Errorf("%+v, %v", runs, err)
			}
		})
	})
	t.Run("to give way", func(t *testing.T) {
		saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
			if err := backup(d, appliance.BackupFull); err != nil {
				t.Fatal(err)
			}
			b.vault.stopped = left
			b.hangs("offsite")
			stillOnItsWay(t, backup(d, appliance.BackupDump))
			b.space.now = func() int64 {
				if len(b.stages()) > 1 {
					return 1 << 20
				}
				return 1 << 40
			}
			stillOnItsWay(t, backup(d, appliance.BackupDump))
			runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupDump, 9)
			if err != nil || !slices.ContainsFunc(runs, func(r appliance.BackupRun) bool { return r.Error != nil && r.Error.ID == "backups.not-set-aside" }) {
				t.Errorf("%+v, %v", runs, err)
			}
		})
	})
}

// fillsTheDisk makes each backup that begins now take the disk from the stacks.
func (b *bench) fillsTheDisk() {
	b.vault.slow(time.Minute)
	began, plenty := time.Now(), b.space.free
	b.space.now = func() int64 {
		if time.Since(began) > 10*time.Second {
			return 1 << 20
		}
		return plenty
	}
}

// TestDamageIsNotPruned: what a backup wrote that was ended for the sake of the disk stays
// while a check is open as failed, since a prune might drop the whole one of two places
// with the same bytes; also in the middle of the repair, before that check is kept.
func TestDamageIsNotPruned(t *testing.T) {
	for name, repairing := range map[string]bool{"in the repair": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.made("box")
				b.vault.bad = 2
				if repairing {
					b.fillsTheDisk()
				}
				if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "backup.damaged") {
					t.Fatal(err)
				}
				if !repairing {
					b.fillsTheDisk()
					if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.no-spare") {
						t.Error(err)
					}
				}
				if heard := b.vault.heard(0); !slices.Contains(heard, "backup box") || slices.Contains(heard, "prune box") {
					t.Error(heard)
				}
			})
		})
	}
}
