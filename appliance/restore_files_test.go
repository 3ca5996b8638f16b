// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rochdale/appliance/host"
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
	used, err := moveFiles(restored, took, c)
	if err != nil || !slices.Equal(used, []string{"scans"}) {
		t.Fatal(used, err)
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

// mender is data of which only the mending is asked for.
type mender struct {
	Data
	from, to, aside string
	done            Mended
}

func (m *mender) Mend(_ context.Context, from string, at DataPlace, aside string) (Mended, error) {
	m.from, m.to, m.aside = from, at.Volumes["photos"], aside
	return m.done, nil
}

// TestPlaceFiles: a volume whose files never change and that is in use is mended by a
// child, and it is told how many files came back and where those are that made way.
func TestPlaceFiles(t *testing.T) {
	for _, differ := range []int{0, 1} {
		p, m := Paths{Root: t.TempDir()}, &mender{done: Mended{Back: 2, Aside: differ}}
		d := &Daemon{Parts: Parts{Paths: p, Data: m}, files: host.NewFiles()}
		c := &crew{release: Release{Stack: "delivery", Generation: 2}, paths: p}
		c.bundle.Stack.Manifest.User = os.Geteuid()
		c.bundle.Stack.Manifest.Data = map[string]stacks.Volume{"photos": {Immutable: true}}
		c.bundle.Stack.Services = []stacks.Service{{Name: "coop", Mounts: []stacks.Mount{{Volume: "photos"}}}}
		restored, told := t.TempDir(), ""
		write(t, filepath.Join(restored, "was/photos/a.jpg"), "photo a")
		write(t, filepath.Join(restored, "was/photos/b.jpg"), "photo b")
		write(t, filepath.Join(c.volume("photos"), "b.jpg"), "pay me")
		err := d.placeFiles(t.Context(), restored, StackBackup{Volumes: map[string]string{"photos": "/was/photos"}}, c, "one", func(s string) { told = s })
		aside := filepath.Join(p.Replaced("delivery", "one"), "photos")
		if err != nil || m.from != filepath.Join(restored, "was/photos") || m.to != c.volume("photos") || m.aside != aside {
			t.Fatalf("%+v, %v", m, err)
		}
		if _, err := os.Stat(aside); (err == nil) != (differ > 0) || strings.Contains(told, aside) != (differ > 0) || !strings.Contains(told, "2 files") {
			t.Errorf("told %q, %v", told, err)
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
			_, err := moveFiles(restored, StackBackup{Volumes: map[string]string{"data": volume}}, c)
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
