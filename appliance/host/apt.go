// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Apt installs and removes packages of a Debian-like system.
//
// Whatever changes packages runs in the transient unit [AptUnit], not as a
// child of ours: dpkg in the middle of an unpacking must not die with us. A
// second call waits for a unit that an earlier process left behind.
type Apt struct {
	Runner Runner
	// Log is the file that takes the output of the last change.
	Log string
}

// AptUnit is the unit in which apt and dpkg change packages.
const AptUnit = "rochdale-apt.service"

// lockWait bounds the waiting for another apt or dpkg, in seconds.
const lockWait = 300

// aptBound is how long one change of packages may take on a slow machine.
const aptBound = 45 * time.Minute

// AptError is a change of packages that failed.
type AptError struct {
	Args []string
	Log  string // the last lines of the output
	Err  error
}

// Error implements error.
func (e *AptError) Error() string {
	return fmt.Sprintf("%s: %v: %s", strings.Join(e.Args, " "), e.Err, e.Log)
}

// Unwrap gives the cause.
func (e *AptError) Unwrap() error { return e.Err }

// Update fetches the package lists; apt retries each download by itself.
func (a Apt) Update(ctx context.Context) error {
	// Without the first option apt calls it a success when a mirror can not be
	// reached; the second leaves out translated descriptions, which nobody reads.
	return a.change(ctx, "apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Languages=none", "update")
}

// Install installs packages, without those that are only recommended.
func (a Apt) Install(ctx context.Context, packages ...string) error {
	return a.change(ctx, append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, packages...)...)
}

// Remove removes packages but keeps their configuration.
func (a Apt) Remove(ctx context.Context, packages ...string) error {
	return a.change(ctx, append([]string{"apt-get", "-q", "-y", "remove"}, packages...)...)
}

// Repair finishes what an interrupted dpkg left half done.
func (a Apt) Repair(ctx context.Context) error {
	if err := a.change(ctx, "dpkg", "--force-confdef", "--force-confold", "--configure", "-a"); err != nil {
		return err
	}
	return a.change(ctx, "apt-get", "-q", "-y", "--no-install-recommends", "--fix-broken", "install")
}

// Orphans lists packages that came for the sake of others and that none needs
// or recommends now. That one is only suggested does not keep it.
func (a Apt) Orphans(ctx context.Context) ([]string, error) {
	return a.simulate(ctx, "-o", "APT::AutoRemove::SuggestsImportant=false", "autoremove")
}

// WouldRemove lists all that [Apt.Remove] would remove: the packages, and those
// that can not be without them.
func (a Apt) WouldRemove(ctx context.Context, packages ...string) ([]string, error) {
	return a.simulate(ctx, append([]string{"remove"}, packages...)...)
}

// simulate lists what a run of apt-get would remove. It takes no lock.
func (a Apt) simulate(ctx context.Context, args ...string) ([]string, error) {
	args = append([]string{"-q", "-y", "-o", "Debug::NoLocking=1", "--simulate"}, args...)
	r, err := a.Runner.Run(ctx, Command{Name: "apt-get", Env: aptEnv(), Args: args})
	if err != nil {
		return nil, fmt.Errorf("ask apt what it would remove: %w", err)
	}
	var list []string
	for line := range strings.Lines(string(r.Stdout)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Remv" {
			list = append(list, f[1])
		}
	}
	return list, nil
}

// Manual lists the packages that somebody asked for by name.
func (a Apt) Manual(ctx context.Context) ([]string, error) {
	r, err := a.Runner.Run(ctx, Command{Name: "apt-mark", Args: []string{"showmanual"}})
	return strings.Fields(string(r.Stdout)), err
}

// Hold keeps packages at their version until Unhold.
func (a Apt) Hold(ctx context.Context, packages ...string) error {
	_, err := a.Runner.Run(ctx, Command{Name: "apt-mark", Args: append([]string{"hold"}, packages...)})
	return err
}

// Unhold undoes Hold.
func (a Apt) Unhold(ctx context.Context, packages ...string) error {
	_, err := a.Runner.Run(ctx, Command{Name: "apt-mark", Args: append([]string{"unhold"}, packages...)})
	return err
}

