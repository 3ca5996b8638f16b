// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"os"
	"path/filepath"
	"slices"
)

// unitLink is a link through which a unit starts its program.
type unitLink struct{ name, unit string }

// unitLinks are in the order in which an update turns them.
func unitLinks() []unitLink {
	return []unitLink{{"daemon", daemonUnit}, {"edge", edgeUnit}}
}

// guardLink leads to the program before the one on trial. The units count their
// starts with it, and the guard runs it; while it is not there, nothing does.
const guardLink = "guard"

// incoming is the folder of a program that is looked at and has no name yet.
const incoming = "incoming"

func (d Deps) link(name string) string { return filepath.Join(d.Paths.Programs(), name) }

// target is what a link to a program says.
func target(program string) string { return filepath.Join("versions", program, "rochdale") }

func (d Deps) versions(elem ...string) string {
	return filepath.Join(append([]string{d.Paths.Programs(), "versions"}, elem...)...)
}

// binary is the file of a program.
func (d Deps) binary(program string) string { return d.versions(program, "rochdale") }

// programAt tells which program a link leads to; empty for none.
func (d Deps) programAt(name string) string {
	to, err := os.Readlink(d.link(name))
	if err != nil {
		return ""
	}
	program := filepath.Base(filepath.Dir(to))
	if to != target(program) {
		return ""
	}
	return program
}

// Current is the program that the daemon is started with.
func (s Self) Current() Build { return buildOf(s.programAt("daemon")) }

// shortDigest is how much of a digest is in the name of a program.
const shortDigest = 8

// buildOf reads the version out of the name of a program.
func buildOf(program string) Build {
	return Build{Program: program, Version: program[:max(0, len(program)-shortDigest-1)]}
}

// point makes links lead to a program. Those that do already stay.
func (d Deps) point(program string, names ...string) error {
	for _, name := range names {
		if d.programAt(name) == program {
			continue
		}
		if err := d.Files.Symlink(target(program), d.link(name)); err != nil {
			return err
		}
	}
	return nil
}

// pointUnits makes every unit start with the program from now on.
func (d Deps) pointUnits(program string) error {
	for _, l := range unitLinks() {
		if err := d.point(program, l.name); err != nil {
			return err
		}
	}
	return nil
}

// runs tells whether the unit is up with this very file: a version is a label,
// and two builds may bear the same one.
func (d Deps) runs(ctx context.Context, unit, program string) (bool, error) {
	v, err := d.systemd().Show(ctx, unit, "ActiveState", "MainPID")
	if err != nil || v["ActiveState"] != "active" {
		return false, err
	}
	return sameFile(d.at("proc", v["MainPID"], "exe"), d.binary(program)), nil
}

// keptBefore is how many programs stay beside the one that runs.
const keptBefore = 2

// prune removes programs that nobody can want back: all but the one that runs
// and the last ones before it.
func (s Self) prune(l *Ledger) error {
	keep := []string{incoming}
	for _, link := range unitLinks() {
		keep = append(keep, s.programAt(link.name))
	}
	keep = append(keep, s.before(l, keptBefore)...)
	entries, err := os.ReadDir(s.versions())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if slices.Contains(keep, e.Name()) {
			continue
		}
		if err := s.Files.RemoveFolder(s.versions(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// before are the programs that ran before the one of now, the last one first.
func (s Self) before(l *Ledger, n int) []string {
	var list []string
	now := s.programAt("daemon")
	for _, c := range slices.Backward(l.Past) {
		program := c.From.Program
		_, bad := l.Bad[program]
		if c.Outcome != Proven || bad || program == now || slices.Contains(list, program) || len(list) == n {
			continue
		}
		list = append(list, program)
	}
	return list
}
