// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"rochdale/appliance/host"
	"rochdale/appliance/step"
)

func (i *install) users() (step.Step, bool) {
	data, err := unit("sysusers.conf")
	file := public(i.at("etc/sysusers.d/rochdale.conf"), data)
	return step.Step{
		ID:      "users",
		Effects: append(effects(file), effect("creates", edgeUser, webUser)...),
		Done: func(context.Context) (bool, error) {
			_, edgeErr := ownerOf(edgeUser)
			_, webErr := ownerOf(webUser)
			return there(file) && edgeErr == nil && webErr == nil, err
		},
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.put(file); err != nil {
				return err
			}
			return i.systemd().Sysusers(ctx, file.path)
		},
	}, true
}

// ownerOf gives the ids of a system user.
func ownerOf(name string) (host.Attr, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return host.Attr{}, fmt.Errorf("find the user %s: %w", name, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	return host.Attr{UID: uid, GID: gid}, errors.Join(uidErr, gidErr)
}

type folder struct {
	path string
	attr host.Attr
}

// folderList is asked for when the users are there.
func (i *install) folderList() ([]folder, error) {
	edge, err := ownerOf(edgeUser)
	if err != nil {
		return nil, err
	}
	edge.Mode = privateDir
	return []folder{
		{i.Paths.Var(), host.Attr{Mode: throughDir}},
		{filepath.Join(i.Paths.Var(), "stacks"), host.Attr{Mode: throughDir}},
		{i.Paths.Edge(), edge},
		{i.Paths.ConfigDir(), host.Attr{Mode: publicDir}},
		{filepath.Join(i.Paths.ConfigDir(), "secrets"), host.Attr{Mode: privateDir}},
		{filepath.Join(i.Paths.ConfigDir(), "backups"), host.Attr{Mode: privateDir}}, // people put credentials there before the first backup
		{filepath.Join(i.Paths.ConfigDir(), "firewall.d"), host.Attr{Mode: publicDir}},
	}, nil
}

func (i *install) folders() (step.Step, bool) {
	return step.Step{
		ID: "folders",
		Effects: effect("creates", filepath.Join(i.Paths.Var(), "stacks"), i.Paths.Edge(),
			filepath.Join(i.Paths.ConfigDir(), "secrets"), filepath.Join(i.Paths.ConfigDir(), "backups"), filepath.Join(i.Paths.ConfigDir(), "firewall.d")),
		Done: func(context.Context) (bool, error) {
			list, err := i.folderList()
			if err != nil {
				return false, err
			}
			for _, f := range list {
				if !f.right() {
					return false, nil
				}
			}
			return true, nil
		},
		Do: func(context.Context, step.Report) error {
			list, err := i.folderList()
			if err != nil {
				return err
			}
			for _, f := range list {
				if err := i.makeFolder(f); err != nil {
					return err
				}
			}
			return nil
		},
	}, true
}

func (f folder) right() bool {
	info, err := os.Lstat(f.path)
	if err != nil || info.Mode() != fs.ModeDir|f.attr.Mode {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == f.attr.UID && int(stat.Gid) == f.attr.GID
}

// makeFolder makes the folder, and mends one that was there with other rights.
func (i *install) makeFolder(f folder) error {
	if err := i.Files.MkdirAll(f.path, f.attr); err != nil {
		return err
	}
	if f.right() {
		return nil
	}
	return errors.Join(os.Lchown(f.path, f.attr.UID, f.attr.GID), os.Chmod(f.path, f.attr.Mode))
}

// swap is wanted where memory is under 2 GB and nothing else gives any. A file
// on btrfs or ZFS can not be swapped to without care, and a container has its
// host's.
func (i *install) swap() (step.Step, bool) {
	r := i.f.Installed.Record
	ours := r != nil && r.Swap && r.Removed.IsZero()
	roomy := i.f.VarFree > minDisk+swapBytes(i.f) && contains([]string{"ext4", "xfs"}, i.f.VarKind)
	wanted := ours || i.f.Memory < 2*gib-128*mib && i.f.Swap < 256*mib && !i.f.Container && roomy
	data, err := unit("swap.swap")
	file := public(i.unitPath(swapUnit), data)
	size := swapBytes(i.f)
	return step.Step{
		ID:       "swap",
		Effects:  append(effects(file), step.Effect{Kind: "writes", What: i.swapPath(), Bytes: size}),
		Estimate: 5 * time.Second,
		Done: func(ctx context.Context) (bool, error) {
			if err != nil || !there(file) {
				return false, err
			}
			return i.running(ctx, swapUnit)
		},
		Do: func(ctx context.Context, _ step.Report) error { return i.makeSwap(ctx, file, size) },
	}, wanted
}

func swapBytes(f Facts) int64 {
	if f.VarFree > 8*gib {
		return gib
	}
	return gib / 2
}

func (i *install) makeSwap(ctx context.Context, file wanted, size int64) error {
	if err := amend(i.Paths, i.Files, func(r *Record) { r.Swap = true }); err != nil {
		return err
	}
	if err := (host.Swap{Runner: i.Runner, Files: i.Files}).Make(ctx, i.swapPath(), size); err != nil {
		return err
	}
	if err := i.put(file); err != nil {
		return err
	}
	return i.loadAndStart(ctx, swapUnit)
}

func (d Deps) loadAndStart(ctx context.Context, units ...string) error {
	if err := d.systemd().DaemonReload(ctx); err != nil {
		return err
	}
	if err := d.systemd().Enable(ctx, units...); err != nil {
		return err
	}
	return d.systemd().Start(ctx, units...)
}

func (i *install) clock() (step.Step, bool) {
	const timesync = "systemd-timesyncd.service"
	ours := i.f.TimeDaemon == "" || i.f.TimeDaemon == "systemd-timesyncd"
	return step.Step{
		ID:      "clock",
		Effects: effect("starts", timesync),
		Done: func(ctx context.Context) (bool, error) {
			if i.f.Container { // a container has its host's clock, and the unit declines to run
				return i.systemd().Enabled(ctx, timesync)
			}
			return i.running(ctx, timesync)
		},
		Do: func(ctx context.Context, _ step.Report) error { return i.loadAndStart(ctx, timesync) },
	}, ours
}

// updates lets the system patch itself.
func (i *install) updates() (step.Step, bool) {
	// A high number: apt reads the files in order and the last word counts.
	file := public(i.at("etc/apt/apt.conf.d/60rochdale"), updatesConfig(i.f.System, i.o.Reboot))
	return step.Step{
		ID:      "updates",
		Effects: effects(file),
		Done: func(ctx context.Context) (bool, error) {
			if !there(file) {
				return false, nil
			}
			return i.running(ctx, "apt-daily.timer", "apt-daily-upgrade.timer")
		},
		Do: func(ctx context.Context, _ step.Report) error {
			if err := i.put(file); err != nil {
				return err
			}
			return i.loadAndStart(ctx, "apt-daily.timer", "apt-daily-upgrade.timer")
		},
	}, true
}

// unmask gives back what somebody switched off for good and the box can not be
// without. The record keeps it, and an uninstall masks it again.
func (i *install) unmask() (step.Step, bool) {
	var files []string
	for _, name := range i.f.Masked {
		files = append(files, i.unitPath(name))
	}
	return step.Step{
		ID:      "unmask",
		Effects: effect("removes", files...),
		Done:    func(context.Context) (bool, error) { return gone(files...), nil },
		Do: func(ctx context.Context, _ step.Report) error {
			return i.systemd().Unmask(ctx, i.f.Masked...)
		},
	}, len(files) > 0
}
