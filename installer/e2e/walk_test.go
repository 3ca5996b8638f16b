// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
	"rochdale/stacks/coop/walk"
)

// TestWalk is the promise of the installer: a bare machine, one command, an
// order over HTTPS, a reboot that nobody helps with, and back to a bare
// machine.
func TestWalk(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) { walkThrough(t, suite) })
	}
}

func walkThrough(t *testing.T, suite string) {
	b := boot(t, box.Options{Suite: suite})
	ctx := within(t, 10*time.Minute)
	start := time.Now()
	done, err := b.Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: installed and answering over HTTPS after %.1f s", suite, time.Since(start).Seconds())

	o := walk.Options{BaseURL: b.URL(), Transport: b.Transport(), JoinPath: b.JoinPath(done.AdminLink), Unique: suite}
	receipt, err := walk.Order(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %+v", suite, receipt)
	healthy(t, b)
	// Running it again is a refresh, and there is an admin now.
	if again, err := b.Install(ctx); err != nil || again.AdminLink != "" {
		t.Fatalf("the same command again: link %q, %v", again.AdminLink, err)
	}

	if err := b.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	if failed, err := b.Wait(ctx); err != nil || len(failed) > 0 {
		t.Fatalf("after the reboot units failed: %v, %v", failed, err)
	}
	if err := b.WaitHTTPS(ctx); err != nil {
		t.Fatal(err)
	}
	if err := walk.Verify(ctx, o, receipt); err != nil {
		t.Fatalf("after the reboot: %v", err)
	}
	healthy(t, b)
	uninstall(t, b)
}

func healthy(t *testing.T, b *box.Box) {
	t.Helper()
	healthyWith(t, b, 1)
}

// healthyWith is for a stack of more than one container.
func healthyWith(t *testing.T, b *box.Box, containers int) {
	t.Helper()
	var s box.Status
	var err error
	// The daemon looks every few seconds; a box that just came up needs some.
	for range 60 {
		if s, err = b.Status(t.Context()); err == nil && s.Healthy {
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil || !s.Healthy {
		t.Fatalf("the box is not healthy: %+v, %v", s, err)
	}
	if s.Schema != 1 || len(s.Stacks) != 1 || s.Stacks[0].Name != "delivery" || s.Stacks[0].State != "running" || s.Stacks[0].URL != b.URL() {
		t.Errorf("status says of the stacks: %+v", s.Stacks)
	}
	certified := false
	for _, c := range s.Certificates {
		certified = certified || c.Name == b.Domain && strings.Contains(c.Issuer, "Pebble") && time.Until(c.NotAfter) > time.Hour
	}
	if !certified {
		t.Errorf("status says of the certificates: %+v", s.Certificates)
	}
	if s.Memory.Units["rochdale.service"] == 0 || s.Memory.Units["rochdale-edge.service"] == 0 || len(s.Memory.Containers) != containers {
		t.Errorf("status says of the memory: %+v", s.Memory)
	}
}

// uninstall takes the product away and leaves the data. That it gives back the
// packages too is in TestInstallChangesTheMachineAsSaid.
func uninstall(t *testing.T, b *box.Box) {
	t.Helper()
	ctx := within(t, 5*time.Minute)
	r, err := b.Exec(ctx, testhost.Command{Args: []string{"rochdale", "uninstall", "--yes", "--no-input"}})
	if err != nil || (r.Code != 0 && r.Code != 3) {
		t.Fatalf("uninstall: code %d, %v\n%s\n%s", r.Code, err, r.Stdout, r.Stderr)
	}
	t.Logf("uninstall printed:\n%s", r.Stdout)
	for _, gone := range []string{"/usr/local/bin/rochdale", "/etc/systemd/system/rochdale.service", "/etc/systemd/system/rochdale-edge.socket"} {
		if _, err := b.ReadFile(ctx, gone); err == nil {
			t.Errorf("%s is still there after the uninstall", gone)
		}
	}
	if out, err := b.Output(ctx, "find", "/var/lib/rochdale/stacks/delivery/data", "-name", "coop.db"); err != nil || !strings.Contains(out, "coop.db") {
		t.Errorf("the data is gone after an uninstall without --purge: %q, %v", out, err)
	}
	if failed, err := b.Wait(ctx); err != nil || len(failed) > 0 {
		t.Errorf("after the uninstall units failed: %v, %v", failed, err)
	}
}
