// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"syscall"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// Removal is what a person asks of an uninstall.
type Removal struct {
	// Purge removes the data of every stack too, for good.
	Purge bool
	// KeepPackages leaves the packages that the installation brought.
	KeepPackages bool
}

// Sweeper takes our containers, networks and images away and tells whether the
// engine still has containers of somebody else. cmd fills it with the engine.
// An engine that is not there has nothing to take away.
type Sweeper interface {
	Sweep(ctx context.Context, report func(string)) error
	Foreign(ctx context.Context) (bool, error)
}

// Remain is one thing that an uninstall leaves.
type Remain struct {
	Kind string `json:"kind"` // "data", "configuration", "user", "packages", "engine", "settings"
	What string `json:"what"`
}

// Remains is filled in by the last step of an uninstall.
type Remains struct {
	List []Remain `json:"remains"`
}

// uninstall is one removal.
type uninstall struct {
	Deps
	r      Removal
	sweep  Sweeper
	record Record
	left   *Remains
}

// Present tells whether anything of ours is on the machine.
func Present(d Deps) bool {
	if !empty(d.Paths.Var()) {
		return true
	}
	for _, path := range []string{d.Paths.ConfigDir(), d.Paths.Programs(), d.unitPath(daemonUnit), removalPath(d)} {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	return false
}

// Uninstall makes the plan that undoes an installation, as far as its record
// says what was there before it. Without a record, of a very early kill, only
// what bears our name goes.
func Uninstall(r Removal, d Deps, s Sweeper) (step.Plan, *Remains, error) {
	record, err := ReadRecord(d.Paths)
	if err != nil {
		return step.Plan{}, nil, appliance.Problem("install.record-unreadable", err, "detail", err)
	}
	if record == nil {
		record = &Record{}
	}
	u := &uninstall{Deps: d, r: r, sweep: s, record: *record, left: &Remains{List: []Remain{}}}
	plan := step.Plan{Name: "uninstall"}
	for _, one := range []func() (step.Step, bool){
		u.daemon, u.containers, u.edge, u.firewall, u.updates, u.swap, u.mark,
		u.packages, u.engine, u.mask, u.data, u.users, u.program, u.remains, u.forget,
	} {
		if s, needed := one(); needed {
			plan.Steps = append(plan.Steps, s)
		}
	}
	return plan, u.left, nil
}

// takeDown stops units, forgets them and removes their files. It is the same
// whether they run, are broken or are gone already.
func (d Deps) takeDown(ctx context.Context, units []string, files ...string) error {
	for _, name := range units {
		v, err := d.systemd().Show(ctx, name, "LoadState")
		if err != nil {
			return err
		}
		if v["LoadState"] == "not-found" {
			continue
		}
		if err := errors.Join(d.systemd().Stop(ctx, name), d.systemd().Disable(ctx, name)); err != nil {
			return err
		}
	}
	for _, path := range files {
		if err := d.Files.Remove(path); err != nil {
			return err
		}
	}
	if err := d.systemd().DaemonReload(ctx); err != nil {
		return err
	}
	for _, name := range units {
		// A unit that never failed can not be reset; there is nothing to mend then.
		_ = d.systemd().ResetFailed(ctx, name)
	}
	return nil
}

// gone tells whether none of the files is there.
func gone(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool {
		_, err := os.Lstat(p)
		return !errors.Is(err, fs.ErrNotExist)
	})
}

// unitStep removes units of ours.
func (u *uninstall) unitStep(id string, units []string, files ...string) (step.Step, bool) {
	for _, name := range units {
		files = append(files, u.unitPath(name))
	}
	return step.Step{
		ID:      id,
		Effects: effect("removes", files...),
		Done:    func(context.Context) (bool, error) { return gone(files...), nil },
		Do:      func(ctx context.Context, _ step.Report) error { return u.takeDown(ctx, units, files...) },
	}, true
}

// daemon goes with the guard of our own updates, which would bring it back.
func (u *uninstall) daemon() (step.Step, bool) {
	return u.unitStep("daemon", []string{GuardUnit, daemonUnit})
}

// containers come after the daemon, which would start them again.
func (u *uninstall) containers() (step.Step, bool) {
	return step.Step{
		ID:      "containers",
		Effects: effect("removes", "rochdale-*"),
		Do:      func(ctx context.Context, report step.Report) error { return u.sweep.Sweep(ctx, report) },
	}, true
}

func (u *uninstall) edge() (step.Step, bool) {
	return u.unitStep("edge", append(edgeSockets(), edgeUnit))
}

func (u *uninstall) firewall() (step.Step, bool) {
	s, _ := u.unitStep("firewall", []string{firewallUnit}, u.firewallPath())
	remove := s.Do
	s.Do = func(ctx context.Context, report step.Report) error {
		if err := remove(ctx, report); err != nil {
			return err
		}
		if gone("/usr/sbin/nft") {
			return nil // without the program there is no table of ours
		}
		return u.nft().DeleteTable(ctx, "inet", "rochdale")
	}
	return s, true
}

