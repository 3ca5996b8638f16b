// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups"
)

// resticUnits runs restic in units of their own: a long upload does not die with
// the daemon, and can not take the machine's memory. Its output goes to files,
// because a pipe would tie it to this process.
type resticUnits struct {
	units host.Systemd
	dir   string // for the output; only root can look into it
}

var _ backups.Machine = resticUnits{}

// newVault joins the embedded restic to the machine. A program that was built
// without restic, or whose copy on the disk is damaged, says so at each backup.
// What a daemon before this one left running is stopped: its job begins anew, on
// the same folders.
func (a *app) newVault(ctx context.Context, units host.Systemd) appliance.Vault {
	door, err := a.openDoor(ctx, units)
	if err != nil {
		return shut{err}
	}
	bounded, cancel := context.WithTimeout(ctx, orphansEnd)
	defer cancel()
	if err := units.Stop(bounded, resticPrefix+"*.service"); err != nil {
		return shut{err}
	}
	return door
}

// orphansEnd bounds how long restic may take to end; a daemon has 90 s to start.
const orphansEnd = 45 * time.Second

// resticPrefix begins the names of the units in which restic runs.
const resticPrefix = "rochdale-restic-"

func (a *app) openDoor(ctx context.Context, units host.Systemd) (*backups.Door, error) {
	program, err := backups.Restic()
	if err != nil {
		return nil, err
	}
	private := host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()}
	home := a.paths.Backups()
	out := filepath.Join(a.paths.Run(), "restic")
	files := host.NewFiles()
	for _, dir := range []string{home, filepath.Join(home, "cache"), filepath.Join(home, "temp"), a.paths.Run(), out} {
		if err := files.MkdirAll(dir, private); err != nil {
			return nil, err
		}
	}
	path, err := program.Install(ctx, resticDisk{files}, home)
	if err != nil {
		return nil, err
	}
	return &backups.Door{
		Program: path, Machine: resticUnits{units, out}, Cache: filepath.Join(home, "cache"), Temp: filepath.Join(home, "temp"),
		Memory: resticMemory,
	}, nil
}

// resticMemory bounds one run of restic, in bytes.
const resticMemory = 320 << 20

// resticDisk writes the program durably.
type resticDisk struct{ files host.Files }

// Stream implements [backups.Disk].
func (d resticDisk) Stream(path string, content io.Reader, mode fs.FileMode) error {
	return d.files.WriteFrom(path, content, host.Attr{Mode: mode, UID: os.Geteuid(), GID: os.Getegid()})
}

// Restic implements [backups.Machine].
func (r resticUnits) Restic(ctx context.Context, c backups.Call) (_ backups.Ended, err error) {
	id := strings.ToLower(rand.Text()[:8])
	unit := resticPrefix + c.Repository + "-" + id + ".service"
	out, errs := filepath.Join(r.dir, id+".out"), filepath.Join(r.dir, id+".err")
	defer func() { err = errors.Join(err, removeAll(out, errs)) }()
	t := host.Transient{Unit: unit, Properties: append(resticProperties(c), runtimeOf(ctx)...), Name: c.Program, Args: c.Args, Out: out, Err: errs, Env: c.Env}
	if c.PasswordFile != "" {
		t.Env = append([]string{"RESTIC_PASSWORD_FILE=" + c.PasswordFile}, t.Env...)
	}
	_, runErr := r.units.RunTransient(ctx, t)
	var exit *host.ExitError
	switch {
	case ctx.Err() != nil || errors.Is(runErr, host.ErrUnseen):
		// It may have ended by itself, and say how, and of what kind its snapshot is.
		err := errors.Join(fmt.Errorf("run restic: %w", cmp.Or(context.Cause(ctx), runErr)), r.end(context.WithoutCancel(ctx), unit))
		ended, unread := printed(out, errs)
		if errors.Is(unread, fs.ErrNotExist) {
			unread = nil // it was not begun
		}
		return ended, errors.Join(err, unread)
	case errors.Is(runErr, host.ErrNotBegun) && errors.As(runErr, &exit): // without its arguments: there may be a password in an address
		return backups.Ended{}, fmt.Errorf("run restic: %w: %s", host.ErrNotBegun, exit.Stderr)
	case runErr != nil && !errors.As(runErr, &exit):
		return backups.Ended{}, fmt.Errorf("run restic: %w", runErr)
	}
	ended, err := printed(out, errs)
	if exit != nil {
		ended.Code = exit.Code
	}
	return ended, err
}

// printed is what restic printed into its files.
func printed(out, errs string) (ended backups.Ended, err error) {
	if ended.Stdout, err = head(out, backups.MaxStdout); err != nil {
		return ended, err
	}
	ended.Stderr, err = tailOf(errs, backups.MaxStderr)
	return ended, err
}

// end stops a unit whose caller has gone.
func (r resticUnits) end(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := r.units.Stop(ctx, unit)
	if up, upErr := r.units.Running(ctx, unit); upErr == nil && !up {
		return nil // it had ended by itself, maybe
	}
	return err
}

// resticProperties keep restic small, patient and without powers that it does
// not need: it reads everything and gives files back to their owners.
func resticProperties(c backups.Call) []string {
	p := []string{
		"Description=Rochdale saves or restores (" + c.Repository + ")",
		"CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_CHOWN CAP_FOWNER CAP_FSETID CAP_SETUID CAP_SETGID CAP_MKNOD",
		"NoNewPrivileges=yes", "ProtectSystem=full", "PrivateDevices=yes", "ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectControlGroups=yes",
		"RestrictRealtime=yes", "RestrictNamespaces=yes", "LockPersonality=yes", "MemoryDenyWriteExecute=yes", "SystemCallArchitectures=native",
		"UMask=0077", "LimitCORE=0", "Nice=10", "CPUWeight=20", "IOWeight=20", "OOMScoreAdjust=600", "TimeoutStopSec=30",
	}
	if c.Memory > 0 {
		p = append(p, fmt.Sprintf("MemoryMax=%d", c.Memory))
	}
	if c.EnvFile != "" {
		p = append(p, "EnvironmentFile="+c.EnvFile)
	}
	if c.Dir != "" {
		p = append(p, "WorkingDirectory="+c.Dir)
	}
	return p
}

// backstop is how much longer than its caller restic may go on: it ends what is left by
// a daemon that could not end it itself.
const backstop = 5 * time.Minute

// runtimeOf bounds a unit when its caller waits for it only so long.
func runtimeOf(ctx context.Context) []string {
	end, bounded := ctx.Deadline()
	if !bounded {
		return nil
	}
	left := max(0, time.Until(end)) + backstop
	return []string{fmt.Sprintf("RuntimeMaxSec=%d", int64(left.Seconds()))}
}

func head(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

func tailOf(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(f, most))
}

func removeAll(paths ...string) (err error) {
	for _, p := range paths {
		if one := os.Remove(p); !errors.Is(one, fs.ErrNotExist) {
			err = errors.Join(err, one)
		}
	}
	return err
}
