// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFreeAsksTheFolderAbove(t *testing.T) {
	dir := t.TempDir()
	here, err := Space{}.Free(dir)
	if err != nil || here <= 0 {
		t.Fatal(here, err)
	}
	if _, err := (Space{}).Free(filepath.Join(dir, "not", "there")); err != nil {
		t.Error(err)
	}
	if n, err := (Space{}).Memory(); err != nil || n <= 0 {
		t.Error(n, err)
	}
}

func TestSameDisk(t *testing.T) {
	dir := t.TempDir()
	if same, err := (Space{}).SameDisk(dir, filepath.Join(dir, "not", "there")); err != nil || !same {
		t.Error(same, err)
	}
	if same, err := (Space{}).SameDisk(dir, "/proc"); err != nil || same {
		t.Error(same, err)
	}
}

func TestAvailable(t *testing.T) {
	n, err := available(strings.NewReader("MemTotal: 2048 kB\nMemAvailable:    1024 kB\n"))
	if n != 1<<20 || err != nil {
		t.Error(n, err)
	}
	for _, bad := range []string{"", "MemTotal: 1 kB\n", "MemAvailable: many kB\n"} {
		if _, err := available(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
