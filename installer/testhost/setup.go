// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Package is a Debian package that the harness needs on the build machine, and the program by which its presence is known.
type Package struct {
	Name    string
	Program string
}

// Needs lists what machines under nspawn need on the build machine.
func Needs() []Package {
	return []Package{
		{"systemd-container", "systemd-nspawn"},
		{"debootstrap", "debootstrap"},
		{"debian-archive-keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"},
		{"iptables", "iptables"},
		{"iproute2", "ip"},
		{"util-linux", "nsenter"},
	}
}

// Missing returns those of Needs that are not installed.
func Missing() []Package { return missing(Needs()) }

func missing(all []Package) []Package {
	var out []Package
	for _, p := range all {
		if !present(p.Program) {
			out = append(out, p)
		}
	}
	return out
}

func present(program string) bool {
	if filepath.IsAbs(program) {
		_, err := os.Stat(program)
		return err == nil
	}
	_, err := exec.LookPath(program)
	return err == nil
}

// Setup makes the build machine ready: it installs what is Missing with apt, removes machines whose test process is gone,
// and makes the bridge. It may run any number of times and in several processes at once. What it does is written to log,
// which may be nil. It needs root.
func Setup(ctx context.Context, log io.Writer) error {
	if log == nil {
		log = io.Discard
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("test machines need root: run this with sudo")
	}
	return withLock(ctx, filepath.Join(runDir(), "setup.lock"), func() error {
		if err := install(ctx, log, Missing()); err != nil {
			return err
		}
		if err := RemoveStale(ctx, log); err != nil {
			return err
		}
		return makeNetwork(ctx, log, madePath())
	})
}

// install brings packages with apt; nothing is asked and nothing that is not needed comes along.
func install(ctx context.Context, log io.Writer, list []Package) error {
	if len(list) == 0 {
		return nil
	}
	args := []string{"install", "-y", "-qq", "--no-install-recommends"}
	for _, p := range list {
		args = append(args, p.Name)
	}
	fmt.Fprintln(log, "apt-get", args)
	if _, err := runTo(ctx, log, "apt-get", "update", "-qq"); err != nil {
		return fmt.Errorf("refresh the package lists: %w", err)
	}
	if _, err := runTo(ctx, log, "apt-get", args...); err != nil {
		return fmt.Errorf("install what test machines need: %w", err)
	}
	return nil
}

// Teardown removes the bridge and the rules that Setup made, unless a machine of any process still uses them. Packages
// and the cache stay.
func Teardown(ctx context.Context) error {
	return withLock(ctx, filepath.Join(runDir(), "setup.lock"), func() error {
		if err := RemoveStale(ctx, io.Discard); err != nil {
			return err
		}
		leases, err := readLeases()
		if err != nil || len(leases) > 0 {
			return err
		}
		return removeNetwork(ctx, madePath())
	})
}
