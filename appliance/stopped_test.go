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
)

// savingOnPostgres is [saving] with a stack that has its rows in a server, of which
// nothing can be had unless that runs.
func savingOnPostgres(t *testing.T, config string, test func(t *testing.T, b *bench, d *appliance.Daemon)) {
	t.Helper()
	b := newBench(t)
	b.writeConfig(config)
	b.bundles.bundle, b.bundles.files = onPostgres(), map[string]appliance.Bundle{}
	synctest.Test(t, func(t *testing.T) {
		b.t = t
		b.data.snapshots = func(appliance.DataPlace) error {
			if len(b.engine.running("cache")) != 1 {
				return errors.New("no server answers")
			}
			return nil
		}
		d := b.up()
		defer func() { b.stop() }()
		b.data.set(1, map[string]int64{"orders": 12})
		b.put("photo.jpg", "a photo")
		b.writeBundle()
		test(t, b, d)
	})
}

func remove(d *appliance.Daemon) error { return d.Remove(context.Background(), "delivery", nil) }

// newest is the newest snapshot of a repository, and what it says of the stack.
func (b *bench) newest(repository string) (s twinSnapshot, one appliance.StackBackup, ok bool) {
	b.t.Helper()
	all := b.vault.snapshots(repository)
	if len(all) == 0 {
		b.t.Fatal("there is no snapshot")
	}
	s = all[0]
	for path, content := range s.files {
		if filepath.Base(path) != "manifest.json" {
			continue
		}
		var m appliance.BackupManifest
		if err := json.Unmarshal(content, &m); err != nil {
			b.t.Fatal(err)
		}
		one, ok = m.Stacks["delivery"]
	}
	return s, one, ok
}

// dumps is how many dumps are in the box's own repository.
func (b *bench) dumps() int {
	b.t.Helper()
	found, err := b.vault.Snapshots(b.t.Context(), backups.Repository{Name: "box"}, "kind:dump")
	if err != nil {
		b.t.Fatal(err)
	}
	return len(found)
}

// saves wants a backup of this kind to hold the databases of the stack, which is
// stopped, and a full one its files too.
func (b *bench) saves(kind appliance.BackupKind) {
	b.t.Helper()
	if err := backup(b.d, kind); err != nil {
		b.t.Fatal(err)
	}
	s, one, ok := b.newest("box")
	if !ok || !one.Release.Stopped || one.Data.Facts["orders"] != 12 {
		b.t.Errorf("%s: the snapshot says %+v, %v", kind, one, ok)
	}
	if got := string(s.files[one.Database+"/"+one.Data.Files["main"]]); got != "generation 1" {
		b.t.Errorf("%s: the database is %q", kind, got)
	}
	if got := string(s.files[one.Volumes["data"]+"/photo.jpg"]); (got == "a photo") != (kind == appliance.BackupFull) {
		b.t.Errorf("%s: the photo is %q", kind, got)
	}
	if len(s.Tags) != 1 {
		b.t.Errorf("%s: tags %v", kind, s.Tags)
	}
	if f := b.findings(); len(f) > 0 {
		b.t.Errorf("%s: findings %v", kind, f)
	}
	if left := len(b.engine.containers) + len(b.engine.networks); left > 0 {
		b.t.Errorf("%s: %d containers and networks for a stack that is stopped", kind, left)
	}
}

func TestStoppedStackIsSaved(t *testing.T) {
	for name, on := range map[string]func(*testing.T, string, func(*testing.T, *bench, *appliance.Daemon)){"files": saving, "server": savingOnPostgres} {
		t.Run(name, func(t *testing.T) {
			on(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					b.saves(appliance.BackupDump)
					b.saves(appliance.BackupFull)
				}
				b.stop()
				d = b.boot() // and so it is after a reboot
				b.saves(appliance.BackupFull)
				if _, err := b.apply(nil); err != nil {
					t.Fatal(err)
				}
				b.data.set(2, map[string]int64{"orders": 12})
				if c, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil); err != nil || c.Outcome != appliance.Committed {
					t.Errorf("what was saved while it was stopped can not be restored: %v, %v", c, err)
				}
			})
		})
	}
}