func (u *uninstall) updates() (step.Step, bool) {
	return u.unitStep("updates", nil, u.at("etc/apt/apt.conf.d/60rochdale"))
}

func (u *uninstall) swap() (step.Step, bool) {
	s, _ := u.unitStep("swap", []string{swapUnit}, u.swapPath())
	return s, u.record.Swap
}

// mark keeps that the installation is gone, from here on: what follows may take
// away the record itself.
func (u *uninstall) mark() (step.Step, bool) {
	_, err := os.Stat(RecordPath(u.Paths))
	return step.Step{
		ID: "record",
		Do: func(context.Context, step.Report) error {
			return amend(u.Paths, u.Files, func(r *Record) {
				r.Removed, r.Applied = now(), map[string]string{}
			})
		},
	}, err == nil && !u.r.Purge
}

// mask switches off again what was switched off for good before we came.
func (u *uninstall) mask() (step.Step, bool) {
	return step.Step{
		ID: "mask",
		Do: func(ctx context.Context, _ step.Report) error { return u.systemd().Mask(ctx, u.record.Masked...) },
	}, len(u.record.Masked) > 0
}

// data leaves the record where it is: a removal that is killed half-way has to
// know, when it goes on, what was there before us and by what name to ask.
func (u *uninstall) data() (step.Step, bool) {
	return step.Step{
		ID:      "data",
		Effects: effect("removes", u.Paths.Var(), u.Paths.ConfigDir()),
		Do: func(context.Context, step.Report) error {
			entries, err := os.ReadDir(u.Paths.Var())
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			for _, e := range entries {
				path := filepath.Join(u.Paths.Var(), e.Name())
				if path == RecordPath(u.Paths) {
					continue
				}
				if err := u.removeAll(path, e.IsDir()); err != nil {
					return err
				}
			}
			return u.Files.RemoveFolder(u.Paths.ConfigDir())
		},
	}, u.r.Purge
}

func (u *uninstall) removeAll(path string, folder bool) error {
	if folder {
		return u.Files.RemoveFolder(path)
	}
	return u.Files.Remove(path)
}

// forget is the last step of a removal for good: after it nothing is known here.
func (u *uninstall) forget() (step.Step, bool) {
	return step.Step{
		ID:      "forget",
		Effects: effect("removes", u.Paths.Var()),
		Done:    func(context.Context) (bool, error) { return empty(u.Paths.Var()), nil },
		Do: func(context.Context, step.Report) error {
			err := u.Files.RemoveFolder(u.Paths.Var())
			if errors.Is(err, syscall.EBUSY) { // a file system of its own is mounted there
				return u.Files.Remove(RecordPath(u.Paths))
			}
			return err
		},
	}, u.r.Purge
}

// users go with the data; kept data must not fall to whoever gets their number next.
func (u *uninstall) users() (step.Step, bool) {
	file := u.at("etc/sysusers.d/rochdale.conf")
	return step.Step{
		ID:      "users",
		Effects: effect("removes", edgeUser, webUser, file),
		Do: func(ctx context.Context, _ step.Report) error {
			for _, name := range []string{edgeUser, webUser} {
				if _, err := user.Lookup(name); err != nil {
					continue
				}
				if err := u.removeUser(ctx, name); err != nil {
					return err
				}
			}
			return u.Files.Remove(file)
		},
	}, u.r.Purge
}

func (u *uninstall) program() (step.Step, bool) {
	link := u.at("usr/local/bin/rochdale")
	return step.Step{
		ID:      "program",
		Effects: effect("removes", u.Paths.Programs(), link),
		Done:    func(context.Context) (bool, error) { return gone(u.Paths.Programs(), link), nil },
		Do: func(ctx context.Context, _ step.Report) error {
			self := Self{Deps: u.Deps}
			if err := errors.Join(self.stopPlan(ctx), self.forget(ctx)); err != nil {
				return err
			}
			return errors.Join(u.Files.Remove(link), u.Files.RemoveFolder(u.Paths.Programs()))
		},
	}, true
}

// Root tells whether this process may change the machine.
func Root() bool { return os.Geteuid() == 0 }

// HasData tells whether there is anything that a person could want to keep.
func HasData(d Deps) bool { return !empty(d.Paths.Var()) || !gone(d.Paths.ConfigDir()) }

// empty tells whether the folder is not there, or nothing of ours is in it.
func empty(folder string) bool {
	entries, err := os.ReadDir(folder)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "lost+found" })
}

// BoxName is what a person types to remove the data for good: the domain of the
// installation, or "rochdale" where its record is gone.
func BoxName(d Deps) string {
	r, err := ReadRecord(d.Paths)
	if err != nil || r == nil || r.Domain == "" {
		return "rochdale"
	}
	return r.Domain
}
