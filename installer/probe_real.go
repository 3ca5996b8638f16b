// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"rochdale/appliance/host"
)

// RealProbe looks at this machine.
func RealProbe() Probe {
	return Probe{
		Root: "/", Runner: host.Exec{}, Net: Internet{}, UID: os.Geteuid(), Env: os.Getenv,
		Space: fileSystem, Arch: runtime.GOARCH, Now: time.Now(),
	}
}

// fileSystem tells what root may still write, and the kind.
func fileSystem(path string) (free int64, kind string, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, "", fmt.Errorf("ask about the file system of %s: %w", path, err)
	}
	kinds := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.TMPFS_MAGIC: "tmpfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	}
	//nolint:unconvert // both are 32 bits wide on some machines
	return int64(s.Bavail) * int64(s.Bsize), kinds[int64(s.Type)], nil
}
