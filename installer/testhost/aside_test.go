// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPutAside: a machine's folder is gone at once, and its files can be removed later.
func TestPutAside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	if rest, err := putAside(dir); rest != "" || err != nil {
		t.Errorf("without a folder: %q, %v", rest, err)
	}
	for _, name := range []string{"root/etc", "../machine.gone/old"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := putAside(dir)
	if err != nil || rest == dir || exists(dir) || !exists(filepath.Join(rest, "root/etc")) || exists(filepath.Join(rest, "old")) {
		t.Errorf("%q, %v", rest, err)
	}
}
