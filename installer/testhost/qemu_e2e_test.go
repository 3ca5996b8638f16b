// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e && arm64vm

package testhost

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// bootVM boots an emulated machine. It takes minutes, so these tests have a tag of their own.
func bootVM(t *testing.T, o QEMUOptions) (context.Context, *VM) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
	t.Cleanup(cancel)
	if err := SetupQEMU(ctx, os.Stderr, "arm64"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	v, err := BootQEMU(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted in %v", time.Since(begin).Round(time.Second))
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, &Machine{lease: v.lease})
		if exists("/sys/class/net/" + v.lease.Name) {
			t.Error("the interface is left")
		}
	})
	return ctx, v
}

// step runs one step and logs how long it took.
func step(t *testing.T, ctx context.Context, name string, f func(context.Context) error) {
	t.Helper()
	begin := time.Now()
	if err := f(ctx); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Logf("%s in %v", name, time.Since(begin).Round(time.Second))
}

func TestVirtualMachineRunsDocker(t *testing.T) {
	ctx, v := bootVM(t, QEMUOptions{Name: "pi"})
	t.Log(out(t, ctx, v, "uname", "-a"))
	checkExec(t, ctx, v)
	checkFiles(t, ctx, v)
	checkArmDocker(t, ctx, v)
	step(t, ctx, "reboot", v.Reboot)
	reach(t, "http://"+v.IP.String()+":8080/")
}

func TestVirtualMachineLosesPower(t *testing.T) {
	ctx, v := bootVM(t, QEMUOptions{Name: "pi"})
	if err := v.WriteFile(ctx, "/root/kept", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	out(t, ctx, v, "sync")
	if err := v.PullPlug(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Exec(ctx, Command{Args: []string{"true"}}); err == nil || v.Running() {
		t.Error("a machine without power runs programs")
	}
	step(t, ctx, "power on", v.PowerOn)
	if got := out(t, ctx, v, "cat", "/root/kept"); got != "kept" {
		t.Errorf("after the power cut the file says %q", got)
	}
	step(t, ctx, "power off", v.PowerOff)
	if v.Running() {
		t.Error("it is on")
	}
}

// checkArmDocker shows what nspawn can not: AppArmor, cgroup v2, and a unit's memory limit that bites.
func checkArmDocker(t *testing.T, ctx context.Context, v *VM) {
	t.Helper()
	timed(t, ctx, v, "apt-get", "update", "-qq")
	timed(t, ctx, v, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends", "docker.io", "apparmor")
	checkDocker(t, ctx, v, guest(t, "arm64"))
	if got := out(t, ctx, v, "docker", "info", "--format", "{{.CgroupVersion}} {{.SecurityOptions}} {{.Architecture}}"); !strings.HasPrefix(got, "2 ") || !strings.Contains(got, "apparmor") || !strings.HasSuffix(got, "aarch64") {
		t.Errorf("docker info: %s", got)
	}
	r, err := v.Exec(ctx, Command{Args: []string{"systemd-run", "--wait", "--quiet", "-p", "MemoryMax=48M", "-p", "MemorySwapMax=0", "/root/guest", "take", "256"}})
	if err != nil || r.Code == 0 {
		t.Errorf("a unit's memory limit does not bite: %+v, %v", r, err)
	}
	out(t, ctx, v, "systemctl", "reset-failed")
}
