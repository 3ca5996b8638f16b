// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
	"rochdale/stacks"
)

const offsiteConfig = testConfig + `backups:
  repositories:
    offsite: {url: "sftp:rides@backup.example:/srv/rides"}
`

// saving runs a test on a box that serves 12 orders and has a file and a database.
func saving(t *testing.T, config string, test func(t *testing.T, b *bench, d *appliance.Daemon)) {
	t.Helper()
	b := newBench(t)
	b.writeConfig(config)
	b.bundles.files = map[string]appliance.Bundle{"/next": next(nil)}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		b.put("coop.db", "generation 1")
		b.put("photo.jpg", "a photo")
		b.writeBundle()
		test(t, b, d)
	})
}

// spoil changes the engine's twin, which something may always be asking.
func (b *bench) spoil(change func(*bench)) {
	b.engine.mu.Lock()
	defer b.engine.mu.Unlock()
	change(b)
}

func (b *bench) put(name, content string) {
	b.t.Helper()
	path := filepath.Join(b.paths.Volume("delivery", b.row().Generation, "data"), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// writeBundle gives the folder of the bundle a file, as a real one has.
func (b *bench) writeBundle() {
	b.t.Helper()
	dir := filepath.Join(b.paths.Bundles("delivery"), strings.TrimPrefix(b.row().Digest, "sha256:"), "stack")
	if err := os.WriteFile(filepath.Join(dir, "stack.yaml"), []byte("name: delivery"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// made lays what tells that a repository is there: a new one is not looked after yet.
func (b *bench) made(repository string) {
	b.t.Helper()
	file := b.paths.RepositoryPassword(repository)
	if repository == appliance.BoxRepository {
		file = filepath.Join(b.paths.BoxRepository(), "config")
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("made\n"), 0o600)); err != nil {
		b.t.Fatal(err)
	}
}

func backup(d *appliance.Daemon, kind appliance.BackupKind) error {
	return d.Backup(context.Background(), kind, "", nil)
}

func TestBackupHoldsEverything(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"box", "offsite"} {
			s := b.vault.snapshots(name)[0]
			stage := b.paths.Stage(appliance.BackupFull)
			for _, path := range []string{
				stage + "/manifest.json", stage + "/state.db", stage + "/stacks/delivery/databases/main.db",
				b.paths.Config(), b.paths.Volume("delivery", 1, "data") + "/photo.jpg", b.paths.RepositoryPassword("box"),
			} {
				if len(s.files[path]) == 0 {
					t.Errorf("%s: %s is not in the snapshot", name, path)
				}
			}
			if _, ok := s.files[b.paths.Volume("delivery", 1, "data")+"/coop.db"]; ok {
				t.Error("the database that is in use was read")
			}
			var m appliance.BackupManifest
			if err := json.Unmarshal(s.files[stage+"/manifest.json"], &m); err != nil || m.Stacks["delivery"].Data.Facts["orders"] != 12 || m.Stacks["delivery"].Release.Version != "1.0.0" {
				t.Errorf("%+v, %v", m, err)
			}
		}
		if _, err := os.Stat(b.paths.Stage(appliance.BackupFull)); err == nil {
			t.Error("the copies of the databases are left behind")
		}
		if info, err := os.Stat(b.paths.RepositoryPassword("offsite")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
	})
}

// TestOneRepositoryIsDown: the others get theirs, and a finding tells.
func TestOneRepositoryIsDown(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.fail("box", &backups.Problem{ID: "backups.disk-full", Args: map[string]string{"repository": "box"}})
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backups.disk-full") {
			t.Fatal(err)
		}
		if b.vault.count("offsite") != 1 {
			t.Error("the other repository got nothing")
		}
		if f := b.findings(); !slices.Contains(f, "failure backup.never-worked") || !slices.Contains(f, "warning backups.disk-full") {
			t.Errorf("findings %v", f)
		}
		s, err := d.Status(t.Context())
		if err != nil || len(s.Backups.Repositories) != 2 || s.Backups.RPO == nil || s.Backups.LastSuccess.IsZero() {
			t.Errorf("%+v, %v", s.Backups, err)
		}
	})
}

