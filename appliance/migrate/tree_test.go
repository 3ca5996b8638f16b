// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// old is long before anything that a test does.
func old() time.Time { return time.Unix(1_700_000_000, 123_456_789) }

// put makes a file of an old day, and the folders above it.
func put(t *testing.T, dir, rel, content string, mode fs.FileMode) {
	t.Helper()
	file := filepath.Join(dir, rel)
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte(content), 0o600))
	must(t, os.Chmod(file, mode))
	must(t, os.Chtimes(file, old(), old()))
}

// twins are two folders, and what a pass from one to the other did.
type twins struct {
	t        *testing.T
	from, to string
	done     outcome
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{t: t, from: filepath.Join(t.TempDir(), "from"), to: filepath.Join(t.TempDir(), "to")}
	must(t, errors.Join(os.Mkdir(w.from, 0o700), os.Mkdir(w.to, 0o700)))
	return w
}

func (w *twins) pass(live bool, databases ...string) error {
	w.t.Helper()
	w.done = outcome{}
	return copyTree(w.t.Context(), w.from, w.to, tree{live: live, done: &w.done, keep: func(rel string) bool {
		for _, d := range databases {
			if rel == d {
				return true
			}
		}
		return false
	}})
}

// listed is everything below a folder in a form that can be compared: kind, mode,
// time, size, content or target.
func listed(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		fmt.Fprintf(&b, "%v %q", info.Mode(), rel)
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d %.40q %v", info.Size(), data, info.ModTime().UnixNano())
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s %v", target, info.ModTime().UnixNano())
		case fs.ModeDir:
			fmt.Fprintf(&b, " %v", info.ModTime().UnixNano())
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}

func (w *twins) same() {
	w.t.Helper()
	if got, want := listed(w.t, w.to), listed(w.t, w.from); got != want {
		w.t.Errorf("the copy has\n%s\nthe original\n%s", got, want)
	}
}

// plenty fills a folder with all that can be in a volume.
func plenty(t *testing.T, dir string) {
	t.Helper()
	put(t, dir, "a/b/c/photo.jpg", strings.Repeat("photo", 100_000), 0o644)
	put(t, dir, "empty", "", 0o600)
	put(t, dir, "read only", "x", 0o400)
	put(t, dir, "program", "#!", 0o755)
	put(t, dir, "odd \n\xff name", "odd", 0o640)
	put(t, dir, "locked/file", "in a folder that may not be written", 0o444)
	put(t, dir, "locked/deeper/file", "and one below", 0o444)
	must(t, os.Mkdir(filepath.Join(dir, "nothing in it"), 0o711))
	for name, target := range map[string]string{
		"link": "a/b/c/photo.jpg", "link to a folder": "a", "dangling": "nowhere", "out": "/etc/passwd", "up": "../../..", "self": "self",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	hole, err := os.Create(filepath.Join(dir, "hole"))
	must(t, err)
	_, err = hole.WriteAt([]byte("in the middle"), 512<<20)
	must(t, err)
	must(t, hole.Truncate(1<<30))
	must(t, hole.Close())
	must(t, os.Chtimes(hole.Name(), old(), old()))
	must(t, os.Chmod(filepath.Join(dir, "locked/deeper"), 0o555))
	must(t, os.Chmod(filepath.Join(dir, "locked"), 0o555))
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Sys().(*syscall.Stat_t).Blocks
}

func TestTree(t *testing.T) {
	w := newTwins(t)
	plenty(t, w.from)
	must(t, w.pass(false))
	w.holes()
	if w.done.Bytes < 500_000 || w.done.Bytes > 1<<20 {
		t.Errorf("%d bytes were copied", w.done.Bytes)
	}
	must(t, w.pass(false))
	if w.done.Bytes != 0 {
		t.Errorf("%d bytes were copied again", w.done.Bytes)
	}
	// Everything changes into something else.
	must(t, os.RemoveAll(filepath.Join(w.from, "a")))
	must(t, os.Remove(filepath.Join(w.from, "link")))
	must(t, os.Remove(filepath.Join(w.from, "empty")))
	must(t, os.Remove(filepath.Join(w.from, "dangling")))
	for _, dir := range []string{"locked", "locked/deeper"} {
		must(t, os.Chmod(filepath.Join(w.from, dir), 0o700))
	}
	must(t, os.RemoveAll(filepath.Join(w.from, "locked")))
	put(t, w.from, "a", "a file now", 0o600)
	put(t, w.from, "empty/not", "a folder now", 0o600)
	put(t, w.from, "dangling", "a file now", 0o600)
	put(t, w.from, "program", "!#", 0o755)
	must(t, os.Chtimes(filepath.Join(w.from, "program"), old(), old().Add(1))) // one nanosecond
	put(t, w.from, "read only", "x", 0o600)
	must(t, os.Symlink("/etc/shadow", filepath.Join(w.from, "link")))
	must(t, w.pass(false))
	w.same()
}

// holes compares the file with holes by its size on the disk, and takes it away:
// nobody wants to read a gibibyte of nothing.
func (w *twins) holes() {
	w.t.Helper()
	from, to := filepath.Join(w.from, "hole"), filepath.Join(w.to, "hole")
	a, err := os.Stat(from)
	must(w.t, err)
	b, err := os.Stat(to)
	must(w.t, err)
	if a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) || blocks(w.t, to) > blocks(w.t, from)+64 {
		w.t.Errorf("a file of %d blocks became one of %d, size %d and %d", blocks(w.t, from), blocks(w.t, to), a.Size(), b.Size())
	}
	middle := make([]byte, 13)
	f, err := os.Open(to)
	must(w.t, err)
	_, err = f.ReadAt(middle, 512<<20)
	must(w.t, err)
	must(w.t, f.Close())
	if string(middle) != "in the middle" {
		w.t.Errorf("in the middle is %q", middle)
	}
	must(w.t, os.Remove(from))
	must(w.t, os.Remove(to))
	w.same()
}

