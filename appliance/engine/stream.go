// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"rochdale/appliance"
)

const (
	streamLimit = 2 * time.Hour // the dump of a large database on a slow disk
	maxWords    = maxLineSize   // bytes of a program's last words
	// endLimit is how long a program may take to end after its output has ended.
	endLimit = 10 * time.Second
	endPause = 20 * time.Millisecond
)

var _ appliance.Streamer = (*Engine)(nil)

// errNoEnd is a program whose output ended and which goes on: the connection to
// it broke, and nobody knows what was lost.
var errNoEnd = errors.New("its output ended before it did")

// Stream implements [appliance.Streamer]. When ctx ends the program is left alone
// with its input and output closed, which ends those that read or write.
func (e *Engine) Stream(ctx context.Context, id string, p appliance.Program) error {
	var words tail
	code := 0
	err := e.call(ctx, streamLimit, func(ctx context.Context, c *client.Client) (err error) {
		code, err = stream(ctx, c, id, p, &words)
		return err
	})
	if err == nil && code != 0 {
		err = appliance.Problem("engine.program-failed", nil, "program", p.Argv[0], "code", code, "detail", oneLine(string(words.kept)))
	}
	return err
}

func stream(ctx context.Context, c *client.Client, id string, p appliance.Program, words io.Writer) (int, error) {
	o := container.ExecOptions{Cmd: p.Argv, AttachStdin: p.In != nil, AttachStdout: true, AttachStderr: true}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		o.Env = append(o.Env, name+"="+p.Env[name])
	}
	made, err := c.ContainerExecCreate(ctx, id, o)
	if err != nil {
		return 0, err
	}
	conn, err := c.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return 0, err
	}
	// The connection knows nothing of ctx.
	defer context.AfterFunc(ctx, conn.Close)()
	fed := feed(conn, p.In)
	out := p.Out
	if out == nil {
		out = io.Discard
	}
	_, err = stdcopy.StdCopy(out, words, conn.Reader)
	conn.Close() // also ends what is still fed
	in := <-fed
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	// A program that ends before it has read all its input resets the connection
	// after its last words. How it ended says more than that.
	left := p.In != nil && errors.Is(err, syscall.ECONNRESET)
	if err != nil && !left {
		return 0, err
	}
	code, ended := exitCode(ctx, c, made.ID)
	if ended == nil && code == 0 {
		ended = cmp.Or(in, err) // all was well but for what it should have read
	}
	return code, ended
}

// feed gives a program its input. A program that ends before it has read all is
// none that fails: its code says that.
func feed(conn types.HijackedResponse, in io.Reader) <-chan error {
	fed := make(chan error, 1)
	if in == nil {
		fed <- nil
		return fed
	}
	go func() {
		from := &reading{Reader: in}
		_, _ = io.Copy(conn.Conn, from)
		_ = conn.CloseWrite()
		fed <- from.failed
	}()
	return fed
}

// reading remembers why reading failed, apart from writing to who has left.
type reading struct {
	io.Reader
	failed error
}

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return n, err
}

// exitCode is how a program ended whose output has ended. The engine notices both
// apart from each other.
func exitCode(ctx context.Context, c *client.Client, id string) (int, error) {
	for end := time.Now().Add(endLimit); ; {
		i, err := c.ContainerExecInspect(ctx, id)
		switch {
		case err != nil:
			return 0, err
		case !i.Running:
			return i.ExitCode, nil
		case time.Now().After(end):
			return 0, errNoEnd
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(endPause):
		}
	}
}

// tail keeps the last bytes.
type tail struct{ kept []byte }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxWords; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}
