// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Linux is the machine that this process runs on.
type Linux struct{}

var _ Machine = Linux{}

// Disk implements [Machine].
func (Linux) Disk(path string) (Disk, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Disk{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return Disk{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	block := int64(s.Bsize) //nolint:unconvert // it has 32 bits on armv7
	return Disk{
		ID: strconv.FormatUint(info.Dev, 10), Free: int64(s.Bavail) * block, Total: int64(s.Blocks) * block,
		Inodes: s.Ffree, AllInodes: s.Files,
	}, nil
}

// Memory implements [Machine].
func (Linux) Memory() (Memory, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return Memory{}, err
	}
	defer f.Close()
	values := map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err == nil {
			values[name] = n << 10
		}
	}
	m := Memory{Total: values["MemTotal"], Available: values["MemAvailable"], SwapTotal: values["SwapTotal"], SwapFree: values["SwapFree"]}
	return m, lines.Err()
}

// ClockSynced implements [Machine]: the kernel knows whether a time server
// steers its clock.
func (Linux) ClockSynced() (synced, known bool, err error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("ask the kernel about its clock: %w", err)
	}
	return state != unix.TIME_ERROR, true, nil
}

// Kernel implements [Machine].
func (Linux) Kernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), nil
}

// Uptime implements [Machine]; it is the clock that systemd calls monotonic.
func (Linux) Uptime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// Net is the machine's own view of the network.
type Net struct{}

var _ Network = Net{}

// Lookup implements [Network].
func (Net) Lookup(ctx context.Context, name string) ([]string, error) {
	found, err := net.DefaultResolver.LookupHost(ctx, name)
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil, nil
	}
	return found, err
}

// Own implements [Network].
func (Net) Own() ([]string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this machine: %w", err)
	}
	var own []string
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() {
			own = append(own, ip.IP.String())
		}
	}
	return own, nil
}

// Answers implements [Network].
func (Net) Answers(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
