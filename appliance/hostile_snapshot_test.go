// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"rochdale/appliance"
)

// forge changes what the newest snapshot of a repository says of itself, as somebody
// with its password can. up leads from a folder in it to the machine's root.
func (b *bench) forge(repository, stack string, change func(one *appliance.StackBackup)) {
	b.t.Helper()
	for path, content := range b.vault.snapshots(repository)[0].files {
		if filepath.Base(path) != "manifest.json" {
			continue
		}
		var m appliance.BackupManifest
		if err := json.Unmarshal(content, &m); err != nil {
			b.t.Fatal(err)
		}
		one := m.Stacks[stack]
		change(&one)
		m.Stacks[stack] = one
		forged, err := json.Marshal(m)
		if err != nil {
			b.t.Fatal(err)
		}
		b.vault.snapshots(repository)[0].files[path] = forged
		return
	}
	b.t.Fatal("there is no manifest")
}

// TestHostileSnapshot: a snapshot says where its parts lie. One that leads out of what
// was laid out is refused, and nothing of the machine is moved or removed.
func TestHostileSnapshot(t *testing.T) {
	const up = "/../../../../../../../../../../../../.."
	for name, forge := range map[string]func(b *bench, one *appliance.StackBackup){
		"the bundle": func(b *bench, one *appliance.StackBackup) { one.Bundle = up + b.paths.Stack("delivery") + "/data" },
		"the volumes": func(b *bench, one *appliance.StackBackup) {
			one.Volumes["data"] = up + b.paths.Volume("delivery", 1, "data")
		},
	} {
		for verb, do := range map[string]func(b *bench, d *appliance.Daemon) error{
			"drill": func(b *bench, d *appliance.Daemon) error {
				return d.Drill(b.t.Context(), appliance.DrillRequest{}, nil)
			},
			"restore": func(b *bench, d *appliance.Daemon) error {
				_, err := d.Restore(b.t.Context(), appliance.RestoreRequest{Stack: "delivery"}, nil)
				return err
			},
		} {
			t.Run(verb+" of "+name, func(t *testing.T) {
				saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
					if err := backup(d, appliance.BackupFull); err != nil {
						t.Fatal(err)
					}
					b.forge("box", "delivery", func(one *appliance.StackBackup) { forge(b, one) })
					err := do(b, d)
					if !appliance.IsProblem(err, "restore.outside") {
						t.Error(err)
					}
					if _, gone := os.Stat(filepath.Join(b.paths.Volume("delivery", 1, "data"), "photo.jpg")); gone != nil {
						t.Error("the data of the running stack:", gone)
					}
				})
			})
		}
	}
}
