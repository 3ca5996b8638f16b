// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package testhost

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestNetworkComesAndGoes works in a network namespace of its own thread, so that the build machine's bridge is left alone.
func TestNetworkComesAndGoes(t *testing.T) {
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ctx, record := t.Context(), filepath.Join(t.TempDir(), "network.json")
	rule := func(args ...string) {
		t.Helper()
		if _, err := run(ctx, "iptables", args...); err != nil {
			t.Fatal(err)
		}
	}
	rules := func() string {
		t.Helper()
		filter, err := run(ctx, "iptables", "-S")
		if err != nil {
			t.Fatal(err)
		}
		nat, err := run(ctx, "iptables", "-t", "nat", "-S")
		if err != nil {
			t.Fatal(err)
		}
		return filter + nat
	}
	rule("-P", "FORWARD", "DROP")
	if err := os.WriteFile(forwardFile, []byte("0\n"), 0o644); err != nil { // a new namespace inherits the build machine's
		t.Fatal(err)
	}
	before := rules()
	for range 2 { // the second time changes nothing
		if err := makeNetwork(ctx, io.Discard, record); err != nil {
			t.Fatal(err)
		}
	}
	address := func() string {
		t.Helper()
		i, err := net.InterfaceByName(bridge)
		if err != nil {
			t.Fatal(err)
		}
		return i.HardwareAddr.String()
	}
	for _, args := range [][]string{ // a machine with the lowest address of all comes and goes
		{"link", "add", "low", "address", "00:00:00:00:00:01", "type", "veth", "peer", "name", "high"},
		{"link", "set", "low", "master", bridge, "up"},
		{"link", "del", "low"},
	} {
		if _, err := run(ctx, "ip", args...); err != nil {
			t.Fatal(err)
		}
		if got := address(); got != bridgeMAC {
			t.Errorf("the bridge's address is %s after %v, and the machines know %s", got, args, bridgeMAC)
		}
	}
	if value, err := os.ReadFile(forwardFile); err != nil || strings.TrimSpace(string(value)) != "1" {
		t.Errorf("forwarding: %q, %v", value, err)
	}
	if got := rules(); strings.Count(got, "MASQUERADE") != 1 || strings.Count(got, "-A FORWARD") != 2 || strings.Contains(got, "-A INPUT") {
		t.Errorf("rules:\n%s", got)
	}
	if err := removeNetwork(ctx, record); err != nil {
		t.Fatal(err)
	}
	if got := rules(); got != before {
		t.Errorf("rules are not as before:\n%s\nbut\n%s", before, got)
	}
	if value, err := os.ReadFile(forwardFile); err != nil || strings.TrimSpace(string(value)) != "0" {
		t.Errorf("forwarding after it: %q, %v", value, err)
	}
	if _, err := net.InterfaceByName(bridge); err == nil {
		t.Error("the bridge is left")
	}
	if err := removeNetwork(ctx, record); err != nil {
		t.Errorf("removing what is not there: %v", err)
	}
	// What was there before Setup is not Teardown's.
	if _, err := run(ctx, "ip", "link", "add", bridge, "type", "bridge"); err != nil {
		t.Fatal(err)
	}
	if err := makeNetwork(ctx, io.Discard, record); err != nil {
		t.Fatal(err)
	}
	if err := removeNetwork(ctx, record); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(bridge); err != nil {
		t.Error("somebody else's bridge was removed")
	}
}
