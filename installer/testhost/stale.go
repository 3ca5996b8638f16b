// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// RemoveStale ends and removes what test processes that no longer exist left behind: machines, folders, addresses.
// Setup calls it.
func RemoveStale(ctx context.Context, log io.Writer) error {
	return withLock(ctx, leaseLock(), func() error {
		leases, err := readLeases()
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, l := range leases {
			if l.Owner.alive() {
				known[l.Dir] = true
				continue
			}
			fmt.Fprintf(log, "removing machine %s of a test that is gone\n", l.Name)
			if err := l.remove(ctx); err != nil {
				return err
			}
		}
		return removeUnknown(ctx, log, known)
	})
}

// removeUnknown removes machine folders without a lease: those of before the build machine's last boot.
func removeUnknown(ctx context.Context, log io.Writer, known map[string]bool) error {
	dirs, err := filepath.Glob(filepath.Join(machinesDir(), "*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if known[dir] {
			continue
		}
		fmt.Fprintln(log, "removing", dir)
		if err := removeTree(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

func machinesDir() string { return filepath.Join(CacheDir(), "machines") }

// remove ends every process of a lease and takes away its address, its groups, its folder and at last its record.
func (l lease) remove(ctx context.Context) error {
	rest, err := l.end(ctx)
	return errors.Join(err, os.RemoveAll(rest))
}

// end removes everything of a machine but its files. Those are put aside, which takes no
// time, so that they can be removed while others have the lock; what is not removed in
// the end has no lease and is found by the next [removeUnknown].
func (l lease) end(ctx context.Context) (rest string, err error) {
	for _, p := range l.Started {
		if p.alive() {
			_ = syscall.Kill(p.PID, syscall.SIGKILL) // it may have ended just now
		}
	}
	if err := killAll(ctx, l.Name); err != nil {
		return "", err
	}
	if l.Alias {
		// The address is gone already where the bridge is.
		_, _ = run(ctx, "ip", "addr", "del", l.IP.String()+"/32", "dev", bridge)
	}
	if exists("/sys/class/net/" + l.Name) { // a virtual machine's end of the bridge
		if _, err := run(ctx, "ip", "link", "del", l.Name); err != nil {
			return "", err
		}
	}
	errs := []error{removeGroups(ctx, l.Name), os.RemoveAll("/run/systemd/nspawn/propagate/" + l.Name)}
	if l.Dir != "" {
		var aside error
		rest, aside = putAside(l.Dir)
		errs = append(errs, aside)
	}
	if err := errors.Join(errs...); err != nil {
		return rest, fmt.Errorf("remove machine %s: %w", l.Name, err)
	}
	if err := os.Remove(l.path()); !errors.Is(err, fs.ErrNotExist) {
		return rest, err
	}
	return rest, nil
}

// removeTree removes a folder after taking away what is mounted in it: a removal must never reach through a mount.
func removeTree(ctx context.Context, dir string) error {
	if err := unmountBelow(dir); err != nil {
		return err
	}
	// Debian roots hold files that only chattr could protect; none are, so a plain removal is enough.
	return os.RemoveAll(dir)
}

// putAside gives a folder another name, without what is mounted in it; it is empty when
// there is no such folder.
func putAside(dir string) (string, error) {
	if !exists(dir) {
		return "", nil
	}
	if err := unmountBelow(dir); err != nil {
		return "", err
	}
	aside := dir + ".gone"
	if err := errors.Join(os.RemoveAll(aside), os.Rename(dir, aside)); err != nil {
		return "", err
	}
	return aside, nil
}

func unmountBelow(dir string) error {
	mounts, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	for _, point := range mounts {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// mountsBelow lists mount points at or below dir, deepest first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data), dir), nil
}

func parseMounts(info, dir string) []string {
	octal := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`)
	var points []string
	for line := range strings.Lines(info) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := octal.Replace(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	slices.Reverse(points)
	return points
}
