// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

// TestRepairLeavesNoCopies of databases on the disk, neither when it ends nor when the
// daemon is killed in the middle of it and another one begins.
func TestRepairLeavesNoCopies(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		copies := func() bool {
			_, err := os.Stat(b.paths.Stage(appliance.BackupFull))
			return err == nil
		}
		b.made("box")
		b.vault.bad = 2
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "backup.damaged") || copies() {
			t.Fatalf("copies: %v, %v", copies(), err)
		}
		b.vault.bad = 2
		b.vault.slow(time.Hour)
		go func() { _ = d.Upkeep(t.Context(), appliance.BackupCheck, nil) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if !copies() {
			t.Fatal("the repair does not go on")
		}
		b.stop()
		if err := os.MkdirAll(b.paths.Stage(appliance.BackupFull), 0o700); err != nil { // a kill leaves it
			t.Fatal(err)
		}
		b.vault.slow(0)
		b.boot()
		time.Sleep(time.Minute)
		synctest.Wait()
		if copies() {
			t.Error("the copies of an interrupted repair are left behind")
		}
	})
}

// TestDamageWhereTheBoxMayOnlyAdd is for whoever runs the place to repair, and told as
// that; everything is saved there anew all the same.
func TestDamageWhereTheBoxMayOnlyAdd(t *testing.T) {
	saving(t, strings.Replace(offsiteConfig, `rides"}`, `rides", append_only: true}`, 1), func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.made("box")
		b.made("offsite")
		b.vault.checking = func(repository string) {
			if repository == "offsite" {
				b.vault.bad = 2
			}
		}
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "backup.damaged-there") {
			t.Error(err)
		}
		if heard := b.vault.heard(0); !slices.Contains(heard, "backup offsite") || slices.Contains(heard, "heal box") {
			t.Errorf("heard %v", heard)
		}
		if f := b.findings(); !slices.Contains(f, "failure backup.damaged-there") || slices.Contains(f, "failure backup.damaged") {
			t.Errorf("findings %v", f)
		}
	})
}