// TestDumpedWhileNobodyWrites: after the web service is stopped, and before the
// server is.
func TestDumpedWhileNobodyWrites(t *testing.T) {
	savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		dumps := 0
		b.data.snapshots = func(appliance.DataPlace) error {
			dumps++
			if web, db := len(b.engine.running("coop")), len(b.engine.running("cache")); web != 0 || db != 1 {
				t.Errorf("dumped while %d web services and %d servers run", web, db)
			}
			return nil
		}
		for range 2 {
			if err := remove(d); err != nil {
				t.Fatal(err)
			}
		}
		starts := slices.DeleteFunc(b.engine.said(), func(l string) bool { return l != "start cache" })
		if dumps != 1 || len(starts) != 1 || len(b.engine.running("cache")) != 0 {
			t.Errorf("%d dumps, %d starts of the server, %d servers run", dumps, len(starts), len(b.engine.running("cache")))
		}
	})
}

// unsaved wants a backup to work without the stack, and to say so: in findings, in
// its run, and by a tag that keeps older snapshots.
func (b *bench) unsaved(why string) {
	b.t.Helper()
	if err := backup(b.d, appliance.BackupFull); err != nil {
		b.t.Fatal(err)
	}
	s, _, ok := b.newest("box")
	if ok || !slices.Equal(s.Tags, []string{"kind:full", "without:delivery"}) {
		b.t.Errorf("in the snapshot: %v, tags %v", ok, s.Tags)
	}
	if f := b.findings(); !slices.Equal(f, []string{"warning backup.stopped", "warning " + why}) {
		b.t.Errorf("findings %v", f)
	}
	runs, err := b.store.Runs(b.t.Context(), "box", appliance.BackupFull, 1)
	if err != nil || len(runs) != 1 || !runs[0].OK || runs[0].Without["delivery"].ID != why {
		b.t.Errorf("%+v, %v", runs, err)
	}
}

// TestServerThatCanNotBeDumped: it is stopped all the same, is told of at once, and
// can be dumped later.
func TestServerThatCanNotBeDumped(t *testing.T) {
	for name, spoil := range map[string]func(b *bench){
		"its dump fails": func(b *bench) {
			b.data.snapshots = func(appliance.DataPlace) error { return errors.New("out of memory") }
		},
		"no room": func(b *bench) { b.space.free = 256 << 20 }, // a repository wants no more
		"it does not run": func(b *bench) {
			b.engine.sick = func(appliance.ContainerSpec) error { return appliance.Problem("engine.ended", nil) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				well := b.data.snapshots
				b.spoil(spoil)
				if name == "it does not run" {
					b.engine.crash("cache")
				}
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				if f := b.findings(); !slices.Equal(f, []string{"warning backup.stopped", "warning backup.not-parked"}) {
					t.Errorf("findings %v", f)
				}
				b.unsaved("backup.not-parked")
				b.spoil(func(b *bench) { b.data.snapshots, b.space.free, b.engine.sick = well, 1<<40, nil })
				time.Sleep(31 * time.Minute)
				dumps := b.dumps()
				if err := remove(d); err != nil { // again
					t.Fatal(err)
				}
				if len(b.engine.running("cache"))+len(b.engine.running("coop")) > 0 {
					t.Error("something runs")
				}
				time.Sleep(31 * time.Minute)
				if n := b.dumps() - dumps; n != 1 {
					t.Errorf("%d dumps within half an hour after it could be dumped", n)
				}
				b.saves(appliance.BackupFull)
			})
		})
	}
}

// TestFilesComeFromASnapshotThatHasThem: a whole snapshot that is without the stack
// is passed over.
func TestFilesComeFromASnapshotThatHasThem(t *testing.T) {
	savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		well := b.data.snapshots
		b.data.snapshots = func(appliance.DataPlace) error { return errors.New("out of memory") }
		if err := remove(d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		b.unsaved("backup.not-parked")
		b.data.snapshots = well
		time.Sleep(time.Second)
		if err := errors.Join(remove(d), backup(d, appliance.BackupDump)); err != nil {
			t.Fatal(err)
		}
		s, _, _ := b.newest("box")
		if _, err := b.apply(nil); err != nil {
			t.Fatal(err)
		}
		b.data.set(2, map[string]int64{"orders": 12})
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: s.ID}, nil); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(b.paths.Volume("delivery", 2, "data"), "photo.jpg")); err != nil || string(got) != "a photo" {
			t.Errorf("the photo is %q, %v", got, err)
		}
	})
}

