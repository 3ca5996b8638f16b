// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/state"
	"rochdale/backups"
)

// lost runs a test on a bare machine after another one has saved 12 orders, a
// database and a photo to an offsite repository, and was lost. The new one is at
// the same place in the tree of files, as on real machines.
func lost(t *testing.T, test func(t *testing.T, b *bench, p appliance.RescuePoint)) {
	t.Helper()
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.data.set(1, map[string]int64{"orders": 12})
		secrets := b.paths.Secrets("delivery")
		if err := errors.Join(os.MkdirAll(secrets, 0o711), os.WriteFile(filepath.Join(secrets, "key"), []byte("a secret"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.put("coop.db", "generation 1, later")
		time.Sleep(time.Hour)
		if err := backup(d, appliance.BackupDump); err != nil {
			t.Fatal(err)
		}
		b.lose()
		p, err := b.rescue(t).Find(t.Context())
		if err != nil || p.Repository != "offsite" || p.Files == "" || p.Files == p.Snapshot {
			t.Fatalf("%+v, %v", p, err)
		}
		test(t, b, p)
	})
}

// lose makes the machine a bare one, which can reach the offsite repository.
func (b *bench) lose() {
	b.t.Helper()
	b.stop()
	password, err := os.ReadFile(b.paths.RepositoryPassword("offsite")) // the kit has it
	if err != nil {
		b.t.Fatal(err)
	}
	for _, gone := range []string{b.paths.Var(), b.paths.ConfigDir()} {
		if err := os.RemoveAll(gone); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, dir := range []string{b.paths.ConfigDir(), b.paths.Var()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	b.engine = newEngineTwin()
	b.edge = &edgeTwin{}
	b.vault.lose("box")
	b.shelf.forget("box")
	b.data.set(2, map[string]int64{"orders": 12})
	b.writeConfig(offsiteConfig)
	if err := errors.Join(os.MkdirAll(filepath.Dir(b.paths.RepositoryPassword("offsite")), 0o700), os.WriteFile(b.paths.RepositoryPassword("offsite"), password, 0o600)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rescue(t *testing.T) appliance.Rescue {
	t.Helper()
	return appliance.NewRescue(b.paths, b.vault, b.rescued(t))
}

// rescued are the repositories of a kit.
func (b *bench) rescued(t *testing.T) []backups.Repository {
	t.Helper()
	c, err := appliance.ReadConfig(b.paths.Config())
	if err != nil {
		t.Fatal(err)
	}
	return appliance.Repositories(b.paths, c)
}

// whole wants the stack to serve all that was saved.
func (b *bench) whole(t *testing.T) {
	t.Helper()
	r := b.row()
	if r.Generation != 2 || r.Version != "1.0.0" || r.Committed.IsZero() || b.serving().Generation != 2 {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string]string{"coop.db": "generation 1", "photo.jpg": "a photo"} {
		got, err := os.ReadFile(filepath.Join(b.paths.Volume("delivery", r.Generation, "data"), name))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(b.paths.Secrets("delivery"), "key")); err != nil || string(got) != "a secret" {
		t.Errorf("the secret is %q, %v", got, err)
	}
	// Whoever runs on a folder that was replaced looks well, and loses all that is written.
	for _, c := range b.engine.running("coop") {
		for volume, was := range c.sees {
			now, err := os.Stat(c.spec.Volumes[volume])
			if err != nil || !os.SameFile(was, now) {
				t.Errorf("it runs on another folder than %s: %v", c.spec.Volumes[volume], err)
			}
		}
	}
	for _, id := range []string{"recovery", "recovery.files"} {
		if _, err := os.Lstat(b.paths.Restored("delivery", id)); err == nil {
			t.Errorf("what was laid out in %s is still there", id)
		}
	}
}

func recoverNow(d *appliance.Daemon, p appliance.RescuePoint) error {
	_, err := d.Recover(context.Background(), appliance.RecoverRequest{Stack: "delivery", RescuePoint: p}, nil)
	return err
}

func TestRecover(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		if mine, missed, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, []backups.Repository{{Name: "offsite"}}, 1); err != nil || len(missed) > 0 || mine.Epoch != 2 {
			t.Fatal(mine, missed, err)
		}
		d := b.boot()
		for range 2 { // the second time it only looks
			// What a run that was killed left.
			if err := os.MkdirAll(filepath.Join(b.paths.Restored("delivery", "recovery.files"), "half"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := recoverNow(d, p); err != nil {
				t.Fatal(err)
			}
			b.whole(t)
		}
		if got := len(b.engine.running("coop")); got != 1 {
			t.Errorf("%d containers", got)
		}
		// From here on it is a box like any other.
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Error(err)
		}
		if _, err := apply(d); err != nil || b.row().Generation != 3 {
			t.Errorf("%+v, %v", b.row(), err)
		}
	})
}

// TestRecoverBesideAnotherStack: what was installed meanwhile, or came from another
// snapshot, is not taken for what was saved, and not written over.
func TestRecoverBesideAnotherStack(t *testing.T) {
	t.Run("installed", func(t *testing.T) {
		lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
			d := b.boot()
			if _, err := d.Apply(t.Context(), appliance.ApplyRequest{Stack: "delivery"}, nil); err != nil {
				t.Fatal(err)
			}
			empty := b.row()
			if err := recoverNow(d, p); !appliance.IsProblem(err, "recover.stack-there") || b.row() != empty {
				t.Errorf("%+v, %v", b.row(), err)
			}
		})
	})
	t.Run("from another snapshot", func(t *testing.T) {
		lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
			d := b.boot()
			if err := recoverNow(d, p); err != nil {
				t.Fatal(err)
			}
			p.Snapshot = "another"
			if err := recoverNow(d, p); !appliance.IsProblem(err, "recover.stack-there") {
				t.Error(err)
			}
		})
	})
}

