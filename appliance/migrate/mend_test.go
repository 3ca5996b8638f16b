// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TestMend: what is lost comes back, what was encrypted makes way and is kept, and what
// is new stays. A second time there is nothing to do.
func TestMend(t *testing.T) {
	w := newTwins(t)
	aside := t.TempDir()
	for rel, content := range map[string]string{"a.jpg": "photo a", "b.jpg": "photo b", "c/d/e.jpg": "photo e", "was-a-folder": "photo f", "same.jpg": "photo g"} {
		put(t, w.from, rel, content, 0o640)
	}
	must(t, os.Symlink("a.jpg", filepath.Join(w.from, "link")))
	put(t, w.to, "same.jpg", "photo g", 0o600)
	put(t, w.to, "new.jpg", "photo of today", 0o600)
	put(t, w.to, "c/new.jpg", "photo of today", 0o600)
	put(t, w.to, "was-a-folder/note", "a note", 0o600)
	must(t, errors.Join(
		os.WriteFile(filepath.Join(w.to, "b.jpg"), []byte("pay me!"), 0o600), // of the same size
		os.Symlink("/etc", filepath.Join(w.to, "c/d")),
		os.Symlink("/etc/passwd", filepath.Join(w.to, "link")),
	))
	passwd := textOf(t, "/etc/passwd")
	done := outcome{}
	must(t, mendTree(t.Context(), w.from, w.to, aside, &done))
	if done.Back != 5 || done.Aside != 4 {
		t.Errorf("%d back, %d aside", done.Back, done.Aside)
	}
	for rel, want := range map[string]string{
		"a.jpg": "photo a", "b.jpg": "photo b", "c/d/e.jpg": "photo e", "was-a-folder": "photo f", "link": "photo a", "same.jpg": "photo g",
		"new.jpg": "photo of today", "c/new.jpg": "photo of today",
	} {
		if got := textOf(t, filepath.Join(w.to, rel)); got != want {
			t.Errorf("%s is %q", rel, got)
		}
	}
	if got := textOf(t, filepath.Join(aside, "b.jpg")); got != "pay me!" {
		t.Errorf("what made way is %q", got)
	}
	if got := textOf(t, filepath.Join(aside, "was-a-folder/note")); got != "a note" {
		t.Errorf("what made way is %q", got)
	}
	if _, err := os.Stat("/etc/e.jpg"); err == nil || textOf(t, "/etc/passwd") != passwd {
		t.Error("it went through a link")
	}
	done = outcome{}
	must(t, mendTree(t.Context(), w.from, w.to, aside, &done))
	if done.Back != 0 || done.Aside != 0 {
		t.Errorf("a second time: %d back, %d aside", done.Back, done.Aside)
	}
}

// ending is a context that ends when it is looked at for the so many-th time, or with
// which everything ends then, as with a power cut.
type ending struct {
	context.Context
	left int
	cut  bool
}

var errCut = errors.New("the power is gone")

func (e *ending) Err() error {
	if e.left--; e.left >= 0 {
		return nil
	}
	if e.cut {
		panic(errCut)
	}
	return context.Canceled
}

// mendUntil mends until a look at the context, and tells whether it came to its end.
func (w *twins) mendUntil(aside string, left int, cut bool) (whole bool) {
	w.t.Helper()
	defer func() {
		if gone := recover(); gone != nil && gone != any(errCut) {
			panic(gone)
		}
	}()
	err := mendTree(&ending{w.t.Context(), left, cut}, w.from, w.to, aside, &outcome{})
	if err != nil && !errors.Is(err, context.Canceled) {
		w.t.Fatal(err)
	}
	return err == nil
}

// strays are the names below a folder that are no platform's own.
func strays(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if isBeside(path) {
			all = append(all, path)
		}
		return err
	}))
	return all
}

// TestMendIsInterrupted wherever it looks whether to go on: each file of the volume is
// the one from before or that of the snapshot, what made way is whole or not there, and
// the next run brings all of it and removes what was left.
func TestMendIsInterrupted(t *testing.T) {
	for _, cut := range []bool{false, true} {
		for left, whole := 0, false; !whole; left++ {
			w := newTwins(t)
			aside := t.TempDir()
			before := map[string]string{"a/b.jpg": "pay me b", "c.jpg": "pay me", "f/g/note": "a note"}
			after := map[string]string{"a/b.jpg": "photo b", "c.jpg": "photo of c", "f/g": "photo g", "lost.jpg": "photo l"}
			for rel, content := range before {
				put(t, w.to, rel, content, 0o600)
			}
			for rel, content := range after {
				put(t, w.from, rel, content, 0o640)
			}
			must(t, os.Chtimes(filepath.Join(w.to, "a/b.jpg"), time.Now(), time.Now()))
			whole = w.mendUntil(aside, left, cut)
			for rel := range after {
				got, err := os.ReadFile(filepath.Join(w.to, rel))
				if missing := err != nil && before[rel] == ""; !missing && string(got) != before[rel] && string(got) != after[rel] && rel != "f/g" {
					t.Errorf("cut %v after %d looks, %s is %q, %v", cut, left, rel, got, err)
				}
			}
			for rel, want := range before {
				if got, err := os.ReadFile(filepath.Join(aside, rel)); err == nil && string(got) != want {
					t.Errorf("cut %v after %d looks, %q made way from %s", cut, left, got, rel)
				}
			}
			if all := append(strays(t, w.to), strays(t, aside)...); !cut && len(all) > 0 {
				t.Errorf("after %d looks %v are left", left, all)
			}
			must(t, mendTree(t.Context(), w.from, w.to, aside, &outcome{}))
			for rel, want := range after {
				if got := textOf(t, filepath.Join(w.to, rel)); got != want {
					t.Errorf("cut %v after %d looks and again, %s is %q", cut, left, rel, got)
				}
			}
			for rel, want := range before {
				if got := textOf(t, filepath.Join(aside, rel)); got != want {
					t.Errorf("cut %v after %d looks and again, %q made way from %s", cut, left, got, rel)
				}
			}
			if all := append(strays(t, w.to), strays(t, aside)...); len(all) > 0 {
				t.Errorf("cut %v after %d looks and again, %v are left", cut, left, all)
			}
			if left > 200 {
				t.Fatal("it has no end")
			}
		}
	}
}

