// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestUpkeepWaitsForADump: a place that takes a dump for most of the time until the next
// one is checked all the same, with no new dump in between and none during the check.
func TestUpkeepWaitsForADump(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.slowFor = "offsite"
		b.vault.slow(40 * time.Minute)
		began := time.Now()
		if late := stillOnItsWay(t, backup(d, appliance.BackupDump)); late != "offsite" {
			t.Fatalf("late is %q", late)
		}
		checked := false
		b.vault.checking = func(repository string) {
			if repository != "offsite" {
				return
			}
			checked = true
			if took := time.Since(began); took < 40*time.Minute || took > 41*time.Minute {
				t.Errorf("checked after %v", took)
			}
			if err := d.Backup(t.Context(), appliance.BackupDump, "offsite", nil); !appliance.IsProblem(err, "daemon.busy") || appliance.ExitCode(err) != appliance.ExitLocked {
				t.Errorf("a dump to it alone: %v", err)
			}
			mark := len(b.vault.heard(0))
			if late := stillOnItsWay(t, backup(d, appliance.BackupDump)); late != "offsite" {
				t.Errorf("late is %q", late)
			}
			if heard := b.vault.heard(mark); !slices.Contains(heard, "backup box") || slices.Contains(heard, "backup offsite") {
				t.Errorf("a dump during the check: %v", heard)
			}
		}
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); err != nil || !checked {
			t.Errorf("checked %v, %v", checked, err)
		}
		b.vault.checking = nil
		b.vault.slow(0)
		mark := len(b.vault.heard(0))
		if err := backup(d, appliance.BackupDump); err != nil || !slices.Contains(b.vault.heard(mark), "backup offsite") {
			t.Errorf("a dump after it: %v, %v", b.vault.heard(mark), err)
		}
	})
}

// TestUpkeepGoesOnAfterARestart of the daemon that came while it waited for a dump.
func TestUpkeepGoesOnAfterARestart(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		if late := stillOnItsWay(t, backup(d, appliance.BackupDump)); late != "offsite" {
			t.Fatalf("late is %q", late)
		}
		go func() { _ = d.Upkeep(t.Context(), appliance.BackupCheck, nil) }()
		time.Sleep(time.Minute)
		b.stop()
		b.vault.slow(0)
		b.boot()
		time.Sleep(5 * time.Minute)
		if heard := b.vault.heard(0); !slices.Contains(heard, "check 1/28 offsite") {
			t.Errorf("heard %v", heard)
		}
	})
}

// TestPruneThatNeverComes is told of: a place that takes a whole snapshot each time when
// the night looks is pruned by nobody, and no run says so.
func TestPruneThatNeverComes(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for _, repository := range []string{"box", "offsite"} {
			b.ran(repository, 9*24*time.Hour, true)
			b.ran(repository, time.Hour, true)
		}
		told := func(knownDays int) int {
			b.knownFor(time.Duration(knownDays) * 24 * time.Hour)
			all := d.Findings(t.Context())
			return len(slices.DeleteFunc(all, func(f appliance.Finding) bool { return f.ID != "backup.prune-overdue" }))
		}
		if n := told(7); n != 0 {
			t.Errorf("told of %d repositories after a week", n)
		}
		if n := told(30); n != 2 {
			t.Errorf("told of %d repositories after nine days", n)
		}
		b.reconfigure(d, strings.Replace(offsiteConfig, `rides"}`, `rides", append_only: true}`, 1))
		if n := told(30); n != 1 {
			t.Errorf("told of %d repositories when one is not pruned from here", n)
		}
		b.reconfigure(d, offsiteConfig)
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil || told(30) != 0 {
			t.Errorf("told of %d repositories when they were pruned; %v", told(30), err)
		}
	})
}
