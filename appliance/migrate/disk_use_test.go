// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// asNobody gives up what root may do with files, for the rest of the test.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // it ends with the test
	if err := syscall.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
}

// TestDiskUseOfAFolderThatIsClosed: one may read its names and none of its files.
func TestDiskUseOfAFolderThatIsClosed(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := errors.Join(os.Mkdir(closed, 0o700), os.WriteFile(filepath.Join(closed, "file"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(closed, 0o644)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(closed, 0o700) })
	t.Run("", func(t *testing.T) {
		asNobody(t)
		if n, err := diskUse(t.Context(), dir); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}