// Held lists the packages that are held.
func (a Apt) Held(ctx context.Context) ([]string, error) {
	r, err := a.Runner.Run(ctx, Command{Name: "apt-mark", Args: []string{"showhold"}})
	return strings.Fields(string(r.Stdout)), err
}

// Package is what dpkg knows of one package.
type Package struct {
	Name    string
	Status  string // dpkg's three letters: "ii " is installed, "iU" and "iF" are half done
	Version string
}

// Installed tells whether the package is wholly installed (a held one is "hi").
func (p Package) Installed() bool { return len(p.Status) > 1 && p.Status[1] == 'i' }

// HalfDone tells whether dpkg was interrupted while it worked on the package.
func (p Package) HalfDone() bool {
	return len(p.Status) > 1 && strings.ContainsRune("HUFWt", rune(p.Status[1])) ||
		len(p.Status) > 2 && p.Status[2] == 'R'
}

// Packages lists every package that dpkg knows, by name.
func (a Apt) Packages(ctx context.Context) (map[string]Package, error) {
	r, err := a.Runner.Run(ctx, Command{Name: "dpkg-query", Args: []string{"-W", "-f", "${Package}\t${db:Status-Abbrev}\t${Version}\n"}})
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	all := map[string]Package{}
	for line := range strings.Lines(string(r.Stdout)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) == 3 {
			all[f[0]] = Package{Name: f[0], Status: f[1], Version: f[2]}
		}
	}
	return all, nil
}

// Download is one file that an installation would fetch.
type Download struct {
	File  string
	Bytes int64
}

// Downloads lists what installing the packages would fetch, by the lists of now.
// It changes nothing and takes no lock.
func (a Apt) Downloads(ctx context.Context, packages ...string) ([]Download, error) {
	args := append([]string{"-qq", "-y", "--no-install-recommends", "-o", "Debug::NoLocking=1", "--print-uris", "install"}, packages...)
	r, err := a.Runner.Run(ctx, Command{Name: "apt-get", Args: args, Env: aptEnv()})
	if err != nil {
		return nil, fmt.Errorf("ask apt what it would fetch: %w", err)
	}
	var list []Download
	for line := range strings.Lines(string(r.Stdout)) {
		// 'http://...deb' name_version_arch.deb 12345 SHA256:...
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		if size, err := strconv.ParseInt(f[2], 10, 64); err == nil {
			list = append(list, Download{File: f[1], Bytes: size})
		}
	}
	return list, nil
}

// Wait waits for a change that an earlier process started.
func (a Apt) Wait(ctx context.Context) error {
	return Systemd{Runner: a.Runner}.WaitFor(ctx, AptUnit)
}

// change waits for an earlier change, then runs one of its own.
func (a Apt) change(ctx context.Context, argv ...string) error {
	if err := a.Wait(ctx); err != nil {
		return err
	}
	t := Transient{
		Unit: AptUnit, Name: argv[0], Args: append(aptOptions(argv[0]), argv[1:]...), Log: a.Log, Env: aptEnv(),
		Properties: []string{"RuntimeMaxSec=" + strconv.Itoa(int(aptBound.Seconds()))},
	}
	if _, err := (Systemd{Runner: a.Runner}).RunTransient(ctx, t); err != nil {
		return a.explain(ctx, argv, err)
	}
	return nil
}

func (a Apt) explain(ctx context.Context, argv []string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &AptError{Args: argv, Log: lastOfFile(a.Log), Err: err}
}

func aptOptions(program string) []string {
	if program != "apt-get" {
		return nil
	}
	return []string{
		"-o", "DPkg::Lock::Timeout=" + strconv.Itoa(lockWait),
		"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
		"-o", "Acquire::Retries=3", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30",
	}
}

// aptEnv keeps apt from asking, and needrestart from restarting services (the
// containers among them) behind our back.
func aptEnv() []string {
	return []string{"DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "LC_ALL=C.UTF-8"}
}

// lastOfFile gives the last lines of a log, for an error that a person reads.
func lastOfFile(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	tail := &tailBuffer{max: 8 << 10}
	if _, err := io.Copy(tail, io.LimitReader(file, 64<<20)); err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return lastLines(tail.Bytes(), 6)
}
