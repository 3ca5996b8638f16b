// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/step"
	"rochdale/backups"
)

// stages are the copies of databases that lie on the disk.
func (b *bench) stages() []string {
	b.t.Helper()
	all, err := filepath.Glob(filepath.Join(b.paths.Stages(), "*"))
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// hangs makes a repository take everything and never end.
func (b *bench) hangs(repository string) {
	b.vault.mu.Lock()
	b.vault.slowFor = repository
	b.vault.mu.Unlock()
	b.vault.slow(1000 * time.Hour)
}

// stillOnItsWay wants a backup that has not failed, and gives where it is not yet.
func stillOnItsWay(t *testing.T, err error) string {
	t.Helper()
	if !appliance.IsProblem(err, "backup.on-its-way") || appliance.ExitCode(err) != appliance.ExitWarnings {
		t.Fatalf("a backup that is not everywhere: %v", err)
	}
	return appliance.MessageOf(err).Args["repositories"]
}

// TestNotEverywhereIsTold: whoever asks for work hears which repository it left out. The
// backup itself has not failed, and the schedule takes it for no failure.
func TestNotEverywhereIsTold(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		stillOnItsWay(t, backup(d, appliance.BackupFull)) // a dump would be waited for
		jobs, err := d.Jobs(t.Context(), 1)
		if err != nil || len(jobs) != 1 || jobs[0].Outcome != step.Succeeded {
			t.Errorf("%+v, %v", jobs, err)
		}
		for _, kind := range []appliance.BackupKind{appliance.BackupCheck, appliance.BackupPrune} {
			mark := len(b.vault.heard(0))
			err := d.Upkeep(t.Context(), kind, nil)
			if !appliance.IsProblem(err, "backup.not-now") || appliance.ExitCode(err) != appliance.ExitWarnings || appliance.MessageOf(err).Args["repositories"] != "offsite" {
				t.Errorf("%s: %v", kind, err)
			}
			for _, what := range b.vault.heard(mark) {
				if strings.HasSuffix(what, " offsite") {
					t.Errorf("%s asked for %q", kind, what)
				}
			}
		}
		b.vault.fail("box", unreachable("box")) // what failed matters more
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "backups.unreachable") || appliance.ExitCode(err) == appliance.ExitWarnings {
			t.Error(err)
		}
		b.vault.fail("box", nil)
		b.put("coop.db", "changed")
		if err := d.DumpIfChanged(t.Context()); err != nil {
			t.Errorf("the schedule would tell of it each quarter of an hour: %v", err)
		}
	})
}

// TestSlowElsewhere: a server elsewhere that never ends keeps nothing of the box's own
// back, and somebody is told.
func TestSlowElsewhere(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		before, mark, left := b.vault.count("box"), len(b.vault.heard(0)), 0
		for range 28 { // more than a day of new orders
			b.put("coop.db", time.Now().String())
			time.Sleep(time.Hour)
			left = max(left, len(b.stages()))
		}
		if n := b.vault.count("box") - before; n < 28 {
			t.Errorf("%d copies more on the box itself in 28 hours", n)
		}
		heard := b.vault.heard(mark)
		for _, want := range []string{"prune box", "check 1/28 box", "restore box"} {
			if !slices.Contains(heard, want) {
				t.Errorf("%q was not asked for", want)
			}
		}
		if f := b.findings(); !slices.Contains(f, "failure backup.stale") {
			t.Errorf("findings %v", f)
		}
		if left > 3 { // a dump and a full one on their way, and a new one
			t.Errorf("%d copies of the databases at the same time", left)
		}
	})
}

