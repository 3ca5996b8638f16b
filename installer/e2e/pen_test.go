// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"rochdale/stacks/coop/walk"
)

// pen lets a scribe write without a rest, and goes on when a write fails.
type pen struct {
	mu     sync.Mutex
	scribe *walk.Scribe
	failed int
	last   error
	stop   context.CancelFunc
	writer sync.WaitGroup
}

// tally is what became of the writes.
type tally struct {
	acknowledged, failed int
	last                 error // of those that failed
}

// begin writes until end, or until the test is over.
func (p *pen) begin(t *testing.T, ctx context.Context) {
	t.Helper()
	writing, stop := context.WithCancel(ctx)
	p.stop = stop
	t.Cleanup(p.end)
	p.writer.Go(func() {
		for writing.Err() == nil {
			p.write(context.WithoutCancel(writing))
			time.Sleep(200 * time.Millisecond)
		}
	})
}

func (p *pen) end() {
	p.stop()
	p.writer.Wait()
}

func (p *pen) write(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.scribe.Write(ctx); err != nil {
		p.failed, p.last = p.failed+1, err
	}
}

func (p *pen) tally() tally {
	p.mu.Lock()
	defer p.mu.Unlock()
	return tally{p.scribe.Acknowledged(), p.failed, p.last}
}

// again waits until another write is acknowledged.
func (p *pen) again(t *testing.T, within time.Duration) {
	t.Helper()
	before := p.tally()
	for deadline := time.Now().Add(within); ; time.Sleep(300 * time.Millisecond) {
		now := p.tally()
		if now.acknowledged > before.acknowledged {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody can write: %v", now.last)
		}
	}
}

// forget gives up what was written after the first n that were acknowledged.
func (p *pen) forget(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scribe.Forget(n)
}

// check wants all that was acknowledged to be there.
func (p *pen) check(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.scribe.Check(ctx)
}
