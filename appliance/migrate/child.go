// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// Command is the hidden command of our binary that is the child.
const Command = "internal-migrate"

// Child reads one request, carries it out and prints one report. Work that fails
// is a report too; the error is for a child that could not report.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var q request
	// Only as much as the request is read: a child that holds a view waits for
	// the end of its input.
	if err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&q); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if q.Schema != wireSchema {
		return fmt.Errorf("the request has schema %d, this program knows %d", q.Schema, wireSchema)
	}
	if err := become(q.User); err != nil {
		return err
	}
	if q.Verb == verbHold {
		return q.hold(ctx, in, out)
	}
	rep, err := q.serve(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(rep); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	return nil
}

// become gives up root for good. What was opened so far are only our pipes.
func become(uid int) error {
	if uid <= 0 {
		return errors.New("nothing is done as root")
	}
	if os.Geteuid() == uid {
		return nil
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("become user %d: %w", uid, err)
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %d: root could be had again", uid)
	}
	return nil
}

func (q request) serve(ctx context.Context) (report, error) {
	rep := report{Schema: wireSchema}
	switch q.Verb {
	case verbUp:
		done, err := q.up(ctx)
		rep.Migrated = &done
		return rep.with(err)
	case verbStatus:
		status, err := q.status(ctx)
		rep.Status = &status
		return rep.with(err)
	default:
		done, err := q.work(ctx)
		rep.Done = done
		return rep.with(err)
	}
}

// with puts a failure into the report; other errors stay errors.
func (r report) with(err error) (report, error) {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return report{Schema: wireSchema, Failure: f}, nil
	}
	return r, err
}
