// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	networkdFile = "etc/systemd/network/10-host0.network"
	cgroupUnit   = "etc/systemd/system/cgroup-v1-writable.service"
)

// recipe says how a base root comes to be; its hash is part of the cache's key, so that a change makes a new one.
type recipe struct {
	Suite    string
	Arch     string // Debian's name; empty for the build machine's own
	Packages []string
	Files    map[string]string
	Enable   []string // units
	Mask     []string // units
}

// Suites lists the Debian releases that machines are made of.
func Suites() []string { return []string{"bookworm", "trixie"} }

// baseRecipe is a bare server: what a minimal system has, systemd, and nothing of what the installer has to bring.
func baseRecipe(suite string) recipe {
	return recipe{
		Suite:    suite,
		Packages: []string{"systemd", "systemd-sysv", "dbus", "iproute2", "ca-certificates", "procps", "curl"},
		Files:    map[string]string{cgroupUnit: cgroupUnitText()},
		Enable:   []string{"systemd-networkd.service", filepath.Base(cgroupUnit)},
	}
}

// cgroupUnitText makes the controllers of cgroup v1 writable, which nspawn mounts read-only; without effect on v2.
func cgroupUnitText() string {
	return `[Unit]
Description=Make the cgroup v1 controllers of this test machine writable
DefaultDependencies=no
Before=sysinit.target
ConditionPathIsMountPoint=/sys/fs/cgroup/memory

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for c in cpu cpuacct memory pids devices freezer blkio cpuset; do test ! -d /sys/fs/cgroup/$$c || mount -o remount,rw,bind /sys/fs/cgroup/$$c; done'

[Install]
WantedBy=sysinit.target
`
}

func (r recipe) key() string {
	text := fmt.Appendf(nil, "%q %q %q %q %q", r.Suite, r.Arch, r.Packages, r.Files, r.Enable)
	if len(r.Mask) > 0 {
		text = fmt.Appendf(text, " %q", r.Mask)
	}
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%s-%x", r.Suite+r.Arch, sum[:6])
}

// Base returns the root of a bare Debian of that suite ("bookworm" or "trixie"), made by debootstrap the first time (about a
// minute) and kept in CacheDir. It must not be changed or booted: Boot copies it.
func Base(ctx context.Context, suite string) (string, error) {
	if !slices.Contains(Suites(), suite) {
		return "", fmt.Errorf("there are no machines of suite %q, only of %s", suite, strings.Join(Suites(), ", "))
	}
	r := baseRecipe(suite)
	return cached(ctx, filepath.Join("base", r.key()), func(part string) error { return r.make(ctx, part) })
}

// cached returns CacheDir/name, made by build in a folder beside it and renamed when complete; one process builds, others wait.
func cached(ctx context.Context, name string, build func(part string) error) (string, error) {
	final := filepath.Join(CacheDir(), name)
	if exists(final) {
		return final, nil
	}
	err := withLock(ctx, final+".lock", func() error {
		if exists(final) {
			return nil
		}
		part := final + ".part"
		if err := removeTree(ctx, part); err != nil {
			return err
		}
		if err := build(part); err != nil {
			return err
		}
		return os.Rename(part, final)
	})
	if err != nil {
		return "", fmt.Errorf("make %s: %w", final, err)
	}
	return final, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (r recipe) make(ctx context.Context, dir string) error {
	mirror, err := hostMirrors().archive()
	if err != nil {
		return err
	}
	_, err = run(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(r.Packages, ","), r.Suite, dir, mirror)
	if err != nil {
		return err
	}
	for path, text := range r.Files {
		if err := writeIn(dir, path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := r.units(ctx, dir); err != nil {
		return err
	}
	return clean(dir)
}

// clean removes what a copy must not share or does not need: identity, logs and package files.
func clean(dir string) error {
	for _, pattern := range []string{"var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/log/bootstrap.log"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeIn writes a file below a machine's root. Links that lead out of the root are refused.
func writeIn(dir, path string, data []byte, mode os.FileMode) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := root.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := root.WriteFile(path, data, mode); err != nil {
		return err
	}
	return root.Chmod(path, mode)
}
