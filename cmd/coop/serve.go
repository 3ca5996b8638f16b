// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"rochdale/stacks/coop"
	"rochdale/stacks/coop/password"
	"rochdale/stacks/coop/store"
	"rochdale/stacks/coop/web"
)

const (
	// memory is what the runtime tries to stay within: two password hashes take
	// 38 MiB of it, and the container has 128.
	memory = 72 << 20
	// grace is how long running requests have after SIGTERM: less than the 10 s
	// after which the container is killed.
	grace = 9 * time.Second
	// sweepEvery is how often offers are checked for having run out.
	sweepEvery = 2 * time.Second
	// forgetEvery is how often expired sessions and counters are dropped.
	forgetEvery = 10 * time.Minute
)

func open(ctx context.Context, s settings) (*coop.App, *store.Store, error) {
	db, err := store.Open(ctx, s.database, s.passwordFile)
	if err != nil {
		return nil, nil, err
	}
	return coop.New(db, password.New(), coop.Config{Currency: s.currency}), db, nil
}

// serve answers until SIGTERM or SIGINT, then finishes what runs.
func serve(ctx context.Context, s settings, std streams) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if debug.SetMemoryLimit(-1) == int64(^uint64(0)>>1) { // GOMEMLIMIT isn't set
		debug.SetMemoryLimit(memory)
	}
	log := newLog(std.err)
	app, db, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	pages, err := web.New(app, web.Config{Name: s.name, Lang: s.lang, Zone: s.zone, Proxies: s.proxies, BaseURL: s.baseURL, Log: log})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return fmt.Errorf("%s can't be listened on; set COOP_LISTEN to a free port: %w", s.listen, err)
	}
	work, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		chores(work, app, log)
	}()
	log.Info("ready", "version", release(), "listen", l.Addr().String())
	err = answer(ctx, l, pages, log)
	end()
	<-done
	return err
}

// newLog writes lines of text. Its handler quotes whatever isn't printable, so
// nothing that members write reaches a terminal as a control character.
func newLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// answer serves on l until ctx ends.
func answer(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       20 * time.Second,
		WriteTimeout:      40 * time.Second,
		IdleTimeout:       5 * time.Minute, // longer than the proxy keeps its own, so that it never writes into a closing connection
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("stopping")
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(last)
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) && err == nil {
		err = e
	}
	log.Info("stopped")
	return err
}

// chores does what time brings, until ctx ends. Several servers may do it at once.
func chores(ctx context.Context, app *coop.App, log *slog.Logger) {
	sweep, forget := time.NewTicker(sweepEvery), time.NewTicker(forgetEvery)
	defer sweep.Stop()
	defer forget.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			err = app.Sweep(ctx)
		case <-forget.C:
			err = app.Forget(ctx)
		}
		if err != nil && ctx.Err() == nil {
			log.Error("a chore failed; it's tried again", "error", err)
		}
	}
}