// TestStaleDumpIsNeverTaken: a server that ran again has other rows than the dump
// from before, whether the start worked or not.
func TestStaleDumpIsNeverTaken(t *testing.T) {
	for name, c := range map[string]struct{ works bool }{"started again": {true}, "start that failed": {false}} {
		t.Run(name, func(t *testing.T) {
			savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				if !c.works {
					b.spoil(func(b *bench) {
						b.engine.sick = func(s appliance.ContainerSpec) error {
							if s.Service.Name == "coop" {
								return appliance.Problem("engine.ended", nil)
							}
							return nil
						}
					})
				}
				if _, err := b.apply(nil); (err == nil) != c.works {
					t.Fatal(err)
				}
				if _, err := os.Stat(b.paths.Parked("delivery")); err == nil {
					t.Error("the dump is still there")
				}
				b.data.snapshots = func(appliance.DataPlace) error { return errors.New("out of memory") }
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				b.unsaved("backup.not-parked")
			})
		})
	}
}

// TestStoppedStackThatCanNotBeRead keeps no other from being saved.
func TestStoppedStackThatCanNotBeRead(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := remove(d); err != nil {
			t.Fatal(err)
		}
		b.data.snapshots = func(appliance.DataPlace) error { return appliance.Problem("migrate.damaged", nil) }
		b.unsaved("migrate.damaged")
		b.data.snapshots = nil
		b.saves(appliance.BackupFull)
	})
}

// TestStoppedStackIsSavedOnce: soon after it was stopped, and then not every quarter
// of an hour.
func TestStoppedStackIsSavedOnce(t *testing.T) {
	for name, on := range map[string]func(*testing.T, string, func(*testing.T, *bench, *appliance.Daemon)){"files": saving, "server": savingOnPostgres} {
		t.Run(name, func(t *testing.T) {
			on(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				time.Sleep(31 * time.Minute)
				if n := b.dumps(); n != 1 {
					t.Errorf("%d dumps in the half hour after it was stopped", n)
				}
				if _, _, ok := b.newest("box"); !ok {
					t.Error("it is not in the newest one")
				}
				time.Sleep(2 * time.Hour)
				if n := b.dumps(); n != 1 {
					t.Errorf("%d dumps of a box on which nothing happens", n)
				}
			})
		})
	}
}

// TestStartTakesNothingFromASnapshot that is being saved: what was parked goes when
// the server runs again, the snapshot's own names of it do not.
func TestStartTakesNothingFromASnapshot(t *testing.T) {
	savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := remove(d); err != nil {
			t.Fatal(err)
		}
		b.vault.slow(time.Hour) // the twin reads the files after it
		over := make(chan error, 1)
		go func() { over <- backup(d, appliance.BackupFull) }()
		time.Sleep(time.Minute)
		if _, err := b.apply(nil); err != nil {
			t.Fatal(err)
		}
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		all := b.vault.snapshots("box")
		s := all[len(all)-1]
		if got := string(s.files[b.paths.Stage(appliance.BackupFull)+"/stacks/delivery/databases/main.db"]); got != "generation 1" {
			t.Errorf("the snapshot has %q", got)
		}
	})
}

// TestRemovalIsInterrupted ends the daemon at every step of a removal, and everything
// with it; the next one goes on by itself, and nothing is missing then.
func TestRemovalIsInterrupted(t *testing.T) {
	for _, id := range []string{"mark", "route", "stop", "park", "end", "clean"} {
		for _, when := range moments() {
			t.Run(string(when)+" "+id, func(t *testing.T) {
				savingOnPostgres(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
					_ = b.diesAt(id, when, func() error { return remove(d) })
					for _, service := range []string{"cache", "coop"} { // the machine was restarted
						b.engine.crash(service)
					}
					b.boot()
					time.Sleep(time.Minute)
					synctest.Wait()
					b.saves(appliance.BackupFull)
				})
			})
		}
	}
}

// TestRecoverOfAStoppedStack: its data come back, it stays stopped, and it is saved
// from then on by the new machine.
func TestRecoverOfAStoppedStack(t *testing.T) {
	for name, on := range map[string]func(*testing.T, string, func(*testing.T, *bench, *appliance.Daemon)){"files": saving, "server": savingOnPostgres} {
		for _, interrupted := range []string{"", "load", "commit", "certificate"} {
			t.Run(strings.TrimSuffix(name+" "+interrupted, " "), func(t *testing.T) {
				on(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
					if err := errors.Join(remove(d), backup(d, appliance.BackupFull)); err != nil {
						t.Fatal(err)
					}
					b.lose()
					p, err := b.rescue(t).Find(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if _, missed, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, []backups.Repository{{Name: "offsite"}}, 1); err != nil || len(missed) > 0 {
						t.Fatal(missed, err)
					}
					recoverInterrupted(t, b, p, interrupted)
					b.asleep(t)
				})
			})
		}
	}
}

