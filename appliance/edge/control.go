// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"time"

	"rochdale/appliance"

	"golang.org/x/sys/unix"
)

// Health is how the edge is, for the daemon and for people.
type Health struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"` // of the binary
	Started time.Time `json:"started"`
	// Routes is the version of the document that is served.
	Routes      uint64 `json:"routes"`
	Connections int    `json:"connections"`
	InFlight    int    `json:"in_flight"`
	Held        int64  `json:"held"`    // requests that wait at a gate now
	Refused     int64  `json:"refused"` // turned away because there were too many
	Requests    int64  `json:"requests"`
	// Answers counts by class: [0] is unused, [2] is 2xx.
	Answers [6]int64 `json:"answers"`
}

// listenControl opens the socket for the daemon. Whoever speaks before
// serveControl waits, and so nobody meets a half-started edge.
func (e *edge) listenControl(ctx context.Context) (net.Listener, error) {
	path := e.opts.ControlSocket
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, appliance.Problem("edge.start-failed", err, "detail", err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, appliance.Problem("edge.start-failed", err, "detail", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &peerListener{Listener: ln, log: e.opts.Log}, nil
}

// serveControl answers the daemon until the function that it gives is called.
func (e *edge) serveControl(ln net.Listener) (stop func()) {
	s := &http.Server{
		Handler:           e.verbs(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(e.opts.Log.Handler(), slog.LevelWarn),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln) // ends with stop
	}()
	return func() {
		_ = s.Close()
		<-done
	}
}

func (e *edge) verbs() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/routes", e.putRoutes)
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, e.board.current.Load().routes)
	})
	mux.HandleFunc("GET /v1/inflight", func(w http.ResponseWriter, r *http.Request) {
		reply(w, inFlightReply{InFlight: e.board.inFlight(r.URL.Query().Get("upstream"))})
	})
	mux.HandleFunc("GET /v1/certificates", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, e.certificates())
	})
	mux.HandleFunc("POST /v1/warm", func(w http.ResponseWriter, r *http.Request) {
		replyErr(w, e.warm(r.Context(), hostOf(r.URL.Query().Get("host"))))
	})
	mux.HandleFunc("GET /v1/root", func(w http.ResponseWriter, _ *http.Request) {
		pem, err := e.rootPEM()
		if err != nil {
			replyErr(w, appliance.Problem("edge.no-root", err))
			return
		}
		reply(w, rootReply{PEM: string(pem)})
	})
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.health()) })
	return mux
}

type inFlightReply struct {
	InFlight int `json:"in_flight"`
}

type rootReply struct {
	PEM string `json:"pem"`
}

func (e *edge) putRoutes(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRoutes))
	if err != nil {
		replyErr(w, appliance.Problem("edge.routes-too-large", err, "limit", MaxRoutes))
		return
	}
	routes, err := parseRoutes(data)
	if err == nil {
		err = e.applyRoutes(routes)
	}
	replyErr(w, err)
}

// sameRoutes compares documents, times by their instant.
func sameRoutes(a, b appliance.Routes) bool {
	return reflect.DeepEqual(inUTC(a), inUTC(b))
}

func inUTC(r appliance.Routes) appliance.Routes {
	hosts := make(map[string]appliance.Host, len(r.Hosts))
	for name, h := range r.Hosts {
		h.Gate.Until = h.Gate.Until.UTC().Round(0)
		hosts[name] = h
	}
	r.Hosts = hosts
	return r
}

func (e *edge) health() Health {
	total, _, _ := e.visitors.count(time.Now())
	h := Health{
		Schema: 1, Version: appliance.Version(), Started: e.started.UTC(), Routes: e.board.current.Load().routes.Version,
		Connections: total, InFlight: e.board.total(), Held: e.counters.held.Load(), Refused: e.counters.refused.Load(),
		Requests: e.counters.requests.Load(),
	}
	for i := range h.Answers {
		h.Answers[i] = e.counters.classes[i].Load()
	}
	return h
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the daemon may be gone
}

// replyErr answers 204 for nil. Errors for people travel with their id.
func replyErr(w http.ResponseWriter, err error) {
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var known *appliance.Error
	if !errors.As(err, &known) {
		known = appliance.Problem("edge.failed", err, "detail", err)
	}
	status := http.StatusUnprocessableEntity
	if known.ID == "edge.routes-older" {
		status = http.StatusConflict
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errorReply{Error: known.Message, Cause: causeOf(known)})
}

type errorReply struct {
	Error appliance.Message `json:"error"`
	Cause string            `json:"cause,omitempty"`
}

func causeOf(e *appliance.Error) string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// peerListener hangs up on everybody but root and our own user.
type peerListener struct {
	net.Listener
	log *slog.Logger
}

// Accept implements net.Listener.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peer(conn)
		if err == nil && welcome(uid) {
			return conn, nil
		}
		l.log.Warn("hung up on a stranger at the control socket", "uid", uid, "error", err)
		_ = conn.Close()
	}
}

// welcome are root and our own user.
func welcome(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// peer is the user at the other end of a unix socket.
func peer(conn net.Conn) (uint32, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("not a unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// dialControl opens a connection to the socket of an edge.
func dialControl(path string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
}
