// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// frugal trades a little processor time for memory: a unit of ours idles for
// days beside the stacks, on machines with half a gigabyte.
func frugal() {
	debug.SetGCPercent(40)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(96 << 20)
	}
}

// When a unit has started, and how often it is tidied after that.
const (
	settleAfter = 20 * time.Second
	tidyEvery   = 15 * time.Minute
)

// unload gives back the pages of our own program that only starting (or some
// rare request) needed: the one binary holds every part of Rochdale, and most of
// it is never looked at again. What is needed after all is read from the file.
func unload(ctx context.Context) {
	for wait := settleAfter; ; wait = tidyEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		debug.FreeOSMemory()
		for _, r := range programRanges("/proc/self/maps") {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED) // a hint; nothing depends on it
		}
	}
}

// span is a range of addresses.
type span struct{ from, to uintptr }

// programRanges are the ranges that hold our program's code and constants:
// mapped from the file, never written to, so that dropping them loses nothing.
func programRanges(maps string) (ranges []span) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	f, err := os.Open(maps)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 00400000-01a2f000 r-xp 00000000 fe:01 1234    /usr/local/lib/...
		fields := strings.Fields(lines.Text())
		if len(fields) != 6 || fields[5] != program || fields[1] != "r-xp" && fields[1] != "r--p" {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		a, errA := strconv.ParseUint(from, 16, strconv.IntSize)
		b, errB := strconv.ParseUint(to, 16, strconv.IntSize)
		if errA == nil && errB == nil && a < b {
			ranges = append(ranges, span{uintptr(a), uintptr(b)})
		}
	}
	return ranges
}
