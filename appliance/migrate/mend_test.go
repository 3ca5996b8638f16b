// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"errors"
	"os"
	"path/filepath"
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

// TestMendGoesOn: what an interrupted pass left half is brought again, and takes the
// place of nothing that was put aside.
func TestMendGoesOn(t *testing.T) {
	w := newTwins(t)
	aside := t.TempDir()
	put(t, w.from, "b.jpg", "photo b", 0o600)
	put(t, w.to, "b.jpg", "pho", 0o600)
	put(t, aside, "b.jpg", "pay me", 0o600)
	must(t, os.Chtimes(filepath.Join(w.to, "b.jpg"), time.Time{}, unfinished()))
	done := outcome{}
	must(t, mendTree(t.Context(), w.from, w.to, aside, &done))
	if textOf(t, filepath.Join(w.to, "b.jpg")) != "photo b" || textOf(t, filepath.Join(aside, "b.jpg")) != "pay me" || done.Aside != 0 {
		t.Errorf("%+v", done)
	}
}

func textOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	return string(data)
}
