// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

const (
	firstRetry   = 250 * time.Millisecond
	longestRetry = 30 * time.Second
)

// Events implements [appliance.EngineWatch]. It also wakes after each
// reconnection, since events were lost meanwhile. The channel is closed when
// ctx ends.
func (e *Engine) Events(ctx context.Context) <-chan struct{} {
	wake := make(chan struct{}, 1)
	go func() {
		defer close(wake)
		for retry := firstRetry; ctx.Err() == nil; retry = min(2*retry, longestRetry) {
			if e.listen(ctx, wake) {
				retry = firstRetry
			}
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	}()
	return wake
}

// listen wakes until the stream breaks; it tells whether the engine was there.
func (e *Engine) listen(ctx context.Context, wake chan<- struct{}) bool {
	// A new version may answer after the break, so each stream negotiates anew.
	if e.renew() != nil || e.Ping(ctx) != nil {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, failed := e.api.Load().Events(ctx, events.ListOptions{Filters: ourEvents()})
	for {
		select {
		case wake <- struct{}{}:
		default: // the reader has a wake-up waiting already
		}
		select {
		case <-messages:
		case err := <-failed:
			return err != nil // a stream that was open always ends with a reason
		}
	}
}

// ourEvents leaves out the three events of every health test.
func ourEvents() filters.Args {
	return filters.NewArgs(
		filters.Arg("type", "container"), filters.Arg("label", labelStack),
		filters.Arg("event", "start"), filters.Arg("event", "die"), filters.Arg("event", "oom"),
		filters.Arg("event", "destroy"), filters.Arg("event", "pause"), filters.Arg("event", "unpause"),
		filters.Arg("event", "health_status"),
	)
}
