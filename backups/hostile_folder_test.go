// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSetAsideWhatIsNoFile: a pipe would be waited for, and a link to a device read,
// for ever.
func TestSetAsideWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	locks := filepath.Join(dir, "locks")
	if err := os.Mkdir(locks, 0o700); err != nil {
		t.Fatal(err)
	}
	pipe, link := strings.Repeat("a", 64), strings.Repeat("b", 64)
	if err := syscall.Mkfifo(filepath.Join(locks, pipe), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(locks, link)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Repository{Name: "box", URL: dir}.setAside("locks", 0) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it still waits after 5 s")
	}
	for _, name := range []string{pipe, link} {
		if _, err := os.Lstat(filepath.Join(dir, "damaged", "locks-"+name)); err != nil {
			t.Error(err)
		}
	}
}
