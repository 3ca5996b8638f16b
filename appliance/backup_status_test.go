// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
)

// unreachable is why a repository is out of reach.
func unreachable(repository string) error {
	return &backups.Problem{ID: "backups.unreachable", Args: map[string]string{"repository": repository}}
}

// days lets days pass, and has the database change on each.
func (b *bench) days(n int) {
	for range n {
		time.Sleep(24 * time.Hour)
		b.put("coop.db", time.Now().String())
		time.Sleep(20 * time.Minute)
	}
}

// TestFullBackupsThatFail are told of, also while the databases are saved.
func TestFullBackupsThatFail(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.failFull(&backups.Problem{ID: "backups.incomplete", Args: map[string]string{"repository": "box"}})
		b.days(1)
		if f := b.findings(); !slices.Contains(f, "warning backup.full-failed") || !slices.Contains(f, "warning backups.incomplete") || hasFailure(f) {
			t.Errorf("after a night: findings %v", f)
		}
		b.days(2)
		if f := b.findings(); !slices.Contains(f, "failure backup.full-stale") || slices.Contains(f, "failure backup.stale") {
			t.Errorf("after three nights: findings %v", f)
		}
		s, err := d.Status(t.Context())
		if err != nil || s.Healthy {
			t.Error("the box says that it is well", err)
		}
		for _, r := range s.Backups.Repositories {
			if time.Since(r.LastSuccess) > time.Hour || time.Since(r.Full.LastSuccess) < 48*time.Hour || r.LastError == nil || r.Full.LastError == nil || r.Dump.LastError != nil {
				t.Errorf("%+v", r)
			}
		}
		b.vault.failFull(nil)
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); len(f) > 0 {
			t.Errorf("when it works again: findings %v", f)
		}
	})
}

func hasFailure(findings []string) bool {
	return slices.ContainsFunc(findings, func(f string) bool { return strings.HasPrefix(f, "failure ") })
}

// TestDumpsThatFail are told of until something saves the databases.
func TestDumpsThatFail(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		b.vault.fail("box", unreachable("box"))
		if err := backup(d, appliance.BackupDump); err == nil {
			t.Fatal("the repository was reached")
		}
		if f := b.findings(); !slices.Equal(f, []string{"warning backup.failed", "warning backups.unreachable"}) {
			t.Errorf("findings %v", f)
		}
		b.vault.fail("box", nil)
		time.Sleep(time.Second)
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); len(f) > 0 {
			t.Errorf("findings %v", f)
		}
	})
}

// TestUpkeepThatFails: who can not check a repository, or not forget anything in
// it, hears of it.
func TestUpkeepThatFails(t *testing.T) {
	for what, want := range map[string][]string{
		"check 1/28":       {"", "warning backup.check-overdue"},
		"forget kind:dump": {"warning backup.prune-failed"},
	} {
		t.Run(what, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.days(2)
				if f := b.findings(); len(f) > 0 {
					t.Errorf("all went well: findings %v", f)
				}
				if what == "check 1/28" {
					what = "check 3/28"
				}
				b.vault.downFor = what
				b.vault.fail("box", unreachable("box"))
				for i, finding := range want {
					b.days(1 + 2*i)
					f := b.findings()
					if finding == "" && len(f) > 0 || finding != "" && !slices.Equal(f, []string{finding, "warning backups.unreachable"}) {
						t.Errorf("after %d days: findings %v, want %s", 1+2*i, f, finding)
					}
				}
				b.vault.fail("box", nil)
				b.days(1)
				if f := b.findings(); len(f) > 0 {
					t.Errorf("when it works again: findings %v", f)
				}
			})
		})
	}
}

// TestNewBoxHasNoFindings in its first days.
func TestNewBoxHasNoFindings(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		for n := range 12 {
			if f := b.findings(); len(f) > 0 {
				t.Fatalf("at %v: findings %v", time.Now().UTC(), f)
			}
			b.put("coop.db", strconv.Itoa(n))
			time.Sleep(7 * time.Hour)
		}
	})
}

// TestRepositoryThatNeverWorked is a failure after the first run that failed, whatever
// kept it from working, and a note that there is no copy elsewhere stays.
func TestRepositoryThatNeverWorked(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.fail("offsite", unreachable("offsite"))
		if err := backup(d, appliance.BackupFull); err == nil {
			t.Fatal("the repository was reached")
		}
		if f := b.findings(); !slices.Equal(f, []string{"failure backup.never-worked", "warning backups.unreachable"}) {
			t.Errorf("findings %v", f)
		}
		s, err := d.Status(t.Context())
		if err != nil || s.Healthy || !slices.ContainsFunc(s.Findings, func(f appliance.Finding) bool { return f.ID == "backup.no-offsite-yet" }) {
			t.Errorf("healthy %v, %v, %v", s.Healthy, s.Findings, err)
		}
		b.vault.fail("offsite", nil)
		time.Sleep(time.Second)
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); len(f) > 0 {
			t.Errorf("when it works: findings %v", f)
		}
		b.vault.fail("offsite", unreachable("offsite"))
		time.Sleep(time.Second)
		if err := backup(d, appliance.BackupFull); err == nil {
			t.Fatal("the repository was reached")
		}
		if f := b.findings(); !slices.Equal(f, []string{"warning backup.failed", "warning backups.unreachable"}) {
			t.Errorf("one bad day later: findings %v", f)
		}
	})
}

