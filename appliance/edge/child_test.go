// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"rochdale/appliance"
)

// childEdge is an edge in its own process, on inherited sockets.
func childEdge(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := SystemdListeners(func(key string) string {
		if key == "LISTEN_PID" {
			return strconv.Itoa(os.Getpid())
		}
		return os.Getenv(key)
	})
	if err == nil {
		err = Run(ctx, Options{
			Listeners: l, Dir: filepath.Join(dir, "edge"), ControlSocket: filepath.Join(dir, "edge.sock"),
			Settings: appliance.EdgeSettings{Schema: 1, TLS: "internal"},
			Words:    func(_ string, m appliance.Message) Words { return Words{Title: m.ID} },
			Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "edge:", err)
		return 1
	}
	return 0
}
