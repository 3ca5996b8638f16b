// SPDX-License-Identifier: AGPL-3.0-or-later

package hosttest_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
)

// makeOld makes a durable folder before anything is recorded.
func makeOld(t *testing.T, root string) {
	t.Helper()
	err := host.NewFiles().Folder(filepath.Join(root, "dir"), func(add func(string, io.Reader) error) error {
		if err := add("one", strings.NewReader("old")); err != nil {
			return err
		}
		return add("below/gone", strings.NewReader("old"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// treeOf is the folder's files and what they hold, "none" without the folder.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return "none"
	}
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			b.WriteString(strings.TrimPrefix(path, dir) + "=" + content(path) + " ")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFolderIsReplacedWhole wants the old folder, the new one or none after
// every power cut, and the new one when it is done again.
func TestFolderIsReplacedWhole(t *testing.T) {
	replace := func(f host.Files, root string) error {
		return f.Folder(filepath.Join(root, "dir"), func(add func(string, io.Reader) error) error {
			return add("one", strings.NewReader("new"))
		})
	}
	remove := func(f host.Files, root string) error { return f.RemoveFolder(filepath.Join(root, "dir")) }
	const before = "/below/gone=old /one=old "
	for name, c := range map[string]struct {
		do    func(host.Files, string) error
		after string
	}{"replace": {replace, "/one=new "}, "remove": {remove, "none"}} {
		t.Run(name, func(t *testing.T) { atEveryCrash(t, c.do, before, c.after) })
	}
}

func atEveryCrash(t *testing.T, do func(host.Files, string) error, before, after string) {
	t.Helper()
	root := t.TempDir()
	makeOld(t, root)
	states := map[string]int{}
	hosttest.EveryCrash(t, root, func(files host.Files) error { return do(files, root) }, func(_ hosttest.Crash, cut string) {
		got := treeOf(t, filepath.Join(cut, "dir"))
		states[got]++
		if got != before && got != after && got != "none" {
			t.Errorf("a power cut left %q", got)
		}
		if err := do(host.NewFiles(), cut); err != nil {
			t.Fatal(err)
		}
		if got := treeOf(t, filepath.Join(cut, "dir")); got != after {
			t.Errorf("doing it again gave %q", got)
		}
	})
	if states[before] == 0 || states[after] == 0 {
		t.Errorf("the states after a power cut were %v", states)
	}
}
