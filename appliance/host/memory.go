// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// ForgetStartup gives back the memory that only the start needed: freed heap,
// and the pages of the program's own file that were read once. A big static
// binary touches tens of megabytes while its packages set themselves up; what
// is needed again comes back from the page cache by itself.
func ForgetStartup() error {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("look at the memory: %w", err)
	}
	defer maps.Close()
	var failed error
	for s := bufio.NewScanner(maps); s.Scan(); {
		if start, size, ok := readOnlyPart(s.Text(), self); ok {
			failed = errors.Join(failed, forget(start, size))
		}
	}
	return failed
}

// readOnlyPart reads a line of /proc/self/maps. Only parts of the file that can
// not have been written to may be forgotten.
func readOnlyPart(line, file string) (start, size uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[5] != file || fields[1] != "r-xp" && fields[1] != "r--p" {
		return 0, 0, false
	}
	var end uintptr
	if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err != nil || end <= start {
		return 0, 0, false
	}
	return start, end - start, true
}

func forget(start, size uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, size, unix.MADV_DONTNEED); errno != 0 {
		return fmt.Errorf("give back memory: %w", errno)
	}
	return nil
}
