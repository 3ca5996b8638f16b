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

// An emulated machine takes minutes, so its test has a tag of its own.
func TestVirtualMachine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
	defer cancel()
	if err := SetupQEMU(ctx, os.Stderr, "arm64"); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	v, err := BootQEMU(ctx, QEMUOptions{Name: "pi", AptCache: aptCache(t, ctx).URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("prepared and booted in %v", time.Since(begin).Round(time.Second))
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		nothingLeft(t, &Machine{lease: v.lease})
		if exists("/sys/class/net/" + v.lease.Name) {
			t.Error("the interface is left")
		}
	})
	t.Log(out(t, ctx, v, "uname", "-a"))
	checkExec(t, ctx, v)
	checkFiles(t, ctx, v)
	checkArmDocker(t, ctx, v)
	begin = time.Now()
	if err := v.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("reboot in %v", time.Since(begin).Round(time.Second))
	reach(t, "http://"+v.IP.String()+":8080/")
	if err := v.PullPlug(); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	if err := v.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("after the plug in %v", time.Since(begin).Round(time.Second))
	reach(t, "http://"+v.IP.String()+":8080/")
	begin = time.Now()
	if err := v.PowerOff(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("power off in %v", time.Since(begin).Round(time.Second))
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