// TestSameDisk: a folder below /mnt on the disk of the box's data is told of.
func TestSameDisk(t *testing.T) {
	for path, want := range map[string]bool{"/mnt/folder/rides": true, "/mnt/disk/rides": false} {
		t.Run(path, func(t *testing.T) {
			saving(t, testConfig+"backups: {repositories: {disk: {url: "+path+"}}}\n", func(t *testing.T, b *bench, _ *appliance.Daemon) {
				if told := slices.Contains(b.findings(), "warning backup.same-disk"); told != want {
					t.Errorf("told %v", told)
				}
			})
		})
	}
}

// TestOneFindingOfADiskThatIsAway: what follows from that is left out. What is the matter
// with the kit elsewhere is told.
func TestOneFindingOfADiskThatIsAway(t *testing.T) {
	const config = testConfig + "backups: {repositories: {disk: {url: /mnt/folder/rides}, offsite: {url: \"sftp:rides@backup.example:/srv/rides\"}}}\n"
	saving(t, config, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.kits.shelf, d.Kits = b.shelf, b.kits
		if _, err := d.Printed(t.Context(), appliance.Printing{Recipient: "age1first", Set: "abc123", Need: 1, Of: 1, Checks: []byte(`{"pages":[{"page":1}]}`)}); err != nil {
			t.Fatal(err)
		}
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		away := func(address string) error {
			return &backups.Problem{ID: "kit.shelf-unreachable", Args: map[string]string{"address": address}}
		}
		b.vault.fail("disk", &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": "disk"}})
		b.shelf.fail("disk", away("/mnt/folder/rides"))
		b.kits.files = map[string]string{"a": "change"}
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.gone") {
			t.Fatal(err)
		}
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); !appliance.IsProblem(err, "backup.gone") {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, err := d.Recovery(t.Context()); err != nil || s.Trouble == nil {
			t.Fatal("the kit has no trouble", err)
		}
		warnings := func() (some []string) {
			for _, f := range b.findings() {
				if strings.HasPrefix(f, "warning ") {
					some = append(some, f)
				}
			}
			return some
		}
		if f := warnings(); !slices.Equal(f, []string{"warning backup.gone"}) {
			t.Errorf("findings %v", f)
		}
		b.shelf.fail("offsite", away("sftp:rides@backup.example:/srv/rides"))
		b.kits.files = map[string]string{"a": "another change"}
		_ = d.Backup(t.Context(), appliance.BackupFull, "box", nil)
		synctest.Wait()
		if f := warnings(); !slices.Contains(f, "warning recovery.kit-stale") || !slices.Contains(f, "warning kit.shelf-unreachable") {
			t.Errorf("and elsewhere: findings %v", f)
		}
		b.vault.fail("disk", nil)
		b.shelf.fail("disk", nil)
		time.Sleep(time.Minute)
		if err := d.Backup(t.Context(), appliance.BackupFull, "disk", nil); err != nil {
			t.Fatal(err)
		}
		if f := warnings(); !slices.Contains(f, "warning backup.prune-failed") || !slices.Contains(f, "warning backup.same-disk") {
			t.Errorf("it is back: findings %v", f)
		}
	})
}

// TestNothingSavedYet: a box that waits for its first backup has no snapshots, and that
// is no error; a password that was lost is one.
func TestNothingSavedYet(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.fail("box", &backups.Problem{ID: "backups.password-file"})
		if all, err := d.Snapshots(t.Context(), ""); err != nil || len(all) > 0 {
			t.Errorf("%v, %v", all, err)
		}
		config := filepath.Join(b.paths.BoxRepository(), "config")
		if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o700), os.WriteFile(config, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Snapshots(t.Context(), ""); !appliance.IsProblem(err, "backups.password-file") {
			t.Error(err)
		}
	})
}

// TestUpdateHidesNoStaleRepository: neither one that was saved to once, nor one that never
// was, has a day more after each update or way back.
func TestUpdateHidesNoStaleRepository(t *testing.T) {
	for name, once := range map[string]bool{"saved to once": true, "never": false} {
		t.Run(name, func(t *testing.T) {
			saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if once {
					if err := backup(d, appliance.BackupFull); err != nil {
						t.Fatal(err)
					}
					b.vault.fail("offsite", unreachable("offsite"))
					b.days(2)
				} else {
					row := b.row()
					row.Committed = row.Committed.AddDate(0, 0, -10)
					if err := b.store.Commit(t.Context(), row); err != nil {
						t.Fatal(err)
					}
					b.long()
				}
				stale := func(when string) {
					t.Helper()
					if f := b.findings(); !slices.Contains(f, "failure backup.stale") {
						t.Errorf("%s: findings %v", when, f)
					}
				}
				stale("before")
				if c, err := apply(d); err != nil || c.Outcome != appliance.Committed {
					t.Fatalf("%+v, %v", c, err)
				}
				stale("after an update")
				if c, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); err != nil || c.Outcome != appliance.Committed {
					t.Fatalf("%+v, %v", c, err)
				}
				stale("after the way back")
			})
		})
	}
}
