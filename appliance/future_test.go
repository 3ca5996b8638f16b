// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestSnapshotFromTheFuture: one that a wrong clock made is not the newest for years.
// It is there for whoever names it, and a finding says how it goes.
func TestSnapshotFromTheFuture(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for range 2 {
			if err := backup(d, appliance.BackupFull); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		b.vault.mu.Lock()
		ahead := b.vault.kept["offsite"][0].ID
		for _, r := range []string{"box", "offsite"} {
			b.vault.kept[r][0].Time = time.Now().AddDate(9, 0, 0)
		}
		b.vault.mu.Unlock()
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		made := time.Now()
		b.vault.mu.Lock()
		whole := b.vault.kept["offsite"][2].ID // behind that from the future and the dump
		b.vault.mu.Unlock()
		for at, want := range map[string]bool{"": false, time.Now().UTC().Format(time.DateOnly): false, ahead: true} {
			one, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Repository: "offsite", At: at})
			if err != nil || (one.Snapshot == ahead) != want || !want && (one.Made.Before(made.Add(-time.Minute)) || one.Files != whole) {
				t.Errorf("at %q: %+v, %v", at, one, err)
			}
		}
		p, err := b.rescue(t).Find(t.Context())
		if err != nil || p.Snapshot == ahead || p.Files != whole {
			t.Errorf("rescue %+v, %v", p, err)
		}
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); !slices.Contains(f, "warning backups.future-snapshot") {
			t.Errorf("findings %v", f)
		}
		b.vault.lose("box")
		b.vault.lose("offsite")
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); slices.Contains(f, "warning backups.future-snapshot") {
			t.Errorf("findings %v when it is gone", f)
		}
	})
}

// TestOnlyTheFuture: where the clock is behind, all is from the future, and the newest
// of it is better than nothing.
func TestOnlyTheFuture(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for range 2 {
			if err := backup(d, appliance.BackupFull); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		b.vault.mu.Lock()
		for _, r := range []string{"box", "offsite"} {
			for i := range b.vault.kept[r] {
				b.vault.kept[r][i].Time = b.vault.kept[r][i].Time.AddDate(9, 0, 0)
			}
		}
		newest := b.vault.kept["offsite"][0].ID
		b.vault.mu.Unlock()
		one, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Repository: "offsite"})
		if err != nil || one.Snapshot != newest {
			t.Errorf("%+v, %v", one, err)
		}
	})
}
