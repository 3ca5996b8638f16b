// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// leaveBound is how long the edge waits for requests in flight when it is
	// told to stop; the unit's TimeoutStopSec has to be longer.
	leaveBound = 15 * time.Second
	// leaveAtLeast and leaveQuiet are how long idle clients get to use their
	// connection once more and to be told that it closes. Hanging up on an
	// idle connection at the moment when its client sends the next request
	// would lose that request: HTTP/1.1 has no other way to say goodbye.
	leaveAtLeast = 400 * time.Millisecond
	leaveQuiet   = 250 * time.Millisecond
	leaveTick    = 10 * time.Millisecond
	// silentAfter is when a connection that never sent a request counts no more.
	silentAfter = 2 * time.Second
	// farewell is for websockets, which get a close frame at the very end.
	farewell = 500 * time.Millisecond
)

// visitors follows the connections of all servers.
type visitors struct {
	mu    sync.Mutex
	conns map[net.Conn]visit
	last  time.Time // of the last change
}

type visit struct {
	state http.ConnState
	since time.Time
}

func newVisitors() *visitors { return &visitors{conns: map[net.Conn]visit{}, last: time.Now()} }

// track is a net/http ConnState hook.
func (v *visitors) track(conn net.Conn, state http.ConnState) {
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = now
	if state == http.StateClosed || state == http.StateHijacked {
		delete(v.conns, conn)
		return
	}
	v.conns[conn] = visit{state: state, since: now}
}

// count gives all connections, those that wait for an answer, and how long
// nothing has changed.
func (v *visitors) count(now time.Time) (total, busy int, quiet time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		if c.state == http.StateActive || c.state == http.StateNew && now.Sub(c.since) < silentAfter {
			busy++
		}
	}
	return len(v.conns), busy, now.Sub(v.last)
}

// drain stops accepting, asks clients to leave, and waits until nobody waits
// for an answer, at most leaveBound. It reports how many answers were cut.
func (e *edge) drain() int {
	start := time.Now()
	e.leaveNow()
	for _, l := range e.listenersNow() {
		l.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveBound)
	defer cancel()
	for _, d := range e.doorsNow() {
		go d.leave(ctx)
	}
	giveUp := time.AfterFunc(leaveBound-time.Second, func() { close(e.giveUp) })
	defer giveUp.Stop()
	tick := time.NewTicker(leaveTick)
	defer tick.Stop()
	for now := range tick.C {
		total, busy, quiet := e.visitors.count(now)
		quic := int(e.counters.quic.Load())
		total, busy = total+quic, busy+quic
		settled := busy == 0 && quiet >= leaveQuiet && now.Sub(start) >= leaveAtLeast
		if total == 0 || settled {
			return 0
		}
		if now.Sub(start) >= leaveBound {
			return busy
		}
	}
	return 0
}

// waitForStreams gives handlers of hijacked connections time to say goodbye.
func (e *edge) waitForStreams() {
	deadline := time.Now().Add(farewell)
	for e.board.total() > 0 && time.Now().Before(deadline) {
		time.Sleep(leaveTick)
	}
}
