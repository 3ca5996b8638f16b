// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// The addresses that leases come from; below are fixed ones, above is left free.
const firstHost, lastHost = 10, 250

// process names one process for good: ids are reused, an id with its start time is not.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the build machine booted
}

// lease is the record of one address on the bridge, kept as a file while its owner lives.
type lease struct {
	Name    string     `json:"name"` // unique on the build machine: rt and the last number of the address
	IP      netip.Addr `json:"ip"`
	Owner   process    `json:"owner"`
	Dir     string     `json:"dir,omitempty"`   // the machine's folder, removed with the lease
	Alias   bool       `json:"alias,omitempty"` // the address is one more of the build machine itself
	Started []process  `json:"started,omitempty"`
}

func (l lease) path() string { return filepath.Join(runDir(), l.Name+".lease") }

func leaseLock() string { return filepath.Join(runDir(), "lease.lock") }

// takeLease reserves an address (the wanted one, or the first free one) and records it under this process.
func takeLease(ctx context.Context, want netip.Addr, fill func(*lease)) (lease, error) {
	var l lease
	err := withLock(ctx, leaseLock(), func() error {
		leases, err := readLeases()
		if err != nil {
			return err
		}
		ip, err := pickIP(leases, want)
		if err != nil {
			return err
		}
		owner, err := identify(os.Getpid())
		if err != nil {
			return err
		}
		l = lease{Name: leaseName(ip), IP: ip, Owner: owner}
		fill(&l)
		return writeJSON(l.path(), l)
	})
	return l, err
}

// leaseName is short, since the kernel's interface names have 15 characters.
func leaseName(ip netip.Addr) string { return fmt.Sprintf("rt%d", ip.As4()[3]) }

// pickIP chooses the wanted address, or the lowest free one.
func pickIP(leases []lease, want netip.Addr) (netip.Addr, error) {
	taken := map[netip.Addr]bool{HostIP(): true}
	for _, l := range leases {
		taken[l.IP] = true
	}
	if want.IsValid() {
		if !netip.MustParsePrefix(networkCIDR).Contains(want) {
			return want, fmt.Errorf("address %s is not in %s", want, networkCIDR)
		}
		if taken[want] {
			return want, fmt.Errorf("address %s is in use by another machine", want)
		}
		return want, nil
	}
	base := HostIP().As4()
	for n := byte(firstHost); n <= lastHost; n++ {
		base[3] = n
		if ip := netip.AddrFrom4(base); !taken[ip] {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all addresses of %s are in use", networkCIDR)
}

// readLeases returns every lease on the build machine, of living and of dead processes.
func readLeases() ([]lease, error) {
	paths, err := filepath.Glob(filepath.Join(runDir(), "*.lease"))
	if err != nil {
		return nil, err
	}
	var leases []lease
	for _, path := range paths {
		var l lease
		err := readJSON(path, &l)
		if errors.Is(err, os.ErrNotExist) {
			continue // released in this moment
		}
		if err != nil {
			return nil, err
		}
		leases = append(leases, l)
	}
	return leases, nil
}

// identify reads a process's start time.
func identify(pid int) (process, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	state, start, err := parseStat(string(data))
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	if state == "Z" {
		return process{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return process{PID: pid, Start: start}, nil
}

// parseStat returns state and start time of a /proc/PID/stat line; the name in it may hold spaces and brackets.
func parseStat(line string) (state string, start uint64, err error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("unreadable stat line %q", line)
	}
	_, err = fmt.Sscan(fields[19], &start)
	return fields[0], start, err
}

// alive tells whether exactly this process still runs.
func (p process) alive() bool {
	now, err := identify(p.PID)
	return err == nil && now == p
}

// Address is an address on the bridge that belongs to the build machine, for a server that a test runs beside its machines.
type Address struct {
	IP    netip.Addr
	lease lease
}

// TakeAddress adds one more address to the build machine's end of the bridge, so that servers of parallel tests can each
// use well-known ports. Release gives it back.
func TakeAddress(ctx context.Context) (*Address, error) {
	l, err := takeLease(ctx, netip.Addr{}, func(l *lease) { l.Alias = true })
	if err != nil {
		return nil, err
	}
	if _, err := run(ctx, "ip", "addr", "replace", l.IP.String()+"/32", "dev", bridge); err != nil {
		return nil, errors.Join(err, os.Remove(l.path()))
	}
	return &Address{IP: l.IP, lease: l}, nil
}

// Release removes the address.
func (a *Address) Release(ctx context.Context) error { return a.lease.remove(ctx) }
