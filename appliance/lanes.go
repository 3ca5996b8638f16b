// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"sync"
	"time"
)

// wholeBox is the lane of operations that need every stack to stand still.
const wholeBox = ""

// lanes let one operation at a time touch a stack. Reconciling gives way: an
// operation that somebody asked for interrupts it.
type lanes struct {
	mu    sync.Mutex
	held  map[string]*hold
	taken map[string]int // how often, by stack
}

type hold struct {
	what  string
	yield context.CancelFunc // nil for an operation that is not interrupted
	gone  chan struct{}
}

func newLanes() *lanes { return &lanes{held: map[string]*hold{}, taken: map[string]int{}} }

// take holds the lane of a stack (or of the whole box) for an operation. When
// another operation holds it, or the whole box, it fails with "daemon.busy".
func (l *lanes) take(ctx context.Context, stack, what string) (release func(), err error) {
	for {
		l.mu.Lock()
		other := l.blocking(stack)
		if other == nil {
			release = l.hold(stack, &hold{what: what})
			l.taken[stack]++
			l.mu.Unlock()
			return release, nil
		}
		l.mu.Unlock()
		if other.yield == nil {
			return nil, Problem("daemon.busy", nil, "stack", stack, "plan", other.what).WithCode(ExitLocked)
		}
		other.yield()
		select {
		case <-other.gone:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// takes is how many operations there were so far that had the stack to themselves.
// Another number than before: one came in between, and may be over.
func (l *lanes) takes(stack string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if stack == wholeBox {
		return l.taken[wholeBox]
	}
	return l.taken[stack] + l.taken[wholeBox]
}

// visit holds the lane of a stack until release, or until an operation wants
// it: then ctx is done. ok is false when the lane is taken.
func (l *lanes) visit(parent context.Context, stack string) (ctx context.Context, release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocking(stack) != nil {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(parent)
	free := l.hold(stack, &hold{what: "reconcile", yield: cancel})
	return ctx, func() { cancel(); free() }, true
}

// settled waits until no operation holds the lane of the stack, at most for the
// given time.
func (l *lanes) settled(ctx context.Context, stack string, most time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		l.mu.Lock()
		other := l.blocking(stack)
		l.mu.Unlock()
		if other == nil || other.yield != nil {
			return nil
		}
		select {
		case <-other.gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-bounded.Done():
			return Problem("daemon.busy", nil, "stack", stack, "plan", other.what).WithCode(ExitLocked)
		}
	}
}

// hold is called with mu held.
func (l *lanes) hold(stack string, h *hold) (release func()) {
	h.gone = make(chan struct{})
	l.held[stack] = h
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, stack)
		close(h.gone)
	})
}

// blocking is called with mu held.
func (l *lanes) blocking(stack string) *hold {
	if h := l.held[wholeBox]; h != nil {
		return h
	}
	if stack != wholeBox {
		return l.held[stack]
	}
	for _, h := range l.held {
		return h
	}
	return nil
}
