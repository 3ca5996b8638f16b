// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package testhost

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ready sets the build machine up and bounds the test.
func ready(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	if err := Setup(ctx, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func boot(t *testing.T, ctx context.Context, o Options) *Machine {
	t.Helper()
	begin := time.Now()
	m, err := Boot(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s (%s %s) booted in %v", m.Name, o.Suite, m.lease.Name, time.Since(begin).Round(10*time.Millisecond))
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, m)
	})
	return m
}

// nothingLeft checks that a closed machine has no process, no group, no mount, no interface and no folder.
func nothingLeft(t *testing.T, m *Machine) {
	t.Helper()
	dirs, err := groupDirs(m.lease.Name)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := mountsBelow(m.lease.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(dirs, m.lease.Dir, m.lease.path(), "/sys/class/net/vb-"+m.lease.Name) {
		if exists(path) {
			t.Errorf("%s is left", path)
		}
	}
	if pids := members(dirs); len(pids) > 0 || len(mounts) > 0 {
		t.Errorf("left: processes %v, mounts %v", pids, mounts)
	}
	for _, p := range m.lease.Started {
		if p.alive() {
			t.Errorf("process %d still runs", p.PID)
		}
	}
}

func out(t *testing.T, ctx context.Context, m Host, args ...string) string {
	t.Helper()
	text, err := output(ctx, m, args)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text)
}

func eachSuite(t *testing.T, f func(t *testing.T, ctx context.Context, suite string)) {
	for _, suite := range Suites() {
		t.Run(suite, func(t *testing.T) { f(t, ready(t), suite) })
	}
}

func TestMachineIsBareAndObeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, ctx context.Context, suite string) {
		m := boot(t, ctx, Options{Name: "bare", Suite: suite})
		if got := out(t, ctx, m, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME $(hostname) $(cat /proc/1/comm)"); got != suite+" bare systemd" {
			t.Errorf("the machine is %q", got)
		}
		for _, program := range []string{"docker", "dockerd", "python3", "sshd", "nft", "iptables"} {
			if r, err := m.Exec(ctx, Command{Args: []string{program}}); err != nil || r.Code != 127 {
				t.Errorf("%s: code %d, %v: the machine is not bare", program, r.Code, err)
			}
		}
		checkExec(t, ctx, m)
		checkFiles(t, ctx, m)
	})
}

func checkExec(t *testing.T, ctx context.Context, m Host) {
	t.Helper()
	r, err := m.Exec(ctx, Command{Args: []string{"sh", "-c", "cat; echo err >&2; exit 7"}, Stdin: strings.NewReader("in")})
	if err != nil || r.Code != 7 || r.Stdout != "in" || r.Stderr != "err\n" {
		t.Errorf("exec: %+v, %v", r, err)
	}
	if r, err = m.Exec(ctx, Command{Args: []string{"sh", "-c", "kill -9 $$"}}); err != nil || r.Code != 137 {
		t.Errorf("killed: %+v, %v", r, err)
	}
	if r, err = m.Exec(ctx, Command{Args: []string{"env"}, Env: []string{"A=b"}}); err != nil || !strings.Contains(r.Stdout, "A=b\n") || strings.Contains(r.Stdout, "GO") {
		t.Errorf("environment: %+v, %v", r, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := m.Exec(short, Command{Args: []string{"sleep", "4711"}}); err == nil {
		t.Error("the end of the context did not end the program")
	}
	for range 100 { // it dies a moment later
		if r, err = m.Exec(ctx, Command{Args: []string{"pgrep", "-f", "sleep 4711"}}); err == nil && r.Code == 1 {
			return
		}
	}
	t.Errorf("a program outlived its context: %+v, %v", r, err)
}

func checkFiles(t *testing.T, ctx context.Context, m Host) {
	t.Helper()
	src := filepath.Join(t.TempDir(), "src")
	if err := os.WriteFile(src, []byte(strings.Repeat("data", 1<<18)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := m.CopyIn(ctx, src, "/opt/new/folder/tool", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := out(t, ctx, m, "stat", "-c", "%a %U %s", "/opt/new/folder/tool"); got != fmt.Sprintf("755 root %d", 4<<18) {
		t.Errorf("copied file is %s", got)
	}
	if err := m.WriteFile(ctx, "/run/x", []byte("one"), 0o640); err != nil {
		t.Fatal(err)
	}
	if data, err := m.ReadFile(ctx, "/run/x"); err != nil || string(data) != "one" {
		t.Errorf("read back %q, %v", data, err)
	}
	if _, err := m.ReadFile(ctx, "/run/none"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestRebootPlugAndClone(t *testing.T) {
	eachSuite(t, func(t *testing.T, ctx context.Context, suite string) {
		m := boot(t, ctx, Options{Name: "one", Suite: suite})
		first := out(t, ctx, m, "cat", "/proc/1/stat", "/etc/machine-id")
		begin := time.Now()
		if err := m.Reboot(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("reboot in %v", time.Since(begin).Round(10*time.Millisecond))
		if out(t, ctx, m, "cat", "/proc/1/stat", "/etc/machine-id") == first {
			t.Error("PID 1 is the same after a reboot")
		}
		if err := m.WriteFile(ctx, "/root/kept", []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.PullPlug(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Exec(ctx, Command{Args: []string{"true"}}); err == nil || m.Running() {
			t.Error("a machine without power runs programs")
		}
		begin = time.Now()
		if err := m.PowerOn(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("after the plug in %v", time.Since(begin).Round(10*time.Millisecond))
		if err := m.Save(ctx, filepath.Join(t.TempDir(), "no")); err == nil {
			t.Error("a running machine was saved")
		}
		begin = time.Now()
		if err := m.PowerOff(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("power off in %v", time.Since(begin).Round(10*time.Millisecond))
		saved := filepath.Join(t.TempDir(), "saved")
		begin = time.Now()
		if err := m.Save(ctx, saved); err != nil {
			t.Fatal(err)
		}
		t.Logf("saved in %v", time.Since(begin).Round(10*time.Millisecond))
		two := boot(t, ctx, Options{Name: "two", From: saved})
		if got := out(t, ctx, two, "sh", "-c", "cat /root/kept; hostname"); got != "kepttwo" {
			t.Errorf("the clone says %q", got)
		}
	})
}

func TestARootThatCannotBootSaysWhy(t *testing.T) {
	ctx := ready(t)
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	m, err := Boot(ctx, Options{Name: "empty", From: root})
	if err == nil {
		m.Close()
		t.Fatal("an empty folder booted")
	}
	if !strings.Contains(err.Error(), "systemd-nspawn ended") || !strings.Contains(err.Error(), "os-release") {
		t.Errorf("the error does not say why: %v", err)
	}
}
