// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"

	"rochdale/appliance/host"
)

// hold runs a child that goes on after its report, and does something meanwhile
// with what the child holds open. The child ends when its input does: also when
// this process is killed.
func (r runner) hold(ctx context.Context, o order, do func(context.Context, outcome) error) (report, error) {
	var failed error
	rep, err := r.attempt(ctx, o, func(ctx context.Context, j job) (res host.Result, err error) {
		read, write, err := os.Pipe()
		if err != nil {
			return res, err
		}
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		said := &firstLine{ready: make(chan struct{})}
		j.Stdin, j.Stdout = read, said
		var meanwhile sync.WaitGroup
		meanwhile.Go(func() { failed = errors.Join(o.meanwhile(inner, write, j.asked, said, do), write.Close()) })
		_, err = r.units.RunTransient(ctx, j.Transient)
		cancel()
		_ = read.Close() // who still writes to a child that is gone hears of it
		meanwhile.Wait()
		return host.Result{Stdout: said.line()}, err
	})
	if err != nil {
		return rep, err
	}
	return rep, failed
}

// meanwhile asks, waits for the report, and does what there is to do.
func (o order) meanwhile(ctx context.Context, write *os.File, asked []byte, said *firstLine, do func(context.Context, outcome) error) error {
	if _, err := write.Write(append(asked, '\n')); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-said.ready:
	}
	rep, err := o.read(said.line())
	if err != nil || rep.Done == nil {
		return err
	}
	return do(ctx, *rep.Done)
}

// firstLine keeps the first line of what is written to it, within bounds.
type firstLine struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	whole bool
	ready chan struct{} // closed when the line is there
}

// Write implements io.Writer; what comes after the line is dropped.
func (l *firstLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.whole {
		return len(p), nil
	}
	part, _, ended := bytes.Cut(p, []byte("\n"))
	l.buf.Write(part[:min(len(part), max(0, maxReport+1-l.buf.Len()))])
	if ended {
		l.whole = true
		close(l.ready)
	}
	return len(p), nil
}

func (l *firstLine) line() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}
