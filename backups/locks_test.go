// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rochdale/backups"
)

// endless is a backup that holds its lock until it is stopped: of a terabyte of zeros.
func endless(t *testing.T) backups.Backup {
	t.Helper()
	zeros := filepath.Join(t.TempDir(), "zeros")
	write(t, zeros, "")
	if err := os.Truncate(zeros, 1<<40); err != nil {
		t.Fatal(err)
	}
	return backups.Backup{Paths: []string{zeros}}
}

// killRestic ends the restic that writes to a repository, as want of memory would.
func killRestic(t *testing.T, r backups.Repository) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), "\x00--repo="+r.URL+"\x00") {
			continue // it has ended, or is something else
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err := errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)); err != nil {
			t.Fatal(err)
		}
		killed++
	}
	if killed != 1 {
		t.Fatalf("%d programs write to the repository", killed)
	}
}

// locked waits until the repository has n locks.
func locked(t *testing.T, r backups.Repository, n int) {
	t.Helper()
	for {
		found, err := filepath.Glob(filepath.Join(r.URL, "locks", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == n {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the test ended before")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestLocks: a living writer is respected and told by name, another one may
// write beside it, and it leaves when it is asked to.
func TestLocks(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	b, ended := endless(t), make(chan error)
	go func() {
		_, err := d.Backup(ctx, r, b)
		ended <- err
	}()
	locked(t, r, 1)
	p := wants(t, d.Prune(t.Context(), r), "backups.locked")
	if name, err := os.Hostname(); err != nil || !strings.HasPrefix(p.Args["by"], name+" (") {
		t.Errorf("locked by %q: %v", p.Args["by"], err)
	}
	backup(t, d, r, wholeBackup())
	if err := d.Unlock(t.Context(), r); err != nil {
		t.Error(err)
	}
	locked(t, r, 1)
	stop()
	err := <-ended
	wants(t, err, "backups.interrupted")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the cause is not told: %v", err)
	}
	locked(t, r, 0)
}

// TestTwoWriters at once: both snapshots are whole.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	ended := make(chan error)
	for _, folder := range []string{"a", "b"} {
		go func() {
			_, err := d.Backup(t.Context(), r, backups.Backup{Paths: []string{filepath.Join(source(), folder)}, Force: true, Tags: []string{folder}})
			ended <- err
		}()
	}
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"a", "b"} {
		list, err := d.Snapshots(t.Context(), r, folder)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		restoreIdentical(t, d, r, list[0].ID, filepath.Join(source(), folder))
	}
	healthy(t, d, r)
}

// TestKilled: after kill -9 the lock that stays behind is in nobody's way.
func TestKilled(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	b, ended := endless(t), make(chan error)
	go func() {
		_, err := d.Backup(t.Context(), r, b)
		ended <- err
	}()
	locked(t, r, 1)
	killRestic(t, r)
	wants(t, <-ended, "backups.killed")
	locked(t, r, 1)
	if err := d.Prune(t.Context(), r); err != nil {
		t.Error(err)
	}
	locked(t, r, 0)
	if list, err := d.Snapshots(t.Context(), r); err != nil || len(list) != 2 {
		t.Errorf("snapshots %v, %v", list, err)
	}
	healthy(t, d, r)
}

// TestForeignLock: of a machine that is not this one nobody knows whether it is
// still alive.
func TestForeignLock(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	script := `hostname elsewhere && exec "$0" -r "$1" -p "$2" --no-cache backup --stdin-filename x --stdin-from-command -- /bin/sleep 300`
	other := exec.Command("unshare", "--uts", "sh", "-c", script, d.Program, r.URL, r.PasswordFile)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	locked(t, r, 1)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	p := wants(t, d.Prune(t.Context(), r), "backups.locked")
	if !strings.HasPrefix(p.Args["by"], "elsewhere (") {
		t.Errorf("locked by %q", p.Args["by"])
	}
	locked(t, r, 1)
}

// TestDamagedLock: one that is old enough is set aside, as restic would not go on
// past it. A young one may be of somebody who is alive.
func TestDamagedLock(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	old, young := filepath.Join(r.URL, "locks", strings.Repeat("a", 64)), filepath.Join(r.URL, "locks", strings.Repeat("b", 64))
	write(t, old, "not a lock")
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	if err := d.Prune(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(r.URL, "damaged", "locks-"+filepath.Base(old))); err != nil {
		t.Error(err)
	}
	write(t, young, "not a lock")
	if _, err := d.Identify(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}