// TestDumpThatFailsCounts as no backup anywhere.
func TestDumpThatFails(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.data.set(1, nil) // facts can not be measured
		if err := backup(d, appliance.BackupDump); err == nil {
			t.Fatal("a dump that failed is taken for a backup")
		}
		runs, err := b.store.Runs(t.Context(), "box", appliance.BackupDump, 10)
		if err != nil || len(runs) != 1 || runs[0].OK || runs[0].Error == nil {
			t.Errorf("%+v, %v", runs, err)
		}
		if b.vault.count("box") != 0 {
			t.Error("a snapshot was made")
		}
	})
}

// TestSchedule of a day: one whole snapshot first, dumps only when something
// changed, a check, and old ones forgotten.
func TestScheduledBackups(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		time.Sleep(31 * time.Minute)
		if n := b.vault.count("box"); n != 1 {
			t.Fatalf("%d snapshots in the first half hour", n)
		}
		b.put("coop.db", "something else")
		time.Sleep(16 * time.Minute)
		if n := b.vault.count("box"); n != 2 {
			t.Errorf("%d snapshots after a change", n)
		}
		time.Sleep(24 * time.Hour)
		heard := b.vault.heard(0)
		for _, want := range []string{"check 1/28 box", "forget kind:dump box", "forget kind:full box", "prune box"} {
			if !slices.Contains(heard, want) {
				t.Errorf("%q was not asked for: %v", want, heard)
			}
		}
		if n := b.vault.count("box"); n != 3 {
			t.Errorf("%d snapshots after a day of silence", n)
		}
	})
}

// TestLongBackupHoldsUpNoDump: an upload of hours and the dumps go side by side.
func TestLongBackupHoldsUpNoDump(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.slow(3 * time.Hour)
		began := time.Now()
		over := make(chan error, 1)
		go func() { over <- backup(d, appliance.BackupFull) }()
		time.Sleep(time.Minute)
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "daemon.busy") {
			t.Errorf("a check runs beside a whole backup: %v", err)
		}
		b.vault.slow(0)
		b.put("coop.db", "changed meanwhile")
		time.Sleep(20 * time.Minute)
		if n := b.vault.count("box"); n != 2 {
			t.Errorf("%d snapshots while the long one goes on", n)
		}
		if err := <-over; err != nil || time.Since(began) < 3*time.Hour {
			t.Error(time.Since(began), err)
		}
	})
}

// TestOffAtNight: what was missed is done when the machine is on again, all of it.
func TestOffAtNight(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		time.Sleep(20 * time.Hour) // it is on in the first night
		b.vault.slow(20 * time.Second)
		const nights = 5
		var began []time.Time
		for range nights {
			b.stop()
			time.Sleep(14 * time.Hour) // from 20:00 to 10:00
			b.boot()
			began = append(began, time.Now())
			time.Sleep(10 * time.Hour)
		}
		for _, kind := range []appliance.BackupKind{appliance.BackupFull, appliance.BackupDrill, appliance.BackupCheck, appliance.BackupPrune} {
			runs, err := b.store.Runs(t.Context(), "", kind, appliance.KeptRuns)
			if err != nil {
				t.Fatal(err)
			}
			for _, day := range began {
				n := 0
				for _, run := range runs {
					if run.OK && !run.Began.Before(day) && run.Began.Before(day.Add(10*time.Hour)) {
						n++
					}
				}
				if n != 1 {
					t.Errorf("%s: %d times on %v", kind, n, day.UTC())
				}
			}
		}
		if f := b.findings(); len(f) > 0 {
			t.Errorf("findings %v", f)
		}
	})
}

