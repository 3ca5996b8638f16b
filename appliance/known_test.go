// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"database/sql"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/state"
)

// otherPlace is the same repository by name, somewhere else.
var otherPlace = strings.Replace(offsiteConfig, "/srv/rides", "/srv/other", 1)

// old makes the box ten days older than it is, with a whole backup of now.
func (b *bench) old(d *appliance.Daemon) {
	b.t.Helper()
	row := b.row()
	row.Committed = row.Committed.AddDate(0, 0, -10)
	if err := errors.Join(b.store.Commit(b.t.Context(), row), backup(d, appliance.BackupFull)); err != nil {
		b.t.Fatal(err)
	}
}

// ofCopies are the findings without those of drills, which an old box is told of.
func (b *bench) ofCopies() []string {
	return slices.DeleteFunc(b.findings(), func(f string) bool { return strings.Contains(f, " drill.") })
}

// long makes repositories known for as long as the box is old.
func (b *bench) long() {
	b.t.Helper()
	known, err := b.store.KnownRepositories(b.t.Context())
	if err != nil || len(known) != 2 {
		b.t.Fatalf("%+v, %v", known, err)
	}
	for i := range known {
		known[i].Since = known[i].Since.AddDate(0, 0, -10)
	}
	if err := b.store.KeepRepositories(b.t.Context(), known); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) reconfigure(d *appliance.Daemon, config string) {
	b.t.Helper()
	b.writeConfig(config)
	if err := d.Reload(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// wholeRuns are those on the repository elsewhere since a time.
func (b *bench) wholeRuns(since time.Time) (n int) {
	b.t.Helper()
	runs, err := b.store.Runs(b.t.Context(), "offsite", appliance.BackupFull, appliance.KeptRuns)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range runs {
		if !r.Began.Before(since) {
			n++
		}
	}
	return n
}

// TestNewRepositoryOnAnOldBox is no failure, and is saved to soon.
func TestNewRepositoryOnAnOldBox(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.old(d)
		time.Sleep(22 * time.Hour) // it is in the evening
		added := time.Now()
		b.reconfigure(d, offsiteConfig)
		if f := b.ofCopies(); len(f) > 0 {
			t.Errorf("at once: findings %v", f)
		}
		time.Sleep(4 * time.Minute)
		if n := b.wholeRuns(added); n != 0 {
			t.Errorf("it was saved to before whoever added it could: %d runs", n)
		}
		time.Sleep(4 * time.Minute)
		if n := b.wholeRuns(added); n != 1 || b.vault.count("offsite") != 1 {
			t.Errorf("after eight minutes: %d runs", n)
		}
		time.Sleep(5 * time.Hour)
		if f := b.ofCopies(); len(f) > 0 {
			t.Errorf("findings %v", f)
		}
		if n := b.wholeRuns(added); n != 2 {
			t.Errorf("%d runs, wanted one more in the night", n)
		}
	})
}

// TestNewRepositorySavedByHand is not saved to again before the night.
func TestNewRepositorySavedByHand(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.old(d)
		time.Sleep(2 * time.Hour) // the night's work is done
		added := time.Now()
		b.reconfigure(d, offsiteConfig)
		time.Sleep(time.Minute)
		if err := d.Backup(t.Context(), appliance.BackupFull, "offsite", nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		if n := b.wholeRuns(added); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

// TestNewRepositoryThatFails is tried once before the night, and told of as a failure at once. That does not begin anew with the daemon.
func TestNewRepositoryThatFails(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.old(d)
		time.Sleep(2 * time.Hour) // the night's work is done
		added := time.Now()
		b.vault.fail("offsite", unreachable("offsite"))
		b.reconfigure(d, offsiteConfig)
		time.Sleep(time.Hour)
		if f := b.ofCopies(); !slices.Equal(f, []string{"failure backup.never-worked", "warning backups.unreachable"}) {
			t.Errorf("findings %v", f)
		}
		b.stop()
		b.boot()
		time.Sleep(20 * time.Minute)
		if n := b.wholeRuns(added); n != 1 {
			t.Errorf("it was tried %d times", n)
		}
		known, err := b.store.KnownRepositories(t.Context())
		if err != nil || len(known) != 2 || known[1].Since.Sub(added).Abs() > time.Minute {
			t.Errorf("%+v, %v", known, err)
		}
		b.long()
		if f := b.ofCopies(); !slices.Contains(f, "failure backup.never-worked") {
			t.Errorf("after its time: findings %v", f)
		}
	})
}

