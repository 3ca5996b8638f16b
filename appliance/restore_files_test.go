// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"os"
	"path/filepath"
	"testing"

	"rochdale/stacks"
)

// TestMoveFiles: what a snapshot has of a volume comes where the volume is, files
// that never change too, unless some are there.
func TestMoveFiles(t *testing.T) {
	p := Paths{Root: t.TempDir()}
	c := &crew{release: Release{Stack: "delivery", Generation: 2}, paths: p}
	c.bundle.Stack.Manifest.Data = map[string]stacks.Volume{"photos": {Immutable: true}, "scans": {Immutable: true}}
	c.bundle.Stack.Services = []stacks.Service{
		{Name: "coop", Mounts: []stacks.Mount{{Volume: "data"}, {Volume: "photos"}, {Volume: "scans"}}},
		{Name: "db", Shared: true, Mounts: []stacks.Mount{{Volume: "server"}}},
	}
	restored := t.TempDir()
	took := StackBackup{Volumes: map[string]string{}}
	for _, name := range []string{"data", "photos", "scans", "server", "gone"} {
		took.Volumes[name] = "/was/" + name
		write(t, filepath.Join(restored, "was", name, "file"), "from the snapshot")
	}
	write(t, filepath.Join(c.volume("scans"), "file"), "here all along")
	if err := moveFiles(restored, took, c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"data": "from the snapshot", "photos": "from the snapshot", "scans": "here all along"} {
		if got, err := os.ReadFile(filepath.Join(c.volume(name), "file")); string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"server", "gone"} {
		if _, err := os.Stat(c.volume(name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}

// TestMoveFilesThroughALink: a snapshot may hold links, and say that its volumes lie
// behind one.
func TestMoveFilesThroughALink(t *testing.T) {
	p := Paths{Root: t.TempDir()}
	c := &crew{release: Release{Stack: "delivery", Generation: 2}, paths: p}
	c.bundle.Stack.Services = []stacks.Service{{Name: "coop", Mounts: []stacks.Mount{{Volume: "data"}}}}
	live := p.Volume("delivery", 1, "data")
	write(t, filepath.Join(live, "file"), "in use")
	for _, target := range []string{filepath.Dir(live), "../../.." + filepath.Dir(live)} {
		restored := t.TempDir()
		if err := os.Symlink(target, filepath.Join(restored, "link")); err != nil {
			t.Fatal(err)
		}
		for _, volume := range []string{"/link/data", "/link"} {
			err := moveFiles(restored, StackBackup{Volumes: map[string]string{"data": volume}}, c)
			if !IsProblem(err, "restore.outside") {
				t.Error(target, volume, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(live, "file")); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
