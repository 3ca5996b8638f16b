// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Listen adds n visitors who read an event stream at the path until the load stops,
// and come back when it ends, as browsers do. One that breaks off counts as a
// request that failed; one that ends cleanly does not. Whoever listens already
// stays: a second call until [Load.Stop] does nothing.
func (l *Load) Listen(n int, path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listening {
		return
	}
	l.listening = true
	for range n {
		l.wait.Go(func() {
			for l.running.Err() == nil {
				began := time.Now()
				err := l.stream(l.running, path)
				if l.running.Err() == nil {
					l.note("events", http.MethodGet, 0, err)
				}
				// A browser waits, too; one that is refused at once must not be a flood.
				time.Sleep(max(0, pause-time.Since(began)))
			}
		})
	}
}

// stream reads one stream to its end. The context ends it without an error.
func (l *Load) stream(ctx context.Context, path string) error {
	host := l.host(0)
	cfg := l.TLS.Clone()
	cfg.ServerName, cfg.NextProtos = host, []string{"http/1.1"}
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return fmt.Errorf("dial: %w", cause(err))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, http.NoBody)
	if err != nil {
		return err
	}
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("write: %w", cause(err))
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return fmt.Errorf("read: %w", cause(err))
	}
	defer res.Body.Close()
	kind := res.Header.Get("Content-Type")
	if res.StatusCode != http.StatusOK || kind != "text/event-stream" {
		return fmt.Errorf("answered %d, %s", res.StatusCode, kind)
	}
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && n == 0 {
		err = errors.New("ended before its first event")
	}
	if err != nil {
		return fmt.Errorf("an open stream: %w", cause(err))
	}
	return nil
}
