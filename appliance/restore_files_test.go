// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"bytes"
	"context"
	"errors"
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
	err             error
}

func (m *mender) Mend(_ context.Context, from string, at DataPlace, aside string) (Mended, error) {
	m.from, m.to, m.aside = from, at.Volumes["photos"], aside
	if m.done.Aside > 0 {
		if err := os.WriteFile(filepath.Join(aside, "b.jpg"), []byte("pay me"), 0o600); err != nil {
			return Mended{}, err
		}
	}
	return m.done, m.err
}

// TestPlaceFiles: a volume whose files never change and that is in use is mended by a
// child, and it is told how many files came back and where those are that made way.
func TestPlaceFiles(t *testing.T) {
	for _, differ := range []int{0, 1} {
		p, m := Paths{Root: t.TempDir()}, &mender{done: Mended{Back: 2, Aside: differ}}
		d := &Daemon{Parts: Parts{Paths: p, Data: m}, files: host.NewFiles()}
		c := photoCrew(p)
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

// TestMendThatFails says where that is which made way before, if anything did.
func TestMendThatFails(t *testing.T) {
	full := Problem("migrate.disk-full", nil, "stack", "delivery", "detail", "no space left on device")
	for differ, want := range []string{"migrate.disk-full", "restore.files-aside"} {
		p := Paths{Root: t.TempDir()}
		d := &Daemon{Parts: Parts{Paths: p, Data: &mender{done: Mended{Aside: differ}, err: full}}, files: host.NewFiles()}
		c, restored := photoCrew(p), t.TempDir()
		write(t, filepath.Join(restored, "was/photos/b.jpg"), "photo b")
		write(t, filepath.Join(c.volume("photos"), "b.jpg"), "pay me")
		err := d.placeFiles(t.Context(), restored, StackBackup{Volumes: map[string]string{"photos": "/was/photos"}}, c, "one", func(string) {})
		aside := filepath.Join(p.Replaced("delivery", "one"), "photos")
		m := MessageOf(err)
		if m.ID != want || differ > 0 && (m.Args["aside"] != aside || m.Args["detail"] != "no space left on device") || !errors.Is(err, full) {
			t.Errorf("%d aside: %v", differ, err)
		}
		if _, err := os.Stat(filepath.Dir(filepath.Dir(aside))); (err == nil) != (differ > 0) {
			t.Error("the folder aside:", err)
		}
	}
}

// photoCrew has a volume whose files never change.
func photoCrew(p Paths) *crew {
	c := &crew{release: Release{Stack: "delivery", Generation: 2}, paths: p}
	c.bundle.Stack.Manifest.User = os.Geteuid()
	c.bundle.Stack.Manifest.Data = map[string]stacks.Volume{"photos": {Immutable: true}}
	c.bundle.Stack.Services = []stacks.Service{{Name: "coop", Mounts: []stacks.Mount{{Volume: "photos"}}}}
	return c
}

// blank is a store of a box that runs nothing, on a disk with so much room.
type blank struct {
	Store
	Space
	free int64
}

func (blank) Release(context.Context, string) (Release, bool, error) { return Release{}, false, nil }

func (b blank) Free(string) (int64, error) { return b.free, nil }

// TestRoomToMend: what a volume in use lacks is copied, and what differs is copied twice.
// What it has takes nothing, and neither does a volume into which all is moved.
func TestRoomToMend(t *testing.T) {
	p, restored := Paths{Root: t.TempDir()}, t.TempDir()
	c := photoCrew(p)
	mib := strings.Repeat("x", 1<<20)
	for _, name := range []string{"same", "lost", "deep/er/lost", "changed", "behind-a-link/file", "was-a-folder"} {
		write(t, filepath.Join(restored, "was/photos", name), mib)
	}
	took := StackBackup{Volumes: map[string]string{"photos": "/was/photos"}, Database: "/databases", Data: Snapshot{Bytes: 1 << 20}}
	if err := os.Mkdir(filepath.Join(restored, took.Database), 0o700); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	room := func() int64 {
		n, err := mendBytes(t.Context(), restored, took, c)
		if err != nil {
			t.Error(err)
		}
		return n >> 20
	}
	if n := room(); n != 0 {
		t.Errorf("%d MiB for a volume with nothing in it", n)
	}
	outside := t.TempDir()
	write(t, filepath.Join(outside, "file"), mib)
	live := c.volume("photos")
	write(t, filepath.Join(live, "same"), mib)
	write(t, filepath.Join(live, "changed"), mib+mib)
	write(t, filepath.Join(live, "was-a-folder/note"), mib)
	write(t, filepath.Join(live, "new"), mib)
	info, err := os.Stat(filepath.Join(restored, "was/photos/same"))
	if err := errors.Join(err, os.Symlink(outside, filepath.Join(live, "behind-a-link"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(live, "same"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if n := room(); n != 8 { // five of the snapshot, and three that make way
		t.Errorf("%d MiB", n)
	}
	bytes, err = mendBytes(t.Context(), restored, took, c)
	if err != nil {
		t.Fatal(err)
	}
	for less, want := range map[int64]bool{0: true, 1: false} {
		box := blank{free: bytes + 1<<20 + spareDisk - less}
		w := &transition{Daemon: &Daemon{Parts: Parts{Paths: p, Store: box, Space: box}}, transitionRequest: transitionRequest{Stack: "delivery", ID: "one"}, to: c, took: took}
		if err := os.MkdirAll(filepath.Dir(w.restored()), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(restored, w.restored()); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		if err := w.roomToFill(t.Context()); (err == nil) != want || err != nil && !IsProblem(err, "restore.no-room") {
			t.Errorf("%d bytes less than that: %v", less, err)
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

// leftFree is a disk with so many bytes.
type leftFree struct {
	Space
	bytes int64
}

func (l leftFree) Free(string) (int64, error) { return l.bytes, nil }

// TestRestoreWantsRoomForWhatIsCopied, which is what was laid out, whatever the snapshot
// says of its size.
func TestRestoreWantsRoomForWhatIsCopied(t *testing.T) {
	const large = 3 << 20
	for free, want := range map[int64]string{spareDisk + large - 1<<20: "restore.no-room", spareDisk + large + 1<<20: ""} {
		d := &Daemon{Parts: Parts{Paths: cutBox(t), Space: leftFree{bytes: free}}, files: host.NewFiles()}
		x := &transition{Daemon: d, transitionRequest: transitionRequest{Stack: "delivery", ID: "one"}, took: StackBackup{Database: "/databases", Data: Snapshot{Bytes: 1}}}
		dir := filepath.Join(x.restored(), x.took.Database)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "main.db"), bytes.Repeat([]byte("x"), large), 0o600)); err != nil {
			t.Fatal(err)
		}
		err := x.roomToFill(t.Context())
		if want == "" && err != nil || want != "" && !IsProblem(err, want) {
			t.Errorf("with %d bytes: %v", free, err)
		}
	}
}
