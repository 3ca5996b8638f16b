// SPDX-License-Identifier: AGPL-3.0-or-later

package shelf

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/pkg/sftp"
)

// maxTalk bounds what a server may say in one call, in bytes: a file of the
// largest size and a folder full of names fit.
const maxTalk = 8 << 20

// farewell is how long the program has to end by itself.
const farewell = 5 * time.Second

// talk starts the program, does the work over it and waits for its end.
func (r remote) talk(ctx context.Context, work func(*sftp.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line, err := r.dial(ctx)
	if err != nil {
		return r.failed(err)
	}
	err = line.use(work)
	end := line.hangUp(cancel)
	if err == nil {
		return nil // what is done is done, however ssh ends
	}
	return r.failed(errors.Join(err, context.Cause(ctx), denied(end)))
}

// line is a running program and the two pipes to it.
type line struct {
	in, out *os.File // our ends
	ended   chan error
}

// dial gives the program files, not streams of ours: so it alone holds their
// other ends, and its death is the end of our reading.
func (r remote) dial(ctx context.Context) (*line, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	l := &line{in: in, out: out, ended: make(chan error, 1)}
	// A child of the program may outlive it and hold the pipes.
	context.AfterFunc(ctx, l.close)
	go func() {
		err := r.talker.Talk(ctx, r.argv, theirIn, theirOut)
		theirIn.Close()
		theirOut.Close()
		l.ended <- err
	}()
	return l, nil
}

func (l *line) use(work func(*sftp.Client) error) error {
	c, err := sftp.NewClientPipe(io.LimitReader(l.out, maxTalk), l.in)
	if err != nil {
		return err
	}
	err = work(c)
	return errors.Join(err, c.Close())
}

func (l *line) close() {
	l.in.Close()
	l.out.Close()
}

// hangUp closes the pipes, which ends a program that listens, and gives what it
// said at its end. One that does not listen is stopped.
func (l *line) hangUp(stop context.CancelFunc) error {
	l.close()
	defer time.AfterFunc(farewell, stop).Stop()
	return <-l.ended
}

// denied marks what ssh says when it is not let in.
func denied(err error) error {
	if err != nil && strings.Contains(err.Error(), "Permission denied") {
		return errors.Join(fs.ErrPermission, err)
	}
	return err
}
