// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e && arm64vm

package e2e_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

// TestArm64 installs on an emulated arm64 Debian with its own kernel, in place
// of a Raspberry Pi: AppArmor, cgroup v2 and the limits of units and
// containers are real there.
func TestArm64(t *testing.T) {
	b := boot(t, box.Options{Arm64: true, Name: "pi"})
	ctx := within(t, 50*time.Minute)
	start := time.Now()
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("arm64: installed and answering over HTTPS after %.0f s", time.Since(start).Seconds())
	o := walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: "arm64", Patience: 2 * time.Minute}
	receipt, err := walk.Order(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("arm64: %+v", receipt)
	healthy(t, b)
	realKernel(t, b)
	limitsBite(t, b)
	memoryOf(t, b)
	start = time.Now()
	if err := b.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("arm64: answering over HTTPS %.0f s after the reboot was asked for", time.Since(start).Seconds())
	if err := walk.Verify(ctx, o, receipt); err != nil {
		t.Fatalf("after the reboot: %v", err)
	}
}

func realKernel(t *testing.T, b *box.Box) {
	t.Helper()
	for what, args := range map[string][]string{
		"aarch64":   {"uname", "-m"},
		"cgroup2fs": {"stat", "-fc", "%T", "/sys/fs/cgroup"},
		"Y":         {"cat", "/sys/module/apparmor/parameters/enabled"},
	} {
		out, err := b.Output(t.Context(), args...)
		if err != nil || strings.TrimSpace(out) != what {
			t.Errorf("%v says %q, not %q (%v)", args, out, what, err)
		}
	}
	profiles, err := b.Output(t.Context(), "sh", "-c", "cat /proc/$(pgrep -o -x coop)/attr/current")
	if err != nil || !strings.HasPrefix(profiles, "docker-default") {
		t.Errorf("the container's AppArmor profile is %q (%v)", profiles, err)
	}
}

// limitsBite lets a process take more than each limit allows, inside the
// unit's own group and inside the container's. The unit may swap, so there the
// kernel has to have held it at its limit; in the container it has to kill.
func limitsBite(t *testing.T, b *box.Box) {
	t.Helper()
	ctx := within(t, 10*time.Minute)
	group, err := b.Output(ctx, "systemctl", "show", "--value", "--property=ControlGroup", "rochdale-edge.service")
	if err != nil {
		t.Fatal(err)
	}
	if events := gorge(ctx, t, b, strings.TrimSpace(group)); events["max"] == 0 {
		t.Errorf("the edge's unit was never held at its limit: %v", events)
	}
	pid, err := b.Output(ctx, "pgrep", "-o", "-x", "coop")
	if err != nil {
		t.Fatal(err)
	}
	line, err := b.ReadFile(ctx, "/proc/"+strings.TrimSpace(pid)+"/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if events := gorge(ctx, t, b, strings.TrimSpace(strings.TrimPrefix(string(line), "0::"))); events["oom_kill"] == 0 {
		t.Errorf("nothing was killed in the container's group: %v", events)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Errorf("after the limits were reached: %v", err)
	}
}

// gorge lets a process in the group hold 400 MB, and gives the group's counts
// of memory events after it.
func gorge(ctx context.Context, t *testing.T, b *box.Box, group string) map[string]int {
	t.Helper()
	group = "/sys/fs/cgroup" + group
	script := fmt.Sprintf("echo $$ > %s/cgroup.procs && echo 1000 > /proc/self/oom_score_adj && head -c 400000000 /dev/zero | tail -c 400000000 > /dev/null", group)
	r, err := b.Exec(ctx, testhost.Command{Args: []string{"timeout", "240", "sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	limit, err := b.ReadFile(ctx, group+"/memory.max")
	if err != nil {
		t.Fatal(err)
	}
	out, err := b.ReadFile(ctx, group+"/memory.events")
	if err != nil {
		t.Fatal(err)
	}
	events := map[string]int{}
	for line := range strings.Lines(string(out)) {
		if name, n, found := strings.Cut(strings.TrimSpace(line), " "); found {
			events[name], _ = strconv.Atoi(n) // the kernel writes numbers
		}
	}
	t.Logf("400 MB in %s, limit %s: code %d, %v", group, strings.TrimSpace(string(limit)), r.Code, events)
	return events
}

func memoryOf(t *testing.T, b *box.Box) {
	t.Helper()
	all, err := b.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		t.Logf("%6.1f MB  %s (%s)", float64(p.PSS)/1e6, p.Name, p.Unit)
	}
	t.Logf("Rochdale's own %.1f MB, the whole box %.1f MB (PSS)",
		float64(box.Sum(all, box.Process.Ours))/1e6, float64(box.Sum(all, func(box.Process) bool { return true }))/1e6)
}
