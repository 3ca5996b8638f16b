// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestForgedManifest: what no box says of itself is a snapshot that is damaged.
func TestForgedManifest(t *testing.T) {
	for name, change := range map[string]func(*appliance.BackupManifest){
		"":             func(*appliance.BackupManifest) {},
		"another kind": func(m *appliance.BackupManifest) { m.Kind = "../../../../etc" },
		"the last number": func(m *appliance.BackupManifest) {
			m.Stacks["delivery"] = appliance.StackBackup{Release: appliance.Release{Generation: math.MaxInt64}}
		},
		"below the first": func(m *appliance.BackupManifest) {
			m.Stacks["delivery"] = appliance.StackBackup{Release: appliance.Release{Generation: -1}}
		},
	} {
		p, into := appliance.Paths{Root: "/box"}, t.TempDir()
		m := appliance.BackupManifest{Schema: 1, Kind: appliance.BackupDump, Stacks: map[string]appliance.StackBackup{}}
		change(&m)
		body, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		stage := filepath.Join(into, p.Stage(appliance.BackupDump))
		if err := os.MkdirAll(stage, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(stage, "manifest.json"), body, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := appliance.Rescued(p, into); appliance.IsProblem(err, "restore.no-manifest") != (name != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRestoreMendsABundle: a release whose bundle here is damaged comes from the snapshot.
func TestRestoreMendsABundle(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(b.paths.Bundles("delivery"), strings.TrimPrefix(b.row().Digest, "sha256:"))
		first := b.vault.snapshots("box")[0].ID
		time.Sleep(time.Hour)
		if _, err := apply(d); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(folder, "stack")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "half"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.stop()
		d = b.boot()
		b.data.set(3, map[string]int64{"orders": 12})
		c, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: first}, nil)
		if err != nil || c.To.Version != "1.0.0" {
			t.Fatal(c, err)
		}
		if _, err := os.Stat(filepath.Join(folder, "half")); err == nil {
			t.Error("the damaged bundle is still there")
		}
	})
}

// TestRestoreWantsRoomForWhatIsCopied out of the snapshot that is laid out, whatever that
// TestRestoreOfASmallSnapshot: how large the live database became is no reason not to go
// back to a small one.
func TestRestoreOfASmallSnapshot(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.put("coop.db", strings.Repeat("x", 40<<20))
		b.data.set(2, map[string]int64{"orders": 12})
		b.space.free = 256<<20 + 2<<20
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil); err != nil {
			t.Error(err)
		}
	})
}

// TestDrillWantsRoomForWhatIsThere, whatever the snapshot says of its size.
func TestDrillWantsRoomForWhatIsThere(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.put("coop.db", strings.Repeat("x", 4<<20))
		b.space.free = 256<<20 + 2<<20
		if err := d.Drill(t.Context(), appliance.DrillRequest{}, nil); !appliance.IsProblem(err, "drill.no-room") {
			t.Error(err)
		}
	})
}