// TestFullBackupAfterRecovery: the one that is due meanwhile waits until all is back.
func TestFullBackupAfterRecovery(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.stop()
		time.Sleep(3 * 24 * time.Hour)
		if err := errors.Join(os.MkdirAll(b.paths.Rescue(), 0o700), os.WriteFile(b.paths.RescueKit(), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		b.boot()
		time.Sleep(5 * time.Minute)
		if err := os.Remove(b.paths.RescueKit()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		runs, err := b.store.Runs(t.Context(), "box", appliance.BackupFull, 10)
		if err != nil || len(runs) != 2 || !runs[0].OK {
			t.Errorf("%+v, %v", runs, err)
		}
	})
}

// TestDumpIntoOneRepository keeps nothing from the others.
func TestDumpIntoOneRepository(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		b.put("coop.db", "an order that was acknowledged")
		if err := d.Backup(t.Context(), appliance.BackupDump, "box", nil); err != nil {
			t.Fatal(err)
		}
		before := b.vault.count("offsite")
		time.Sleep(31 * time.Minute)
		if n := b.vault.count("offsite") - before; n != 1 {
			t.Errorf("%d snapshots elsewhere of what changed", n)
		}
	})
}

// TestNoRoomForCopies: the disk that the platform writes to is not filled by its
// own backup.
func TestNoRoomForCopies(t *testing.T) {
	for name, c := range map[string]struct {
		free int64
		want string
	}{
		"for the databases":      {free: 256<<20 + 1<<20, want: "backup.no-room"},
		"for anything":           {free: 1 << 20, want: "backup.no-room"},
		"for the databases just": {free: 256<<20 + 2<<20},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.put("coop.db", strings.Repeat("x", 2<<20))
				b.put("photo.jpg", strings.Repeat("x", 8<<20)) // is read where it is
				copied := false
				b.data.snapshots = func(appliance.DataPlace) error { copied = true; return nil }
				b.space.free = c.free
				for _, kind := range []appliance.BackupKind{appliance.BackupDump, appliance.BackupFull} {
					if err := backup(d, kind); c.want != "" && !appliance.IsProblem(err, c.want) || c.want == "" && err != nil {
						t.Error(kind, err)
					}
				}
				if copied != (c.want == "") {
					t.Errorf("the database was copied: %v", copied)
				}
				if f := b.findings(); c.want != "" && !slices.Contains(f, "warning "+c.want) || c.want == "" && len(f) > 0 {
					t.Errorf("findings %v", f)
				}
			})
		})
	}
}

// TestNoRoomInTheBoxItself: its own repository gets nothing more, others do.
func TestNoRoomInTheBoxItself(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.data.snapshots = func(appliance.DataPlace) error {
			b.space.free = 256<<20 - 1 // the platform went on writing
			return nil
		}
		if err := backup(d, appliance.BackupDump); !appliance.IsProblem(err, "backup.no-spare") {
			t.Error(err)
		}
		if box, elsewhere := b.vault.count("box"), b.vault.count("offsite"); box != 0 || elsewhere != 1 {
			t.Errorf("%d snapshots on the box, %d elsewhere", box, elsewhere)
		}
		if f := b.findings(); !slices.Equal(f, []string{"failure backup.never-worked", "warning backup.no-spare"}) {
			t.Errorf("findings %v", f)
		}
	})
}

// TestChangeEndsACopy: an update that is put back ends the copy of a database that is
// being made for a backup. It is made again; one that fails by itself is not.
func TestChangeEndsACopy(t *testing.T) {
	for name, c := range map[string]struct {
		changes, copies int
		fails           bool
	}{
		"one change":         {changes: 1, copies: 2},
		"two changes":        {changes: 2, copies: 3},
		"change by change":   {changes: 9, copies: 3, fails: true},
		"it fails by itself": {copies: 1, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				copies := 0
				b.data.snapshots = func(appliance.DataPlace) error {
					if copies++; copies <= c.changes {
						if err := d.Restart(t.Context(), "delivery", nil); err != nil {
							t.Error(err)
						}
					} else if !c.fails {
						return nil
					}
					return errors.New("its unit was stopped")
				}
				if err := backup(d, appliance.BackupDump); (err != nil) != c.fails || copies != c.copies {
					t.Errorf("%d copies, %v", copies, err)
				}
			})
		})
	}
}

