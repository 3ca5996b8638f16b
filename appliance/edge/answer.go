// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// statusClientGone is only for the log: the client hung up before the answer.
const statusClientGone = 499

// answer is the response on its way out: it takes out what tells about us,
// asks clients to leave while the edge leaves, and makes the line for the log.
type answer struct {
	caddyhttp.ResponseWriterWrapper
	edge   *edge
	req    *http.Request
	wrote  bool
	status int
	bytes  int64
	line   logLine
}

type logLine struct {
	start time.Time
	host  string
	path  string
	err   string
}

func newAnswer(w http.ResponseWriter, r *http.Request, e *edge) *answer {
	e.counters.requests.Add(1)
	a := &answer{edge: e, req: r, line: logLine{start: time.Now(), path: maskPath(r.URL.Path)}}
	a.ResponseWriter = w
	if r.ProtoMajor == 3 {
		e.counters.quic.Add(1)
	}
	return a
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.wrote {
		return
	}
	h := a.Header()
	delete(h, "Server")
	delete(h, "Via")
	delete(h, "X-Powered-By")
	if status < 200 && status != http.StatusSwitchingProtocols {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.wrote, a.status = true, status
	if a.edge.leaving() && status != http.StatusSwitchingProtocols && a.req.ProtoMajor < 3 {
		h.Set("Connection", "close")
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// ReadFrom implements io.ReaderFrom.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
	n, err := io.Copy(a.ResponseWriter, r)
	a.bytes += n
	return n, err
}

// finish writes the line of the log. Headers, cookies, queries and the secret
// parts of paths are never in it.
func (a *answer) finish() {
	if a.req.ProtoMajor == 3 {
		a.edge.counters.quic.Add(-1)
	}
	a.edge.counters.count(a.status)
	client, _, err := net.SplitHostPort(a.req.RemoteAddr)
	if err != nil {
		client = a.req.RemoteAddr
	}
	attrs := []slog.Attr{
		slog.String("client", client), slog.String("host", clip(a.line.host)), slog.String("method", clip(a.req.Method)),
		slog.String("path", clip(a.line.path)), slog.String("proto", a.req.Proto), slog.Int("status", a.status),
		slog.Int64("bytes", a.bytes), slog.Int64("ms", time.Since(a.line.start).Milliseconds()),
	}
	level := slog.LevelInfo
	if a.line.err != "" {
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", a.line.err))
	}
	a.edge.opts.Log.LogAttrs(a.req.Context(), level, "request", attrs...)
}

// maxLogged bounds one value in the log, in bytes.
const maxLogged = 256

func clip(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}

// secretSegments are path segments after which comes a secret: links that let
// somebody in.
func secretSegments() []string {
	return []string{"join", "invite", "reset", "verify", "confirm", "login", "token", "unsubscribe", "recover"}
}

// maskPath hides what follows a segment that announces a secret: /join/abc
// becomes /join/*.
func maskPath(path string) string {
	for _, word := range secretSegments() {
		if i := indexSegment(path, word); i >= 0 && i < len(path) {
			return path[:i] + "*"
		}
	}
	return path
}

// indexSegment is the place after "/word/" in path, or -1.
func indexSegment(path, word string) int {
	i := strings.Index(strings.ToLower(path), "/"+word+"/")
	if i < 0 {
		return -1
	}
	return i + len(word) + 2
}
