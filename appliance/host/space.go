// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Space tells how much room the machine has.
type Space struct{}

// Free is how many bytes anybody may still write on the file system of the folder
// (what is reserved for root does not help the users of the stacks), or of the nearest folder above it that is there.
func (Space) Free(path string) (int64, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(path, &s)
		if err == nil {
			return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // it is 32 bits wide on armv7
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return 0, fmt.Errorf("look how much room is left at %s: %w", path, err)
		}
		path = parent
	}
}

// SameDisk tells whether two folders, or the nearest ones above them that are there, are
// on the same file system.
func (Space) SameDisk(a, b string) (bool, error) {
	one, err := device(a)
	if err != nil {
		return false, err
	}
	other, err := device(b)
	return one == other, err
}

// device is the number of the file system that a folder is on.
func device(path string) (uint64, error) {
	var s unix.Stat_t
	for {
		err := unix.Stat(path, &s)
		if err == nil {
			return uint64(s.Dev), nil //nolint:unconvert // it is 32 bits wide elsewhere
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) || parent == path {
			return 0, fmt.Errorf("look which disk %s is on: %w", path, err)
		}
		path = parent
	}
}

// Memory is how many bytes programs can still have without swapping.
func (Space) Memory() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("look how much memory is free: %w", err)
	}
	defer f.Close()
	return available(f)
}

func available(meminfo io.Reader) (int64, error) {
	lines := bufio.NewScanner(meminfo)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory that is free: %w", err)
		}
		return n << 10, nil
	}
	return 0, errors.Join(errors.New("the kernel does not tell how much memory is free"), lines.Err())
}
