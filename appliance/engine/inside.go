// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"rochdale/appliance"
)

const (
	execLimit   = time.Minute
	maxOutput   = 64 << 10
	failLines   = 20  // of its log, in an error
	maxLineSize = 400 // bytes of one of them
)

var errTooMuch = errors.New("it printed more than 64 KiB")

// Exec implements [appliance.Inside]. It takes at most a minute.
func (e *Engine) Exec(ctx context.Context, id string, argv []string) (string, error) {
	var out, errs head
	code := 0
	err := e.call(ctx, execLimit, func(ctx context.Context, c *client.Client) (err error) {
		code, err = run(ctx, c, id, argv, &out, &errs)
		return err
	})
	if err == nil && code != 0 {
		err = appliance.Problem("engine.program-failed", nil, "program", argv[0], "code", code, "detail", oneLine(errs.String()+" "+out.String()))
	}
	return out.String(), err
}

func run(ctx context.Context, c *client.Client, id string, argv []string, out, errs io.Writer) (int, error) {
	made, err := c.ContainerExecCreate(ctx, id, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, err
	}
	conn, err := c.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	// The connection knows nothing of ctx.
	defer context.AfterFunc(ctx, conn.Close)()
	if _, err := stdcopy.StdCopy(out, errs, conn.Reader); err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if errors.Is(err, errTooMuch) {
			return 0, appliance.Problem("engine.program-noisy", err, "program", argv[0])
		}
		return 0, err
	}
	return exitCode(ctx, c, made.ID)
}

// Logs implements [appliance.Inside]. Following ends with ctx or with the
// container.
func (e *Engine) Logs(ctx context.Context, id string, o appliance.LogOptions, w io.Writer) error {
	limit := slowLimit
	if o.Follow {
		limit = 365 * 24 * time.Hour
	}
	return e.call(ctx, limit, func(ctx context.Context, c *client.Client) error {
		stream, err := c.ContainerLogs(ctx, id, logOptions(o))
		if err != nil {
			return err
		}
		defer stream.Close()
		_, err = stdcopy.StdCopy(w, w, stream)
		return err
	})
}

func logOptions(o appliance.LogOptions) container.LogsOptions {
	l := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps, Tail: "all"}
	if o.Tail > 0 {
		l.Tail = strconv.Itoa(o.Tail)
	}
	if !o.Since.IsZero() {
		l.Since = fmt.Sprintf("%d.%09d", o.Since.Unix(), o.Since.Nanosecond())
	}
	return l
}

// lastLines is the end of a container's log, for an error. It is a help only:
// if the log can not be read, the error is still the error.
func (e *Engine) lastLines(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, quickLimit)
	defer cancel()
	var b head
	err := e.Logs(ctx, id, appliance.LogOptions{Tail: failLines}, &b)
	if err != nil && !errors.Is(err, errTooMuch) {
		return "(" + err.Error() + ")"
	}
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i, l := range lines {
		lines[i] = printable(l, maxLineSize)
	}
	return strings.Join(lines[max(0, len(lines)-failLines):], "\n")
}

func oneLine(s string) string { return printable(strings.Join(strings.Fields(s), " "), maxLineSize) }

// printable drops what could move a terminal's cursor, and bounds the size.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// head keeps the first 64 KiB and then refuses.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	if room := maxOutput - h.Len(); len(p) > room {
		h.Buffer.Write(p[:room])
		return room, errTooMuch
	}
	return h.Buffer.Write(p)
}