// TestRepositoryGetsAnotherAddress: it counts anew, whether it was away or not.
func TestRepositoryGetsAnotherAddress(t *testing.T) {
	for name, away := range map[string]time.Duration{"at once": 0, "after it was away": time.Minute} {
		t.Run(name, func(t *testing.T) {
			saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.vault.fail("offsite", unreachable("offsite"))
				if err := backup(d, appliance.BackupFull); err == nil {
					t.Fatal("the repository was reached")
				}
				row := b.row()
				row.Committed = row.Committed.AddDate(0, 0, -10)
				if err := b.store.Commit(t.Context(), row); err != nil {
					t.Fatal(err)
				}
				b.long()
				if f := b.ofCopies(); !slices.Contains(f, "failure backup.never-worked") {
					t.Fatalf("findings %v", f)
				}
				time.Sleep(time.Second)
				if away > 0 {
					b.reconfigure(d, testConfig)
					time.Sleep(away)
				}
				changed := time.Now()
				b.reconfigure(d, otherPlace)
				b.vault.fail("offsite", nil)
				if f := b.ofCopies(); hasFailure(f) {
					t.Errorf("findings %v", f)
				}
				time.Sleep(8 * time.Minute)
				if n := b.wholeRuns(changed); n != 1 {
					t.Errorf("%d runs", n)
				}
				if f := b.ofCopies(); len(f) > 0 {
					t.Errorf("findings %v", f)
				}
			})
		})
	}
}

// TestStateBeforeRepositoriesWereKnown: a version that did not keep since when they are
// hides no repository that is stale, and makes nothing due.
func TestStateBeforeRepositoriesWereKnown(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.old(d)
		b.stop()
		b.beforeKnown()
		upgraded := time.Now()
		b.boot()
		time.Sleep(8 * time.Minute)
		if f := b.ofCopies(); !slices.Contains(f, "failure backup.stale") {
			t.Errorf("findings %v", f)
		}
		if n := b.wholeRuns(upgraded); n != 0 {
			t.Errorf("%d runs", n)
		}
		known, err := b.store.KnownRepositories(t.Context())
		if err != nil || len(known) != 2 || time.Since(known[1].Since) < 8*24*time.Hour {
			t.Errorf("%+v, %v", known, err)
		}
	})
}

// beforeKnown leaves the state of a version that knew no repositories: of one elsewhere
// to which was last saved nine days ago.
func (b *bench) beforeKnown() {
	b.t.Helper()
	old, err := sql.Open("sqlite", b.paths.State())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, q := range []string{"drop table repositories", "delete from goose_db_version where version_id = 4", "delete from backup_runs where repository = 'offsite'"} {
		if _, err := old.Exec(q); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		b.t.Fatal(err)
	}
	store, err := state.Open(b.t.Context(), b.paths.State())
	if err != nil {
		b.t.Fatal(err)
	}
	run := appliance.BackupRun{ID: "old", Repository: "offsite", Kind: appliance.BackupFull, Began: time.Now().AddDate(0, 0, -9), OK: true}
	if err := errors.Join(store.KeepRun(b.t.Context(), run), store.CloseFile()); err != nil {
		b.t.Fatal(err)
	}
}

// TestClockWasAhead when a repository was added: it is not new for years.
func TestClockWasAhead(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		known, err := b.store.KnownRepositories(t.Context())
		if err != nil || len(known) != 2 {
			t.Fatalf("%+v, %v", known, err)
		}
		for i := range known {
			known[i].Since = time.Now().AddDate(9, 0, 0)
		}
		if err := b.store.KeepRepositories(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		known, err = b.store.KnownRepositories(t.Context())
		if err != nil || len(known) != 2 || known[0].Since.After(time.Now()) {
			t.Errorf("%+v, %v", known, err)
		}
	})
}

// TestNoConfigurationForgetsNoRepository: nobody knows which there are then.
func TestNoConfigurationForgetsNoRepository(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		b.stop()
		if err := errors.Join(os.Remove(b.paths.Config()), os.Remove(b.paths.GoodConfig())); err != nil {
			t.Fatal(err)
		}
		b.boot()
		time.Sleep(2 * time.Minute)
		known, err := b.store.KnownRepositories(t.Context())
		if err != nil || len(known) != 2 {
			t.Errorf("%+v, %v", known, err)
		}
	})
}

// TestAppendOnly: where the box may only add nothing is let go, and that it could not be
// is not told any more.
func TestAppendOnly(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.downFor = "forget kind:dump"
		b.vault.fail("offsite", unreachable("offsite"))
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err == nil {
			t.Fatal("old snapshots were let go")
		}
		if f := b.findings(); !slices.Contains(f, "warning backup.prune-failed") {
			t.Errorf("findings %v", f)
		}
		b.reconfigure(d, strings.Replace(offsiteConfig, `rides"}`, `rides", append_only: true}`, 1))
		if f := b.findings(); len(f) > 0 {
			t.Errorf("findings %v", f)
		}
		mark := len(b.vault.heard(0))
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil {
			t.Error(err)
		}
		heard := b.vault.heard(mark)
		if !slices.Contains(heard, "prune box") || slices.ContainsFunc(heard, func(s string) bool { return strings.HasSuffix(s, " offsite") }) {
			t.Errorf("heard %v", heard)
		}
	})
}
