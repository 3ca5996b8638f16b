// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"net"
	"path/filepath"
	"testing"
)

// TestSweepWithoutEngine: an uninstall that was killed while the engine's
// packages went finds the file of a socket, and nobody behind it.
func TestSweepWithoutEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	gone := sweeper{socket, []string{filepath.Join(t.TempDir(), "dockerd")}}
	if err := gone.Sweep(t.Context(), func(string) {}); err != nil {
		t.Errorf("an engine that is not there: %v", err)
	}
	if foreign, err := gone.Foreign(t.Context()); foreign || err != nil {
		t.Errorf("%v %v", foreign, err)
	}
	silent := sweeper{socket, []string{socket}}
	if err := silent.Sweep(t.Context(), func(string) {}); err == nil {
		t.Error("an engine that is installed and does not answer was passed over")
	}
}
