// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// TestSecondDaemon: one that somebody starts by hand leaves the running one its
// socket and its jobs.
func TestSecondDaemon(t *testing.T) {
	a, _ := testApp(false, nil, "--lang", "en")
	a.paths = appliance.Paths{Root: t.TempDir()}
	for _, dir := range []string{a.paths.Var(), a.paths.Run()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	first, err := api.Alone(a.paths.DaemonLock())
	if err != nil {
		t.Fatal(err)
	}
	socket, err := api.Listen(t.Context(), a.paths.DaemonSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // without the lock it would begin, and end at once
	err = a.daemon(ctx, slog.New(slog.DiscardHandler))
	if !appliance.IsProblem(err, "daemon.second") {
		t.Errorf("%v", err)
	}
	conn, err := net.Dial("unix", a.paths.DaemonSocket())
	if err != nil {
		t.Fatalf("the first daemon's socket is gone: %v", err)
	}
	_ = conn.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := api.Alone(a.paths.DaemonLock())
	if err != nil {
		t.Fatalf("the lock outlives its daemon: %v", err)
	}
	_ = next.Close()
}
