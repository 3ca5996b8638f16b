// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate_test

import "golang.org/x/sys/unix"

// capabilities are the effective ones of this process, without /proc.
func capabilities() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 1
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

func noNewPrivileges() int {
	n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return -1
	}
	return n
}