// TestLeftOut: a repository that is at an earlier copy is left out of the next ones and
// told of, and has them when it is fast again.
func TestLeftOut(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		began := time.Now()
		if late := stillOnItsWay(t, backup(d, appliance.BackupDump)); late != "offsite" || time.Since(began) > 11*time.Minute {
			t.Fatalf("after %v: late is %q", time.Since(began), late)
		}
		if late := stillOnItsWay(t, backup(d, appliance.BackupDump)); late != "offsite" || b.vault.count("box") != 3 {
			t.Errorf("%d copies on the box, late is %q", b.vault.count("box"), late)
		}
		if f := b.findings(); !slices.Equal(f, []string{"warning backup.behind"}) {
			t.Errorf("findings %v", f)
		}
		err := d.Backup(t.Context(), appliance.BackupDump, "offsite", nil)
		if !appliance.IsProblem(err, "backup.goes-on") || appliance.ExitCode(err) != appliance.ExitWarnings {
			t.Errorf("asked for the one that is busy: %v", err)
		}
		b.vault.slow(0)
		time.Sleep(time.Hour - time.Since(began) + time.Minute)
		runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupDump, 9)
		if err != nil || !slices.ContainsFunc(runs, func(r appliance.BackupRun) bool { return r.Error != nil && r.Error.ID == "backup.too-slow" }) {
			t.Errorf("what took too long is not told: %+v, %v", runs, err)
		}
		time.Sleep(20 * time.Minute)
		if f := b.findings(); len(f) > 0 || b.vault.count("offsite") < 2 || len(b.stages()) > 0 {
			t.Errorf("findings %v, %d copies elsewhere, left %v", f, b.vault.count("offsite"), b.stages())
		}
	})
}

// TestSlowButWell: what takes longer than a backup waits is there in the end, whole, and
// nothing is copied once more for it.
func TestSlowButWell(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		time.Sleep(31 * time.Minute) // the first whole one
		b.vault.slowFor = "offsite"
		b.vault.slow(40 * time.Minute)
		b.put("coop.db", "changed")
		box := b.vault.count("box")
		time.Sleep(30 * time.Minute)
		b.put("coop.db", "changed again")
		time.Sleep(50 * time.Minute)
		b.vault.slow(0)
		time.Sleep(time.Hour)
		if n := b.vault.count("box"); n-box > 7 {
			t.Errorf("%d copies of what changed twice", n-box)
		}
		was := b.vault.count("box")
		time.Sleep(2 * time.Hour)
		if n := b.vault.count("box"); n != was {
			t.Errorf("%d copies of what did not change", n-was)
		}
		for _, s := range b.vault.snapshots("offsite") {
			stages := 0
			for path := range s.files {
				if strings.HasSuffix(path, "/manifest.json") && strings.HasPrefix(path, b.paths.Stages()) {
					stages++
				}
			}
			if stages != 1 || len(s.files) == 0 {
				t.Errorf("%d stages in a snapshot", stages)
			}
		}
	})
}

// TestRestoreFromASecondStage: a snapshot that was made while an earlier one was still
// on its way is like any other.
func TestRestoreFromASecondStage(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		for range 2 {
			stillOnItsWay(t, backup(d, appliance.BackupDump))
		}
		if !slices.Contains(b.vault.snapshots("box")[0].Paths, b.paths.StageNumber(appliance.BackupDump, 2)) {
			t.Fatal("it is not of a second stage")
		}
		into := t.TempDir()
		own := backups.Repository{Name: "box", URL: b.paths.BoxRepository(), PasswordFile: b.paths.RepositoryPassword("box")}
		if err := errors.Join(os.MkdirAll(own.URL, 0o700), os.WriteFile(filepath.Join(own.URL, "config"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		rescue := appliance.NewRescue(b.paths, b.vault, []backups.Repository{own})
		if p, err := rescue.Find(t.Context()); err != nil || rescue.Fetch(t.Context(), p, into) != nil {
			t.Error(p, err)
		}
		b.data.set(2, map[string]int64{"orders": 12})
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowGivesWay: where there is no room for a new copy beside one that is on its
// way, the box's own is made.
func TestSlowGivesWay(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.hangs("offsite")
		if stillOnItsWay(t, backup(d, appliance.BackupDump)); len(b.stages()) != 1 {
			t.Fatal(b.stages())
		}
		b.space.now = func() int64 {
			if len(b.stages()) > 1 {
				return 1 << 20
			}
			return 1 << 40
		}
		if stillOnItsWay(t, backup(d, appliance.BackupDump)); b.vault.count("box") != 3 {
			t.Errorf("%d copies on the box", b.vault.count("box"))
		}
		runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupDump, 9)
		if err != nil || !slices.ContainsFunc(runs, func(r appliance.BackupRun) bool { return r.Error != nil && r.Error.ID == "backup.gave-way" }) {
			t.Errorf("%+v, %v", runs, err)
		}
	})
}