// TestMendKeepsWhatIsAside: what comes to be in the way of the same file later is put
// beside it, whatever it is.
func TestMendKeepsWhatIsAside(t *testing.T) {
	w := newTwins(t)
	aside := t.TempDir()
	put(t, w.from, "b.jpg", "photo b", 0o600)
	put(t, w.from, "c/d.jpg", "photo d", 0o600)
	for i, spoil := range []func(){
		func() { put(t, w.to, "b.jpg", "pay me", 0o600); put(t, w.to, "c", "no folder", 0o600) },
		func() { put(t, w.to, "b.jpg", "pay me more", 0o600); put(t, w.to, "c/d.jpg", "pay me too", 0o600) },
		func() {
			must(t, errors.Join(os.Remove(filepath.Join(w.to, "b.jpg")), os.Symlink("c", filepath.Join(w.to, "b.jpg"))))
		},
		func() { // the same once more: it is there
			must(t, errors.Join(os.Remove(filepath.Join(w.to, "b.jpg")), os.Symlink("c", filepath.Join(w.to, "b.jpg"))))
		},
	} {
		spoil()
		done := outcome{}
		must(t, mendTree(t.Context(), w.from, w.to, aside, &done))
		if want := []int{2, 2, 1, 1}[i]; done.Aside != want {
			t.Errorf("%d: %d are aside, want %d", i, done.Aside, want)
		}
		if textOf(t, filepath.Join(w.to, "b.jpg")) != "photo b" || textOf(t, filepath.Join(w.to, "c/d.jpg")) != "photo d" {
			t.Errorf("%d: not all is back", i)
		}
	}
	for rel, want := range map[string]string{"b.jpg": "pay me", "c": "no folder", "again-2/b.jpg": "pay me more", "again-2/c/d.jpg": "pay me too"} {
		if got := textOf(t, filepath.Join(aside, rel)); got != want {
			t.Errorf("aside %s is %q", rel, got)
		}
	}
	if got, err := os.Readlink(filepath.Join(aside, "again-3/b.jpg")); got != "c" {
		t.Error(got, err)
	}
	if list, err := os.ReadDir(aside); len(list) != 4 {
		t.Error(list, err)
	}
}

// TestMendRemovesWhatWasLeft by a run that ended in the middle, in folders that the
// snapshot does not know too, and brings none of it out of a snapshot. What only looks
// like it is the platform's own.
func TestMendRemovesWhatWasLeft(t *testing.T) {
	w := newTwins(t)
	aside := t.TempDir()
	left := func(dir, rel string) { put(t, dir, beside(rel), "half a pho", 0o600) }
	left(w.to, ".")
	left(w.to, "only/here")
	left(aside, ".")
	put(t, aside, beside(".")+"/half/a/folder", "x", 0o600)
	left(w.from, ".")
	put(t, w.from, "b.jpg", "photo b", 0o600)
	const own = besideBegin + "notes"
	put(t, w.to, own, "the platform's own", 0o600)
	must(t, mendTree(t.Context(), w.from, w.to, aside, &outcome{}))
	if all := append(strays(t, w.to), strays(t, aside)...); len(all) > 0 {
		t.Errorf("%v are left", all)
	}
	if textOf(t, filepath.Join(w.to, own)) != "the platform's own" {
		t.Error("a file of the platform was changed")
	}
}

// TestMendGivesTimes: files that took their places later do not change the times of the
// folders that they came into.
func TestMendGivesTimes(t *testing.T) {
	w := newTwins(t)
	for i := range 2*unsettled + 10 {
		put(t, w.from, fmt.Sprintf("%d/%d/photo.jpg", i%7, i%70), "photo", 0o640)
		put(t, w.from, fmt.Sprintf("%d/%d.jpg", i%7, i), "photo", 0o640)
	}
	must(t, os.Symlink("1.jpg", filepath.Join(w.from, "1/link")))
	for dir := range 7 {
		must(t, os.Chtimes(filepath.Join(w.from, strconv.Itoa(dir)), old(), old()))
	}
	must(t, os.Chmod(filepath.Join(w.from, "2/2"), 0o555))
	t.Cleanup(func() {
		_ = errors.Join(os.Chmod(filepath.Join(w.from, "2/2"), 0o755), os.Chmod(filepath.Join(w.to, "2/2"), 0o755))
	})
	must(t, mendTree(t.Context(), w.from, w.to, t.TempDir(), &outcome{}))
	w.same()
}

func textOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	return string(data)
}
