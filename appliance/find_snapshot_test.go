// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"bytes"
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

// TestFindSnapshotDoesNotWait: evidence that is not ready in time is left out, and no
// reason not to restore. Who asks has 60 seconds in the API.
func TestFindSnapshotDoesNotWait(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if err := backup(d, appliance.BackupDump); err != nil { // its files are in another one
			t.Fatal(err)
		}
		b.data.set(1, map[string]int64{"orders": 15})
		for name, c := range map[string]struct {
			restore, facts, patience time.Duration
			version                  string
			changed                  int
		}{
			"all in time":      {time.Second, time.Second, time.Minute, "1.0.0", 1},
			"a slow offsite":   {time.Hour, 0, time.Minute, "", 0},
			"slow facts":       {time.Second, time.Hour, time.Minute, "1.0.0", 0},
			"both":             {14 * time.Second, time.Hour, time.Minute, "1.0.0", 0},
			"little time left": {time.Hour, time.Hour, time.Second, "", 0},
			"nobody hurries":   {time.Hour, time.Hour, 24 * time.Hour, "", 0},
		} {
			b.vault.lays, b.data.looks = c.restore, c.facts
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			one, err := d.FindSnapshot(ctx, appliance.RestoreRequest{Stack: "delivery"})
			cancel()
			if err != nil || one.Snapshot == "" || one.Files == "" || one.Version != c.version || len(one.Facts) != c.changed {
				t.Errorf("%s: %+v, %v", name, one, err)
			}
			if took := time.Since(began); took > min(c.patience, 45*time.Second) {
				t.Errorf("%s: it took %v", name, took)
			}
		}
		if left, err := filepath.Glob(filepath.Join(b.paths.Stages(), "look-*")); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
		b.vault.lays, b.data.looks = 0, 0
		b.vault.fail("box", &backups.Problem{ID: "backups.unreachable"})
		b.vault.downFor = "restore"
		if _, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Stack: "delivery"}); !appliance.IsProblem(err, "backups.unreachable") {
			t.Error("what can not be looked into:", err)
		}
	})
}

// TestFindSnapshotIsCalledOff by whoever asked.
func TestFindSnapshotIsCalledOff(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		for _, slow := range []*time.Duration{&b.vault.lays, &b.data.looks} {
			*slow = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			left := errors.New("who asked left")
			time.AfterFunc(time.Second, func() { cancel(left) })
			if _, err := d.FindSnapshot(ctx, appliance.RestoreRequest{Stack: "delivery"}); !errors.Is(err, left) {
				t.Error(err)
			}
			*slow = 0
		}
	})
}

// TestFindSnapshotTellsOfFiles: what is shown as the snapshot of the plain files is what
// a restore takes, also where the newest whole one is without the stack.
func TestFindSnapshotTellsOfFiles(t *testing.T) {
	without := func(s *twinSnapshot) { s.Tags = append(slices.Clone(s.Tags), "without:delivery") }
	before := func(s *twinSnapshot) { // the stack came
		for path, content := range s.files {
			if filepath.Base(path) == "manifest.json" {
				s.files[path] = bytes.ReplaceAll(content, []byte(`"delivery":`), []byte(`"another":`))
			}
		}
	}
	for name, c := range map[string]struct {
		spoil []func(*twinSnapshot) // the newest whole one, and the one before
		want  string
	}{
		"the newest has them":             {nil, "a newer photo"},
		"only the one before":             {[]func(*twinSnapshot){without}, "a photo"},
		"none":                            {[]func(*twinSnapshot){without, without}, ""},
		"all are from before":             {[]func(*twinSnapshot){before, before}, ""},
		"one is without, one from before": {[]func(*twinSnapshot){without, before}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				for _, photo := range []string{"a photo", "a newer photo"} {
					b.put("photo.jpg", photo)
					if err := backup(d, appliance.BackupFull); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute) // the night makes no other
				}
				if err := backup(d, appliance.BackupDump); err != nil {
					t.Fatal(err)
				}
				b.vault.mu.Lock()
				whole := slices.DeleteFunc(slices.Clone(b.vault.kept["box"]), func(s twinSnapshot) bool { return !slices.Contains(s.Tags, "kind:full") })
				for i, spoil := range c.spoil {
					j := slices.IndexFunc(b.vault.kept["box"], func(s twinSnapshot) bool { return s.ID == whole[i].ID })
					spoil(&b.vault.kept["box"][j])
				}
				b.vault.mu.Unlock()
				want := map[string]string{"a newer photo": whole[0].ID, "a photo": whole[1].ID}[c.want]
				one, err := d.FindSnapshot(t.Context(), appliance.RestoreRequest{Stack: "delivery"})
				if err != nil || one.Files != want {
					t.Errorf("it shows %s, want %s, %v", one.Files, want, err)
				}
				b.data.set(2, map[string]int64{"orders": 12})
				if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", At: one.Snapshot}, nil); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(filepath.Join(b.paths.Volume("delivery", 2, "data"), "photo.jpg")); string(got) != c.want {
					t.Errorf("the photo is %q, %v", got, err)
				}
			})
		})
	}
}