// TestRecoverIsInterrupted ends the daemon at every step of a recovery; the next one
// goes on by itself.
func TestRecoverIsInterrupted(t *testing.T) {
	for _, id := range []string{"fetch", "unpack", "network", "images", "data", "database", "load", "facts", "migrate", "start", "commit", "route", "certificate"} {
		for _, when := range moments() {
			t.Run(string(when)+" "+id, func(t *testing.T) {
				lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
					d := b.boot()
					_ = b.diesAt(id, when, func() error { return recoverNow(d, p) })
					b.boot()
					time.Sleep(time.Minute)
					synctest.Wait()
					b.whole(t)
				})
			})
		}
	}
}

func TestRecoverThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench)
		want  string
	}{
		"lost rows": {want: "update.fact", spoil: func(b *bench) { b.data.set(2, map[string]int64{"orders": 11}) }},
		"never healthy": {want: "engine.ended", spoil: func(b *bench) {
			b.engine.sick = func(appliance.ContainerSpec) error { return appliance.Problem("engine.ended", nil) }
		}},
		"unreachable":        {want: "backups.unreachable", spoil: func(b *bench) { b.vault.fail("offsite", &backups.Problem{ID: "backups.unreachable"}) }},
		"no room":            {want: "recover.no-room", spoil: func(b *bench) { b.space.free = 1 << 20 }},
		"no room to load it": {want: "recover.no-room", spoil: func(b *bench) { b.space.free = 256<<20 + 5 }},
	} {
		t.Run(name, func(t *testing.T) {
			lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
				d := b.boot()
				b.spoil(c.spoil)
				if err := recoverNow(d, p); !appliance.IsProblem(err, c.want) {
					t.Fatal(err)
				}
				if _, ok, err := b.store.Release(t.Context(), "delivery"); ok || err != nil || len(b.engine.running("coop")) > 0 {
					t.Error("something runs", err)
				}
				if moved, err := filepath.Glob(filepath.Join(b.paths.Volume("delivery", 2, "data"), "photo.jpg")); c.want == "recover.no-room" && (err != nil || len(moved) > 0) {
					t.Errorf("there was no room, and yet %v was moved, %v", moved, err)
				}
				b.spoil(func(b *bench) { b.engine.sick = nil })
				b.space.free = 1 << 40
				b.vault.fail("offsite", nil)
				b.data.set(2, map[string]int64{"orders": 12})
				if err := recoverNow(d, p); err != nil {
					t.Fatal(err)
				}
				b.whole(t)
			})
		})
	}
}

// TestNothingIsSavedWhileRecovering: a snapshot of half a machine would be the newest.
func TestNothingIsSavedWhileRecovering(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, _ appliance.RescuePoint) {
		d := b.boot()
		if err := errors.Join(os.MkdirAll(b.paths.Rescue(), 0o700), os.WriteFile(b.paths.RescueKit(), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		before := b.vault.count("offsite")
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.recovering") || b.vault.count("offsite") != before {
			t.Error(err)
		}
	})
}

// TestScheduleWaitsForTheRecovery: work on repositories that comes due while a machine is
// being recovered does not begin, or its status would tell of work that failed.
func TestScheduleWaitsForTheRecovery(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		d := b.boot()
		if err := recoverNow(d, p); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.MkdirAll(b.paths.Rescue(), 0o700), os.WriteFile(b.paths.RescueKit(), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		runs := func() (all []appliance.BackupRun) {
			for _, kind := range []appliance.BackupKind{appliance.BackupFull, appliance.BackupDump, appliance.BackupCheck, appliance.BackupPrune, appliance.BackupDrill} {
				some, err := b.store.Runs(t.Context(), "", kind, appliance.KeptRuns)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, some...)
			}
			return all
		}
		before := len(runs())
		time.Sleep(30 * time.Hour)
		if now := runs(); len(now) != before {
			t.Errorf("%d runs more: %+v", len(now)-before, now)
		}
		if err := os.Remove(b.paths.RescueKit()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if len(runs()) == before {
			t.Error("nothing is done when it has ended")
		}
	})
}