// TestTreeLeavesOutSockets has what can not be copied.
func TestTreeLeavesOutSockets(t *testing.T) {
	w := newTwins(t)
	put(t, w.from, "file", "file", 0o600)
	must(t, unix.Mkfifo(filepath.Join(w.from, "pipe"), 0o600))
	l, err := net.Listen("unix", filepath.Join(w.from, "socket"))
	must(t, err)
	defer func() { must(t, l.Close()) }()
	must(t, w.pass(false))
	if w.done.Skips != 2 || len(w.done.Skipped) != 2 || !strings.HasPrefix(listed(t, w.to), `-rw------- "file"`) {
		t.Errorf("left out: %+v", w.done)
	}
}

// TestTreeFollowsNoLink has links where a copy would be written or removed.
func TestTreeFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	put(t, outside, "dear/file", "dear", 0o600)
	before := listed(t, outside)
	w := newTwins(t)
	put(t, w.from, "a/file", "from", 0o600)
	put(t, w.from, "file", "from", 0o600)
	must(t, os.Symlink(outside, filepath.Join(w.from, "data")))
	for _, name := range []string{"a", "file", "vanished"} {
		must(t, os.Symlink(filepath.Join(outside, "dear"), filepath.Join(w.to, name)))
	}
	must(t, w.pass(false))
	w.same()
	if got := listed(t, outside); got != before {
		t.Errorf("outside is\n%s\nand was\n%s", got, before)
	}
}

