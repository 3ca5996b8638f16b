// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// PowerOn boots a machine that is off and waits until systemd is up.
func (v *VM) PowerOn(ctx context.Context) error {
	if err := v.tap(ctx); err != nil {
		return err
	}
	if err := v.start(); err != nil {
		return err
	}
	failed, err := v.Wait(ctx)
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("units failed: %s", strings.Join(failed, " "))
	}
	return err
}

// tap makes the machine's end of the bridge.
func (v *VM) tap(ctx context.Context) error {
	if exists("/sys/class/net/" + v.lease.Name) {
		return nil
	}
	if _, err := run(ctx, "ip", "tuntap", "add", "dev", v.lease.Name, "mode", "tap"); err != nil {
		return err
	}
	_, err := run(ctx, "ip", "link", "set", v.lease.Name, "master", bridge, "up")
	return err
}

// start starts QEMU in groups of its own, by which another process can end it when this one is gone.
func (v *VM) start() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || v.cmd != nil {
		return fmt.Errorf("machine %s is on already, or closed", v.Name)
	}
	groups, err := makeGroups(v.lease.Name, 0)
	if err != nil {
		return err
	}
	args, err := v.args()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(v.lease.Dir, "qemu.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := inGroups(context.Background(), groups, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	if p, err := identify(cmd.Process.Pid); err == nil {
		v.lease.Started = []process{p}
	}
	v.cmd, v.done = cmd, make(chan struct{})
	go v.watch(cmd, v.done)
	return writeJSON(v.lease.path(), v.lease)
}

// watch waits for QEMU's end.
func (v *VM) watch(cmd *exec.Cmd, done chan struct{}) {
	_ = cmd.Wait() // a machine that is off is off, for whatever reason; qemu.log has it
	v.shell.drop()
	v.mu.Lock()
	v.cmd = nil
	v.mu.Unlock()
	close(done)
}

// Wait returns when systemd in the machine has started everything, with the names of the units that failed.
func (v *VM) Wait(ctx context.Context) ([]string, error) { return waitUp(ctx, v) }

// Reboot asks systemd for a reboot and waits until another boot is up.
func (v *VM) Reboot(ctx context.Context) error {
	before, err := v.bootID(ctx)
	if err != nil {
		return err
	}
	if err := shut(ctx, v, "reboot"); err != nil {
		return err
	}
	v.shell.drop()
	for {
		if now, err := v.bootID(ctx); err == nil && now != before {
			break
		} else if ctx.Err() != nil || !v.Running() {
			return fmt.Errorf("reboot machine %s: %w", v.Name, errors.Join(err, context.Cause(ctx)))
		}
		v.shell.drop()
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return fmt.Errorf("reboot machine %s: %w", v.Name, err)
		}
	}
	_, err = v.Wait(ctx)
	return err
}

// bootID asks for the kernel's id of this boot, and gives up soon: a machine that goes down may not answer at all.
func (v *VM) bootID(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return v.Output(ctx, "cat", "/proc/sys/kernel/random/boot_id")
}

// PowerOff asks systemd to shut down and waits until the machine is off.
func (v *VM) PowerOff(ctx context.Context) error {
	v.mu.Lock()
	done, on := v.done, v.cmd != nil
	v.mu.Unlock()
	if !on {
		return nil
	}
	if err := shut(ctx, v, "poweroff"); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("power off machine %s: %w", v.Name, context.Cause(ctx))
	}
}

// PullPlug ends QEMU with SIGKILL: the machine's page cache is lost, what it had written to its disk stays.
func (v *VM) PullPlug() error {
	v.mu.Lock()
	done, cmd := v.done, v.cmd
	v.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-done
	return nil
}