func recoverInterrupted(t *testing.T, b *bench, p appliance.RescuePoint, at string) {
	t.Helper()
	d := b.boot()
	if at == "" {
		if err := recoverNow(d, p); err != nil {
			t.Fatal(err)
		}
		return
	}
	_ = b.diesAt(at, amid, func() error { return recoverNow(d, p) })
	b.boot()
	time.Sleep(time.Minute)
	synctest.Wait()
}

// asleep wants a stack that was recovered to have its data, and nothing to run.
func (b *bench) asleep(t *testing.T) {
	t.Helper()
	r := b.row()
	if !r.Stopped || r.Generation != 2 || r.Committed.IsZero() {
		t.Errorf("the row says %+v", r)
	}
	if n := len(b.engine.containers) + len(b.engine.networks); n > 0 {
		t.Errorf("%d containers and networks are left", n)
	}
	if h := b.edge.host("rides.example"); h.Upstream != "" {
		t.Errorf("the edge has %+v", h)
	}
	for name, want := range map[string]string{"coop.db": "generation 1", "photo.jpg": "a photo"} {
		if got, err := os.ReadFile(filepath.Join(b.paths.Volume("delivery", 2, "data"), name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	if err := backup(b.d, appliance.BackupFull); err != nil {
		t.Fatal(err)
	}
	s, one, ok := b.newest("offsite")
	if !ok || len(s.files[one.Database+"/"+one.Data.Files["main"]]) == 0 || len(s.Tags) != 1 {
		t.Errorf("the new machine saves %+v, %v, tags %v", one, ok, s.Tags)
	}
	if r, err := b.apply(nil); err != nil || r.Stopped || r.Generation != 2 {
		t.Errorf("it does not start again: %+v, %v", r, err)
	}
	b.serving()
}

// TestOldDataOfAStoppedStack go with the nightly clean-up: files at once, and databases
// when their server runs again. Until then it has nothing to complain about, and makes
// nothing of the stack again.
func TestOldDataOfAStoppedStack(t *testing.T) {
	for name, on := range map[string]func(*testing.T, string, func(*testing.T, *bench, *appliance.Daemon)){"files": saving, "server": savingOnPostgres} {
		t.Run(name, func(t *testing.T) {
			on(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.updateOften(d, 3)
				if err := remove(d); err != nil {
					t.Fatal(err)
				}
				b.cleansUp(name == "server")
				if n := len(b.engine.networks); n > 0 {
					t.Errorf("%d networks for a stack that is stopped", n)
				}
				if _, err := b.apply(nil); err != nil {
					t.Fatal(err)
				}
				b.cleansUp(false)
			})
		})
	}
}

// updateOften takes so many releases, one after the other.
func (b *bench) updateOften(d *appliance.Daemon, times int) {
	b.t.Helper()
	for i := range times {
		synctest.Wait() // the daemon looks at the bundles, too
		n := b.bundles.bundle
		n.Digest = fmt.Sprintf("sha256:%064d", i+2)
		n.Stack.Manifest.Version = fmt.Sprintf("1.%d.0", i+1)
		b.bundles.files["/next"], b.bundles.files[n.Digest] = n, n
		if _, err := apply(d); err != nil {
			b.t.Fatal(err)
		}
	}
}

// cleansUp wants a night to leave the first generation of four, or to remove it.
func (b *bench) cleansUp(left bool) {
	b.t.Helper()
	dropped, mark := b.data.dropped(), b.log.mark()
	time.Sleep(25 * time.Hour)
	for n, want := range map[int64]bool{1: left, 2: true, 3: true, 4: true} {
		if _, err := os.Stat(b.paths.Generation("delivery", n)); (err == nil) != want {
			b.t.Errorf("generation %d: %v, wanted there: %v", n, err, want)
		}
	}
	if now := b.data.dropped(); left && now > dropped {
		b.t.Errorf("databases were dropped %d times without a server", now-dropped)
	}
	if lines := b.log.since(mark, "failed\" task=prune"); len(lines) > 0 {
		b.t.Errorf("it complains: %q", lines)
	}
}

// TestNothingToDrill: where every stack is stopped, that is an error for somebody who
// asks for a drill, and none of the night's.
func TestNothingToDrill(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := remove(d); err != nil {
			t.Fatal(err)
		}
		mark := b.log.mark()
		time.Sleep(25 * time.Hour)
		if lines := b.log.since(mark, "failed\" task=backup-drill"); len(lines) > 0 {
			t.Errorf("%v", lines)
		}
		if err := d.Drill(t.Context(), appliance.DrillRequest{}, nil); !appliance.IsProblem(err, "drill.nothing-runs") {
			t.Error(err)
		}
	})
}