// TestTreeKeepsDatabases leaves the files of databases alone on both sides.
func TestTreeKeepsDatabases(t *testing.T) {
	w := newTwins(t)
	put(t, w.from, "rows/coop.db", "from", 0o600)
	put(t, w.from, "rows/coop.db-wal", "from", 0o600)
	put(t, w.from, "rows/note", "from", 0o600)
	put(t, w.to, "rows/coop.db", "to", 0o600)
	put(t, w.to, "rows/.coop.db.rochdale-tmp", "to", 0o600)
	q := request{From: place{Root: "/from", Databases: map[string]database{"main": {Engine: "sqlite", File: "/from/data/rows/coop.db"}}}, To: place{Root: "/to"}}
	keep := q.databaseFiles("data")
	if keep("rows/note") || keep("coop.db") || q.databaseFiles("other")("rows/coop.db") {
		t.Error("a plain file is taken for a database")
	}
	must(t, copyTree(t.Context(), w.from, w.to, tree{done: &w.done, keep: keep}))
	want := strings.Join([]string{`"rows"`, `"rows/.coop.db.rochdale-tmp" 2 "to"`, `"rows/coop.db" 2 "to"`, `"rows/note" 4 "from"`}, "\n")
	got := listed(t, w.to)
	for _, line := range strings.Split(want, "\n") {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
	if strings.Contains(got, "-wal") {
		t.Errorf("the log of the original is in\n%s", got)
	}
}

// TestUnbelievedCopies are those that may not be what the original is: they have
// its size, and will be copied again.
func TestUnbelievedCopies(t *testing.T) {
	w := newTwins(t)
	put(t, w.from, "old", "old", 0o600)
	put(t, w.from, "new", "new", 0o600)
	now := time.Now()
	must(t, os.Chtimes(filepath.Join(w.from, "new"), now, now))
	must(t, w.pass(true))
	for name, want := range map[string]time.Time{"old": old(), "new": unfinished()} {
		if info, err := os.Stat(filepath.Join(w.to, name)); err != nil || !info.ModTime().Equal(want) {
			t.Errorf("the copy of the %s file is of %v, want %v", name, info.ModTime(), want)
		}
	}
	// It changes within the same tick of the clock.
	must(t, os.WriteFile(filepath.Join(w.from, "new"), []byte("wen"), 0o600))
	must(t, os.Chtimes(filepath.Join(w.from, "new"), now, now))
	must(t, w.pass(false))
	w.same()
	if w.done.Bytes != 3 {
		t.Errorf("%d bytes were copied in the second pass", w.done.Bytes)
	}
}

// TestTimesComeLast ends a copy before its content was known to be on the disk.
func TestTimesComeLast(t *testing.T) {
	w := newTwins(t)
	for i := range unsettled + 10 {
		put(t, w.from, fmt.Sprintf("file %04d", i), "content", 0o600)
	}
	root := tree{done: &w.done, keep: func(string) bool { return false }}
	var err error
	root.from, err = os.OpenRoot(w.from)
	must(t, err)
	root.to, err = os.OpenRoot(w.to)
	must(t, err)
	must(t, root.inside(t.Context(), ".", 0)) // and then the power goes
	must(t, errors.Join(root.from.Close(), root.to.Close()))
	if n := strings.Count(listed(t, w.to), strconv.FormatInt(unfinished().UnixNano(), 10)); n != 10 {
		t.Errorf("%d copies have no time yet, want those of the last batch", n)
	}
	must(t, w.pass(false))
	w.same()
	if want := int64(10 * len("content")); w.done.Bytes != want {
		t.Errorf("%d bytes were copied again, want %d", w.done.Bytes, want)
	}
}

// TestTreeOfAStackInUse copies while files come, change and go.
func TestTreeOfAStackInUse(t *testing.T) {
	w := newTwins(t)
	for i := range 300 {
		put(t, w.from, fmt.Sprintf("dir %d/file %d", i%7, i), "content", 0o600)
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- err
				return
			default:
			}
			dir := filepath.Join(w.from, fmt.Sprintf("dir %d", i%7))
			file := filepath.Join(dir, fmt.Sprintf("file %d", i%300))
			err = errors.Join(err, os.RemoveAll(file), os.MkdirAll(dir, 0o700))
			switch i % 5 {
			case 0:
				err = errors.Join(err, os.Symlink("/etc/passwd", file))
			case 1:
				err = errors.Join(err, os.Mkdir(file, 0o700))
			case 2:
				err = errors.Join(err, os.RemoveAll(dir))
			default:
				err = errors.Join(err, os.WriteFile(file, bytes.Repeat([]byte("x"), i%5000), 0o600))
			}
		}
	}()
	for range 30 {
		if err := w.pass(true); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	must(t, <-stopped)
	if strings.Contains(listed(t, w.to), "root:") {
		t.Error("a link was followed")
	}
	must(t, w.pass(false))
	w.same()
}

func TestTreeRefuses(t *testing.T) {
	w := newTwins(t)
	deep := w.from
	for range maxDepth + 2 {
		deep = filepath.Join(deep, "d")
	}
	must(t, os.MkdirAll(deep, 0o700))
	if err := w.pass(false); err == nil || !strings.Contains(err.Error(), "more than 200 folders") {
		t.Errorf("too deep: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("called off"))
	err := copyTree(ctx, w.from, w.to, tree{done: &w.done, keep: func(string) bool { return false }})
	if err == nil || err.Error() != "called off" {
		t.Errorf("called off: %v", err)
	}
	if err := copyTree(t.Context(), filepath.Join(w.from, "missing"), w.to, tree{live: true, done: &w.done}); !gone(err) {
		t.Errorf("a missing volume: %v", err)
	}
}