// TestRescueOfTheBox: configuration and memory, and nothing of the stacks.
func TestRescueOfTheBox(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		into := filepath.Join(b.paths.Rescue(), "box")
		for range 2 {
			if err := b.rescue(t).Fetch(t.Context(), p, into); err != nil {
				t.Fatal(err)
			}
		}
		m, state, err := appliance.Rescued(b.paths, into)
		if err != nil || m.Kind != appliance.BackupDump || m.Stacks["delivery"].Release.Version != "1.0.0" {
			t.Fatalf("%+v, %v", m, err)
		}
		for _, path := range []string{state, filepath.Join(into, b.paths.Config())} {
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
		}
		err = filepath.WalkDir(into, func(path string, e os.DirEntry, err error) error {
			if err == nil && strings.Contains(path, "coop.db") {
				t.Errorf("%s was fetched", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestRescueFindsNothing(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, _ appliance.RescuePoint) {
		b.vault.fail("offsite", &backups.Problem{ID: "backups.unreachable"})
		if _, err := b.rescue(t).Find(t.Context()); !appliance.IsProblem(err, "recover.no-snapshot") || appliance.MessageOf(err).Args["count"] != "1" {
			t.Error(err) // the lost machine's own does not count
		}
		b.writeConfig(strings.Replace(offsiteConfig, "    offsite:", "    usb: {url: /mnt/rochdale-none/rides}\n    offsite:", 1))
		if _, err := b.rescue(t).Find(t.Context()); !appliance.IsProblem(err, "recover.no-disk") || appliance.MessageOf(err).Args["paths"] != "/mnt/rochdale-none/rides" {
			t.Error(err)
		}
	})
}

// TestHistoryIsAdopted: what happened to the stacks, and not what runs.
func TestHistoryIsAdopted(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		into := filepath.Join(b.paths.Rescue(), "box")
		if err := b.rescue(t).Fetch(t.Context(), p, into); err != nil {
			t.Fatal(err)
		}
		_, state, err := appliance.Rescued(b.paths, into)
		if err != nil {
			t.Fatal(err)
		}
		b.boot()
		for range 2 {
			if err := b.store.Adopt(t.Context(), state); err != nil {
				t.Fatal(err)
			}
		}
		runs, err := b.store.Runs(t.Context(), "", "", 100)
		if err != nil || len(runs) != 2 || slices.ContainsFunc(runs, func(r appliance.BackupRun) bool { return r.Repository == "box" }) {
			t.Errorf("%+v, %v", runs, err)
		}
		if rows, err := b.store.Releases(t.Context()); err != nil || len(rows) != 0 {
			t.Errorf("%+v, %v", rows, err)
		}
		if n, err := b.store.ReserveGeneration(t.Context(), "delivery", digest1, 0); err != nil || n != 2 {
			t.Errorf("generation %d, %v", n, err)
		}
	})
}

// TestRecoveredMachineHasItsTime: its own repository is not made yet, which is no error, and
// what the lost machine saved long ago makes no repository stale at once. Both are told
// when they are this machine's own doing.
func TestRecoveredMachineHasItsTime(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		time.Sleep(3 * 24 * time.Hour)
		into := filepath.Join(b.paths.Rescue(), "box")
		if err := b.rescue(t).Fetch(t.Context(), p, into); err != nil {
			t.Fatal(err)
		}
		_, old, err := appliance.Rescued(b.paths, into)
		if err != nil {
			t.Fatal(err)
		}
		db, err := state.Open(t.Context(), b.paths.State())
		if err != nil {
			t.Fatal(err)
		}
		// As on real machines the history and the files beside the configuration are first.
		if err := errors.Join(db.Adopt(t.Context(), old), db.CloseFile(), os.WriteFile(b.paths.RepositoryPassword("box"), []byte("the lost machine's"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, missed, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, []backups.Repository{{Name: "offsite"}}, 1); err != nil || len(missed) > 0 {
			t.Fatal(missed, err)
		}
		d := b.boot()
		if err := recoverNow(d, p); err != nil {
			t.Fatal(err)
		}
		b.vault.fail("box", &backups.Problem{ID: "backups.no-repository"})
		if all, err := d.Snapshots(t.Context(), ""); err != nil || len(all) > 0 {
			t.Errorf("%v, %v", all, err)
		}
		if f := b.findings(); hasFailure(f) {
			t.Errorf("findings %v", f)
		}
		b.vault.fail("box", nil)
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.vault.fail("box", &backups.Problem{ID: "backups.no-repository"})
		if _, err := d.Snapshots(t.Context(), ""); !appliance.IsProblem(err, "backups.no-repository") {
			t.Error(err)
		}
	})
}

// TestRescueWaitsForTheSilent: an older snapshot is not taken behind anybody's back
// while a repository that may have a newer one does not answer.
func TestRescueWaitsForTheSilent(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, newest appliance.RescuePoint) {
		c := strings.Replace(offsiteConfig, "    offsite:", "    attic: {url: \"sftp:rides@attic.example:/srv/rides\"}\n    offsite:", 1)
		b.writeConfig(c)
		b.vault.fail("attic", &backups.Problem{ID: "backups.unreachable"})
		if _, err := b.rescue(t).Find(t.Context()); !appliance.IsProblem(err, "recover.silent") {
			t.Error(err)
		}
		if p, err := b.rescue(t).Find(t.Context(), "attic"); err != nil || p != newest {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
