// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/backups"
)

func TestDrill(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		before := b.serving()
		if err := d.Drill(t.Context(), appliance.DrillRequest{Repository: "offsite"}, nil); err != nil {
			t.Fatal(err)
		}
		runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupDrill, 10)
		if err != nil || len(runs) != 1 || !runs[0].OK || runs[0].Drill.Facts["orders"] != 12 || runs[0].Drill.Version != "1.0.0" {
			t.Fatalf("%+v, %v", runs, err)
		}
		if now := b.serving(); now.ID != before.ID {
			t.Error("the running stack was touched")
		}
		b.nothingOfDrills()
		s, err := d.Status(t.Context())
		if err != nil || s.Backups.LastDrill == nil || !s.Backups.LastDrill.OK {
			t.Errorf("%+v, %v", s.Backups.LastDrill, err)
		}
	})
}

// nothingOfDrills wants no container, network or folder to be left.
func (b *bench) nothingOfDrills() {
	b.t.Helper()
	all, err := b.engine.List(context.Background(), "drill-delivery")
	b.engine.mu.Lock()
	network := b.engine.networks["drill-delivery"]
	b.engine.mu.Unlock()
	if err != nil || len(all) > 0 || network {
		b.t.Errorf("%d containers are left, network %v, %v", len(all), network, err)
	}
	if _, err := os.Stat(b.paths.Stack("drill-delivery")); err == nil {
		b.t.Error("the copy is left on the disk")
	}
}

func TestDrillThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench)
		want  string
	}{
		"rows are missing": {want: "drill.fact", spoil: func(b *bench) { b.data.loads = map[string]int64{"orders": 11} }},
		"never healthy": {want: "engine.unhealthy", spoil: func(b *bench) {
			b.engine.sick = func(s appliance.ContainerSpec) error {
				if s.Stack == "drill-delivery" {
					return appliance.Problem("engine.unhealthy", nil)
				}
				return nil
			}
		}},
		"a page is broken":   {want: "update.probe", spoil: func(b *bench) { b.engine.probe = errors.New("500") }},
		"no room":            {want: "restore.no-room", spoil: func(b *bench) { b.space.free = 1 << 20 }},
		"no room to load it": {want: "drill.no-room", spoil: func(b *bench) { b.space.free = 256<<20 + 5 }},
		"no memory":          {want: "drill.no-memory", spoil: func(b *bench) { b.space.memory = -1 }},
		"damaged": {want: "backups.repository-damaged", spoil: func(b *bench) {
			b.vault.fail("box", &backups.Problem{ID: "backups.repository-damaged"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				b.spoil(c.spoil)
				if err := d.Drill(t.Context(), appliance.DrillRequest{}, nil); !appliance.IsProblem(err, c.want) {
					t.Fatal(err)
				}
				b.nothingOfDrills()
				b.serving()
				if f := b.findings(); !slices.Contains(f, "failure drill.failed") {
					t.Errorf("findings %v", f)
				}
			})
		})
	}
}

// TestDrillEachNight proves by itself, and tells when nothing was proven lately.
func TestDrillEachNight(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		time.Sleep(28 * time.Hour)
		runs, err := b.store.Runs(t.Context(), "box", appliance.BackupDrill, 10)
		if err != nil || len(runs) < 1 || !runs[0].OK {
			t.Fatalf("%+v, %v", runs, err)
		}
		b.vault.fail("box", &backups.Problem{ID: "backups.repository-damaged"})
		time.Sleep(24 * time.Hour)
		if f := b.findings(); !slices.Contains(f, "failure drill.failed") {
			t.Errorf("findings %v", f)
		}
	})
}

// TestDrillOfARepositoryOutOfReach says nothing of its snapshots; that nothing was proven
// for days is told all the same.
func TestDrillOfARepositoryOutOfReach(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		time.Sleep(28 * time.Hour)
		b.vault.fail("box", &backups.Problem{ID: "backups.unreachable"})
		time.Sleep(24 * time.Hour)
		if f := b.findings(); slices.Contains(f, "failure drill.failed") || !slices.Contains(f, "warning backups.unreachable") {
			t.Errorf("findings %v", f)
		}
		time.Sleep(3 * 24 * time.Hour)
		if f := b.findings(); slices.Contains(f, "failure drill.failed") || !slices.Contains(f, "warning drill.overdue") {
			t.Errorf("after days: findings %v", f)
		}
	})
}

// TestDrillThatFailedElsewhere is told of until a drill there goes well, whatever is proven
// here, and no more when the repository is not in the configuration.
func TestDrillThatFailedElsewhere(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		drill := func(repository string) error {
			time.Sleep(time.Second)
			return d.Drill(t.Context(), appliance.DrillRequest{Repository: repository}, nil)
		}
		failed := func() bool { return slices.Contains(b.findings(), "failure drill.failed") }
		b.vault.fail("offsite", &backups.Problem{ID: "backups.repository-damaged"})
		if err := drill("offsite"); err == nil {
			t.Fatal("it went well")
		}
		b.vault.fail("offsite", nil)
		if err := drill("box"); err != nil || !failed() {
			t.Errorf("hidden by the box's own, %v: %v", err, b.findings())
		}
		for _, f := range mustFindings(t, d, "drill.failed") {
			if f.Args["repository"] != "offsite" {
				t.Errorf("%v", f)
			}
		}
		b.reconfigure(d, testConfig)
		if failed() {
			t.Errorf("it was removed: %v", b.findings())
		}
		b.reconfigure(d, offsiteConfig)
		if err := drill("offsite"); err != nil || failed() {
			t.Errorf("it went well: %v, %v", err, b.findings())
		}
	})
}

// TestDrillOfNothing: where nothing was saved yet there is nothing to be proven. Who asks
// is told so; nothing failed.
func TestDrillOfNothing(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.reconfigure(d, offsiteConfig)
		if err := d.Drill(t.Context(), appliance.DrillRequest{Repository: "offsite"}, nil); !appliance.IsProblem(err, "restore.nothing-saved") {
			t.Error(err)
		}
		if runs, err := b.store.Runs(t.Context(), "offsite", appliance.BackupDrill, 10); err != nil || len(runs) > 0 {
			t.Errorf("%+v, %v", runs, err)
		}
		b.nothingOfDrills()
	})
}

// TestMaybeRenamed: a password of a repository that is not configured may be this one's,
// under the name that it had before. Then nobody says that nothing was saved.
func TestMaybeRenamed(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.reconfigure(d, offsiteConfig)
		other := filepath.Join(filepath.Dir(b.paths.RepositoryPassword("offsite")), "old.password")
		if err := os.WriteFile(other, []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := d.Drill(t.Context(), appliance.DrillRequest{Repository: "offsite"}, nil); err == nil || appliance.IsProblem(err, "restore.nothing-saved") {
			t.Error(err)
		}
	})
}

// TestDrillWithoutAnEngine: a copy that can not be removed at once is removed when the
// engine is back, and not only before the next drill.
func TestDrillWithoutAnEngine(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.engine.sick = func(s appliance.ContainerSpec) error {
			if s.Stack != "drill-delivery" {
				return nil
			}
			b.engine.down = true // whoever asks has the lock
			time.AfterFunc(20*time.Second, func() { b.engine.setDown(false) })
			return appliance.Problem("engine.unreachable", nil)
		}
		if err := d.Drill(t.Context(), appliance.DrillRequest{}, nil); !appliance.IsProblem(err, "engine.unreachable") {
			t.Errorf("%v", err)
		}
		b.nothingOfDrills()
	})
}
