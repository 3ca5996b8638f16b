// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"strings"
	"time"

	"rochdale/stacks"
)

// one brings one service up unless it is, or unless its turn comes later.
func (l *look) one(ctx context.Context, s stacks.Service) (up bool, err error) {
	x, running := l.c.best(l.containers, s.Name)
	switch {
	case running && x.Health == "healthy":
		return true, nil
	case running && x.Health == "unhealthy":
		return true, l.heal(ctx, s, x)
	case running:
		return l.attempt(ctx, s, func() error { return l.await(ctx, x) })
	}
	ended := l.c.of(l.containers, s.Name)
	if wait := l.wait(s, ended); wait > 0 {
		l.dueIn(wait)
		if last := l.failed[s.Name]; last.Err != nil {
			l.findings = append(l.findings, failing(l.stack, last.Err))
		}
		return false, nil
	}
	return l.attempt(ctx, s, func() error { return l.up(ctx, s, reuse(ended)) })
}

// wait is how long until the service is started again.
func (l *look) wait(s stacks.Service, ended []Container) time.Duration {
	f := l.failed[s.Name]
	wait := time.Until(f.Last.Add(backoff(f.Count + 1)))
	if len(ended) > 0 {
		wait = max(wait, time.Until(ended[0].Finished.Add(backoff(ended[0].Crashes))))
	}
	return wait
}

// attempt counts failures in a row.
func (l *look) attempt(ctx context.Context, s stacks.Service, do func() error) (bool, error) {
	err := do()
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err == nil {
		delete(l.failed, s.Name)
		return true, l.see(ctx)
	}
	f := attempts{Count: l.failed[s.Name].Count + 1, Last: time.Now(), Err: err}
	l.failed[s.Name] = f
	l.dueIn(backoff(f.Count + 1))
	return false, errors.Join(err, l.see(ctx))
}

// await gives a container that runs and has not shown itself yet some time.
func (l *look) await(ctx context.Context, x Container) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return l.Engine.WaitHealthy(ctx, x.ID)
}

func (l *look) up(ctx context.Context, s stacks.Service, suffix string) error {
	if err := l.load(ctx, l.c); err != nil {
		return err
	}
	l.Log.Info("starting", "stack", l.stack, "service", s.Name)
	return l.begin(ctx, l.c, s, suffix)
}

// heal restarts a service that runs and fails its own test. The engine has
// asked it several times before it calls it unhealthy.
func (l *look) heal(ctx context.Context, s stacks.Service, x Container) error {
	l.findings = append(l.findings, Finding{
		Message:  Message{ID: "daemon.unhealthy", Args: Args("stack", l.stack, "service", s.Name, "log", l.tail(ctx, x))},
		Severity: Failure,
	})
	if wait := time.Until(x.Started.Add(max(2*time.Minute, backoff(l.failed[s.Name].Count+1)))); wait > 0 {
		l.dueIn(wait)
		return nil
	}
	_, err := l.attempt(ctx, s, func() error {
		if err := l.retire(ctx, l.c, x); err != nil {
			return err
		}
		return l.up(ctx, s, NewSuffix())
	})
	return err
}

func (l *look) dueIn(wait time.Duration) {
	if at := time.Now().Add(wait); l.due.IsZero() || at.Before(l.due) {
		l.due = at
	}
}

// backoff is how long after its end a service is started again: at once the
// first time, then after 2, 4, 8 ... seconds, never more than five minutes.
func backoff(crashes int) time.Duration {
	if crashes < 2 {
		return 0
	}
	return min(time.Second<<min(crashes-1, 10), 5*time.Minute)
}

// loopFrom is how many crashes in ten minutes are a loop.
const loopFrom = 3

// judge finds services that end again and again.
func (l *look) judge(ctx context.Context) {
	for _, s := range l.c.services() {
		mine := l.c.of(l.containers, s.Name)
		if len(mine) == 0 || mine[0].Crashes < loopFrom {
			continue
		}
		severity := Failure
		if mine[0].Running() {
			severity = Warning
		}
		l.findings = append(l.findings, Finding{Message: l.crashed(ctx, mine[0]), Severity: severity})
	}
}

func (l *look) crashed(ctx context.Context, x Container) Message {
	args := Args("stack", l.stack, "service", x.Service, "code", x.ExitCode, "count", x.Crashes, "memory", x.Memory>>20, "log", l.tail(ctx, x))
	if x.OOMKilled {
		return Message{ID: "daemon.out-of-memory", Args: args}
	}
	return Message{ID: "daemon.crash-loop", Args: args}
}

// tail is the last lines of a container, bounded.
func (l *look) tail(ctx context.Context, x Container) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out := &tailWriter{max: 2 << 10}
	if err := l.Engine.Logs(ctx, x.ID, LogOptions{Tail: 10}, out); err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(out.buf), ""))
}

// tailWriter keeps the last max bytes.
type tailWriter struct {
	buf []byte
	max int
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.buf = append(w.buf, p...)
	if over := len(w.buf) - w.max; over > 0 {
		w.buf = append(w.buf[:0], w.buf[over:]...)
	}
	return len(p), nil
}
