// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"cmp"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain keeps the boxes of the tests in memory where there is room: each writes
// thousands of records, and would wait for the disk at each. Nothing that is tested
// here depends on that: power cuts are played back from what was written, in order.
func TestMain(m *testing.M) {
	if err := os.Setenv("TMPDIR", cmp.Or(os.Getenv("TMPDIR"), inMemory("/dev/shm"))); err != nil {
		panic(err)
	}
	m.Run()
}

// inMemory is the folder if it is in memory and has room for many boxes, or "".
func inMemory(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || fs.Bavail*uint64(fs.Bsize) < 512<<20 {
		return ""
	}
	return dir
}
