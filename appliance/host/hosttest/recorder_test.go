// SPDX-License-Identifier: AGPL-3.0-or-later

package hosttest_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
)

var attr = host.Attr{Mode: 0o600}

// record runs do over a folder with one old file and link, and checks every
// crash: what check wants must hold, and doing it again must bring it to its end.
func record(t *testing.T, do func(host.Files, string) error, check func(t *testing.T, root string, whole bool)) {
	t.Helper()
	root := t.TempDir()
	prepare(t, root)
	hosttest.EveryCrash(t, root, func(files host.Files) error { return do(files, root) }, func(c hosttest.Crash, after string) {
		check(t, after, c.Whole)
		if err := do(host.NewFiles(), after); err != nil {
			t.Errorf("doing it again after the cut: %v", err)
		}
		check(t, after, true)
	})
}

func prepare(t *testing.T, root string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("the old content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old-target", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
}

// oneOf wants the new value, or before the end the old one.
func oneOf(t *testing.T, got, before, after string, whole bool) {
	t.Helper()
	if got != after && (whole || got != before) {
		t.Errorf("got %q (whole: %v)", got, whole)
	}
}

func content(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "missing"
	}
	return string(data)
}

func TestWriteIsOldOrNewAtEveryCrash(t *testing.T) {
	do := func(f host.Files, root string) error {
		return f.Write(filepath.Join(root, "file"), []byte("the new content"), attr)
	}
	record(t, do, func(t *testing.T, root string, whole bool) {
		oneOf(t, content(filepath.Join(root, "file")), "the old content", "the new content", whole)
	})
}

func TestWriteOfANewFileIsNothingOrWhole(t *testing.T) {
	do := func(f host.Files, root string) error {
		if err := f.MkdirAll(filepath.Join(root, "a/b"), host.Attr{Mode: 0o755}); err != nil {
			return err
		}
		return f.WriteFrom(filepath.Join(root, "a/b/new"), strings.NewReader("the new content"), attr)
	}
	record(t, do, func(t *testing.T, root string, whole bool) {
		oneOf(t, content(filepath.Join(root, "a/b/new")), "missing", "the new content", whole)
		oneOf(t, content(filepath.Join(root, "file")), "the old content", "the old content", whole)
	})
}

func TestSymlinkIsOldOrNewAtEveryCrash(t *testing.T) {
	do := func(f host.Files, root string) error { return f.Symlink("new-target", filepath.Join(root, "link")) }
	record(t, do, func(t *testing.T, root string, whole bool) {
		got, err := os.Readlink(filepath.Join(root, "link"))
		if err != nil {
			t.Error(err)
		}
		oneOf(t, got, "old-target", "new-target", whole)
	})
}

func TestRemoveIsThereOrGone(t *testing.T) {
	do := func(f host.Files, root string) error { return f.Remove(filepath.Join(root, "file")) }
	record(t, do, func(t *testing.T, root string, whole bool) {
		oneOf(t, content(filepath.Join(root, "file")), "the old content", "missing", whole)
	})
}

func TestFolderIsNoneOrWhole(t *testing.T) {
	do := func(f host.Files, root string) error {
		return f.Folder(filepath.Join(root, "dir"), func(add func(string, io.Reader) error) error {
			if err := add("one", strings.NewReader("1")); err != nil {
				return err
			}
			return add("below/two", strings.NewReader("22"))
		})
	}
	record(t, do, func(t *testing.T, root string, whole bool) {
		if _, err := os.Stat(filepath.Join(root, "dir")); err != nil && !whole {
			return
		}
		oneOf(t, content(filepath.Join(root, "dir/one")), "1", "1", true)
		oneOf(t, content(filepath.Join(root, "dir/below/two")), "22", "22", true)
	})
}

// TestSyncAllHoldsEverything: what was written without any fsync is durable after
// one of the file system.
func TestSyncAllHoldsEverything(t *testing.T) {
	do := func(f host.Files, root string) error {
		to := filepath.Join(root, "new")
		return chain(f.Remove(to), f.Disk.Create(to, strings.NewReader("the new content"), attr), f.SyncAll(root), f.Write(filepath.Join(root, "mark"), nil, attr))
	}
	record(t, do, func(t *testing.T, root string, _ bool) {
		if content(filepath.Join(root, "mark")) == "" && content(filepath.Join(root, "new")) != "the new content" {
			t.Errorf("the mark is there, and the content %q", content(filepath.Join(root, "new")))
		}
	})
}

// TestTheTwinFindsTheUsualMistakes: a disk that finds nothing proves nothing.
func TestTheTwinFindsTheUsualMistakes(t *testing.T) {
	mistakes := map[string]func(d host.Disk, root string) error{
		"rename without fsync of the file": func(d host.Disk, root string) error {
			return chain(
				d.Create(filepath.Join(root, "t"), strings.NewReader("the new content"), attr),
				d.Rename(filepath.Join(root, "t"), filepath.Join(root, "file")), d.SyncDir(root))
		},
		"no fsync of the folder": func(d host.Disk, root string) error {
			return chain(
				d.Create(filepath.Join(root, "t"), strings.NewReader("the new content"), attr),
				d.SyncFile(filepath.Join(root, "t")),
				d.Rename(filepath.Join(root, "t"), filepath.Join(root, "file")))
		},
		"writing in place": func(d host.Disk, root string) error {
			return chain(
				d.Remove(filepath.Join(root, "file")),
				d.Create(filepath.Join(root, "file"), strings.NewReader("the new content"), attr),
				d.SyncFile(filepath.Join(root, "file")), d.SyncDir(root))
		},
	}
	for name, do := range mistakes {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			prepare(t, root)
			rec, err := hosttest.NewRecorder(root)
			if err != nil {
				t.Fatal(err)
			}
			if err := do(rec, root); err != nil {
				t.Fatal(err)
			}
			if !broken(t, rec) {
				t.Error("the twin found no state that is neither old nor new")
			}
		})
	}
}

func chain(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func broken(t *testing.T, rec *hosttest.Recorder) bool {
	t.Helper()
	for c := range rec.Crashes() {
		after := t.TempDir()
		if err := c.Lay(rec.Root, after); err != nil {
			t.Fatal(err)
		}
		got := content(filepath.Join(after, "file"))
		if got != "the new content" && (c.Whole || got != "the old content") {
			return true
		}
	}
	return false
}

func TestOutsideIsRefused(t *testing.T) {
	rec, err := hosttest.NewRecorder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "x")
	if err := rec.Create(outside, strings.NewReader(""), attr); err == nil {
		t.Error("a file outside of the folder was made")
	}
}