func TestDamageIsHealed(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.bad = 2
		mark := len(b.vault.heard(0))
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); !appliance.IsProblem(err, "backup.damaged") {
			t.Fatal(err)
		}
		if heard := b.vault.heard(mark); !slices.Contains(heard, "heal box") || !slices.Contains(heard, "backup box") {
			t.Errorf("it was not healed: %v", heard)
		}
		mark = len(b.vault.heard(0))
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); !appliance.IsProblem(err, "backup.prune-held") || len(b.vault.heard(mark)) != 0 {
			t.Errorf("something was forgotten while a check is open: %v, %v", b.vault.heard(mark), err)
		}
		if f := b.findings(); !slices.Contains(f, "failure backup.damaged") {
			t.Errorf("findings %v", f)
		}
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); err != nil {
			t.Fatal(err)
		}
		if f := b.findings(); slices.Contains(f, "failure backup.damaged") {
			t.Errorf("findings %v", f)
		}
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil || !slices.Contains(b.vault.heard(mark), "prune box") {
			t.Error("nothing is forgotten any more", err)
		}
	})
}

func TestRestore(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.put("coop.db", "spoilt")
		b.put("photo.jpg", "spoilt too")
		b.data.set(2, map[string]int64{"orders": 12})
		c, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil)
		if err != nil || c.Outcome != appliance.Committed || c.Snapshot == "" {
			t.Fatal(c, err)
		}
		if r := b.row(); r.Generation != 2 || b.serving().Generation != 2 {
			t.Errorf("%+v", r)
		}
		for name, want := range map[string]string{"coop.db": "generation 1", "photo.jpg": "a photo"} {
			got, err := os.ReadFile(filepath.Join(b.paths.Volume("delivery", 2, "data"), name))
			if err != nil || string(got) != want {
				t.Errorf("%s is %q, %v", name, got, err)
			}
		}
		if left, err := filepath.Glob(b.paths.Restored("delivery", "*")); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
		if c, err := d.Rollback(t.Context(), appliance.RollbackRequest{Stack: "delivery"}, nil); err != nil || c.To.Generation != 1 {
			t.Error("the data from before the restore can not be had back:", c.To, err)
		}
	})
}

// TestRestoreOfAnOlderRelease runs the release that ran then, from the snapshot
// when it is not here any more.
func TestRestoreOfAnOlderRelease(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		b.data.set(3, map[string]int64{"orders": 12})
		first := b.vault.kept["box"][b.vault.count("box")-1]
		c, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: first.ID}, nil)
		if err != nil || c.To.Version != "1.0.0" || b.serving().Digest != digest1 {
			t.Fatal(c, err)
		}
	})
}

// TestFindSnapshotTellsAll: before a person agrees to a restore, the release that comes
// with it is told, and what the data had then and have now.
func TestFindSnapshotTellsAll(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		b.data.set(2, map[string]int64{"orders": 15})
		b.vault.mu.Lock()
		first := b.vault.kept["box"][len(b.vault.kept["box"])-1].ID
		b.vault.mu.Unlock()
		one, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: first})
		if err != nil || one.Version != "1.0.0" || one.Now != "1.1.0" || !slices.Equal(one.Facts, []appliance.FactChange{{Name: "orders", Then: 12, Now: 15}}) {
			t.Errorf("%+v, %v", one, err)
		}
		if left, err := filepath.Glob(b.paths.Restored("delivery", "*")); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
		if _, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Stack: "nostack"}); !appliance.IsProblem(err, "daemon.no-stack") {
			t.Error("a stack that is not here:", err)
		}
		if err := d.Remove(t.Context(), "delivery", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Stack: "delivery"}); !appliance.IsProblem(err, "daemon.stack-stopped") || appliance.ExitCode(err) != appliance.ExitUsage {
			t.Error("a stack that is stopped:", err)
		}
	})
}

func TestRestoreThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench)
		want  string
		at    string
	}{
		"no such snapshot": {want: "restore.no-snapshot", at: "ffff"},
		"before the first": {want: "restore.no-snapshot", at: "1999-01-01"},
		"lost rows":        {want: "update.fact", spoil: func(b *bench) { b.data.set(2, map[string]int64{"orders": 11}) }},
		"never healthy": {want: "update.put-back", spoil: func(b *bench) {
			b.data.set(2, map[string]int64{"orders": 12})
			b.engine.probe = errors.New("500")
		}},
		"no room": {want: "restore.no-room", spoil: func(b *bench) { b.space.free = 1 }},
		"no room half-way": {want: "backups.disk-full", spoil: func(b *bench) {
			b.vault.fail("box", &backups.Problem{ID: "backups.disk-full"})
			b.vault.downFor = "restore"
		}},
		"unreachable": {want: "backups.unreachable", spoil: func(b *bench) {
			b.vault.fail("box", &backups.Problem{ID: "backups.unreachable"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				before, row := b.serving(), b.row()
				if c.spoil != nil {
					b.spoil(c.spoil)
				}
				_, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: c.at}, nil)
				if !appliance.IsProblem(err, c.want) {
					t.Fatal(err)
				}
				b.stillServes(before, row)
				if left, err := filepath.Glob(b.paths.Restored("delivery", "*")); err != nil || len(left) > 0 {
					t.Errorf("left %v, %v", left, err)
				}
			})
		})
	}
}

func TestNoCopyElsewhere(t *testing.T) {
	elsewhere := func(t *testing.T, d *appliance.Daemon) string {
		t.Helper()
		var ids []string
		for _, f := range d.Findings(t.Context()) {
			if strings.HasPrefix(f.ID, "backup.no-offsite") {
				ids = append(ids, f.ID)
			}
		}
		return strings.Join(ids, " ")
	}
	const disk = testConfig + "backups: {repositories: {disk: {url: /mnt/disk/rides}}}\n"
	for config, want := range map[string][2]string{
		testConfig:    {"backup.no-offsite", "backup.no-offsite"},
		disk:          {"backup.no-offsite", "backup.no-offsite"},
		offsiteConfig: {"backup.no-offsite-yet", ""},
	} {
		t.Run(fmt.Sprint(len(config), want), func(t *testing.T) {
			saving(t, config, func(t *testing.T, _ *bench, d *appliance.Daemon) {
				if got := elsewhere(t, d); got != want[0] {
					t.Errorf("told %q before anything was saved, want %q", got, want[0])
				}
				if config == disk {
					return
				}
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				if got := elsewhere(t, d); got != want[1] {
					t.Errorf("told %q, want %q", got, want[1])
				}
			})
		})
	}
}

// TestRestoreOfWrongNumbers: what was wrong when it was saved keeps nobody from
// having it back.
func TestRestoreOfWrongNumbers(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		var zero int64
		b.bundles.bundle.Stack.Manifest.Facts["ledger"] = stacks.Fact{Database: "main", SQL: "select 7", Must: &zero, Check: []string{"drill"}}
		b.data.set(1, map[string]int64{"orders": 12, "ledger": 7})
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.data.set(2, map[string]int64{"orders": 12, "ledger": 7})
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestStartsWhateverIsOpen: jobs of an earlier daemon that can not be gone on with
// keep no stack from being looked after.
func TestStartsWhateverIsOpen(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for _, plan := range []string{"backup-full", "backup-check", "no-such-plan"} {
			if err := b.store.KeepRequest(t.Context(), appliance.Request{Plan: plan, Key: "box.exclusive", Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		b.stop()
		b.boot()
		time.Sleep(time.Minute)
		b.serving()
	})
}

// TestEmptiedRepository: one that had snapshots is not made anew when it is gone.
func TestEmptiedRepository(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.lose("offsite")
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.gone") {
			t.Error(err)
		}
		if n := b.vault.count("offsite"); n != 0 {
			t.Errorf("%d snapshots in a repository that was made anew", n)
		}
		if f := b.findings(); !slices.Contains(f, "warning backup.gone") {
			t.Errorf("findings %v", f)
		}
	})
}

// TestLocalRepositories: only where the daemon may write.
func TestLocalRepositories(t *testing.T) {
	for url, want := range map[string]bool{"/mnt/disk/rides": true, "/srv/rides": true, "/root/rides": false, "/etc/rides": false, "/mnt/../etc": false} {
		_, err := appliance.ParseConfig(strings.NewReader(testConfig + "backups:\n  repositories:\n    disk: {url: \"" + url + "\"}\n"))
		if (err == nil) != want {
			t.Errorf("%s: %v", url, err)
		}
	}
}
