// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// Daemon is what the verbs ask for.
type Daemon interface {
	KitDaemon
	Status(ctx context.Context) (appliance.Status, error)
	Findings(ctx context.Context) []appliance.Finding
	Jobs(ctx context.Context, limit int) ([]appliance.Job, error)
	WatchJob(ctx context.Context, job string, watch func(step.Event)) error
	Apply(ctx context.Context, r appliance.ApplyRequest, watch func(step.Event)) (appliance.Release, error)
	Restart(ctx context.Context, stack string, watch func(step.Event)) error
	Hosts(ctx context.Context, r appliance.HostsRequest, watch func(step.Event)) error
	Link(ctx context.Context, r appliance.LinkRequest) (string, error)
	Remove(ctx context.Context, stack string, watch func(step.Event)) error
	Logs(ctx context.Context, r appliance.LogsRequest, w io.Writer) error
	Update(ctx context.Context, r appliance.UpdateRequest, watch func(step.Event)) (appliance.Change, error)
	Rollback(ctx context.Context, r appliance.RollbackRequest, watch func(step.Event)) (appliance.Change, error)
	WouldLose(ctx context.Context, stack string) (appliance.Loss, error)
	Backup(ctx context.Context, kind appliance.BackupKind, only string, watch func(step.Event)) error
	Upkeep(ctx context.Context, kind appliance.BackupKind, watch func(step.Event)) error
	Drill(ctx context.Context, q appliance.DrillRequest, watch func(step.Event)) error
	Snapshots(ctx context.Context, repository string) ([]appliance.Restorable, error)
	FindSnapshot(ctx context.Context, r appliance.RestoreRequest) (appliance.Restorable, error)
	Restore(ctx context.Context, r appliance.RestoreRequest, watch func(step.Event)) (appliance.Change, error)
}

var _ Daemon = (*appliance.Daemon)(nil)

// Listen makes the socket: mode 0600, replacing one that a dead daemon left.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace the old socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for commands: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the socket to others: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on l until ctx is done. What the daemon was asked to do goes on
// when its asker leaves.
func Serve(ctx context.Context, l net.Listener, d Daemon, log *slog.Logger) error {
	s := &http.Server{
		Handler:           handler(d, log),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ConnContext:       knowCaller,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = s.Shutdown(short) // what is left is cut off below
		_ = s.Close()
	})
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer commands: %w", err)
	}
	return nil
}

func handler(d Daemon, log *slog.Logger) http.Handler {
	m := http.NewServeMux()
	m.Handle("POST /v1/status", answer(func(ctx context.Context, _ none) (appliance.Status, error) { return d.Status(ctx) }))
	m.Handle("POST /v1/findings", answer(func(ctx context.Context, _ none) ([]appliance.Finding, error) { return d.Findings(ctx), nil }))
	m.Handle("POST /v1/jobs", answer(func(ctx context.Context, r jobsRequest) ([]appliance.Job, error) {
		return d.Jobs(ctx, min(max(r.Limit, 1), 500))
	}))
	m.Handle("POST /v1/job.watch", stream(func(ctx context.Context, r jobName, o out) (none, error) {
		return none{}, d.WatchJob(ctx, r.Job, o.event)
	}))
	m.Handle("POST /v1/stack.apply", stream(func(ctx context.Context, r appliance.ApplyRequest, o out) (appliance.Release, error) {
		return d.Apply(ctx, r, o.event)
	}))
	m.Handle("POST /v1/stack.restart", stream(func(ctx context.Context, r stackName, o out) (none, error) {
		return none{}, d.Restart(ctx, r.Stack, o.event)
	}))
	m.Handle("POST /v1/stack.hosts", stream(func(ctx context.Context, r appliance.HostsRequest, o out) (none, error) {
		return none{}, d.Hosts(ctx, r, o.event)
	}))
	m.Handle("POST /v1/stack.remove", stream(func(ctx context.Context, r stackName, o out) (none, error) {
		return none{}, d.Remove(ctx, r.Stack, o.event)
	}))
	m.Handle("POST /v1/stack.link", answer(func(ctx context.Context, r appliance.LinkRequest) (linkAnswer, error) {
		url, err := d.Link(ctx, r)
		return linkAnswer{url}, err
	}))
	m.Handle("POST /v1/logs", stream(func(ctx context.Context, r appliance.LogsRequest, o out) (none, error) {
		return none{}, d.Logs(ctx, r, o)
	}))
	updates(m, d)
	copies(m, d)
	recovery(m, d)
	return guard(m, log)
}

type callerKey struct{}

// knowCaller asks the kernel who is at the other end.
func knowCaller(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, *cred)
}

// guard lets only the user of this process (root) in, and logs who did what.
func guard(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cred, known := r.Context().Value(callerKey{}).(unix.Ucred)
		if !known || int(cred.Uid) != os.Geteuid() {
			log.Warn("a stranger was turned away", "verb", r.URL.Path, "uid", cred.Uid, "pid", cred.Pid, "known", known)
			refuse(w, http.StatusForbidden, appliance.Problem("daemon.forbidden", nil, "uid", cred.Uid).WithCode(appliance.ExitUsage))
			return
		}
		log.Info("asked", "verb", r.URL.Path, "uid", cred.Uid, "pid", cred.Pid)
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		next.ServeHTTP(w, r)
	})
}
