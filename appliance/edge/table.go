// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"rochdale/appliance"
)

// table is the document in the form that a request reads; it never changes.
type table struct {
	routes  appliance.Routes
	hosts   map[string]*hostEntry
	changed chan struct{} // closed when a newer table takes over
}

type hostEntry struct {
	name     string
	redirect string
	gate     appliance.Gate
	upstream *upstream // nil while nothing runs
}

// upstream is one address that requests go to.
type upstream struct {
	addr     string
	inFlight atomic.Int64
	streams  atomic.Pointer[scope]
}

// scope ends when no open host leads to its upstream any more: event streams
// and websockets would otherwise keep an upstream busy for hours.
type scope struct {
	context.Context
	end context.CancelFunc
}

func newScope() *scope {
	ctx, cancel := context.WithCancel(context.Background())
	return &scope{Context: ctx, end: cancel}
}

// switchboard holds the table of now and counts requests by upstream.
type switchboard struct {
	current atomic.Pointer[table]

	mu        sync.Mutex // held by writers only
	upstreams map[string]*upstream
}

func newSwitchboard() *switchboard {
	b := &switchboard{upstreams: map[string]*upstream{}}
	b.current.Store(&table{changed: make(chan struct{})})
	return b
}

// install makes r the document of now. When it returns, every request that
// still follows the old document has been counted at its upstream.
func (b *switchboard) install(r appliance.Routes) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := &table{routes: r, hosts: make(map[string]*hostEntry, len(r.Hosts)), changed: make(chan struct{})}
	open := map[string]bool{}
	for name, h := range r.Hosts {
		e := &hostEntry{name: name, redirect: h.RedirectTo, gate: h.Gate}
		if h.Upstream != "" {
			e.upstream = b.upstream(h.Upstream)
			open[h.Upstream] = open[h.Upstream] || e.mode(time.Now()) == appliance.GateOpen
		}
		next.hosts[name] = e
	}
	for addr := range open {
		if u := b.upstreams[addr]; open[addr] && u.streams.Load().Err() != nil {
			u.streams.Store(newScope()) // a gate that opens again
		}
	}
	old := b.current.Swap(next)
	close(old.changed)
	b.retire(open)
}

func (b *switchboard) upstream(addr string) *upstream {
	u := b.upstreams[addr]
	if u == nil {
		u = &upstream{addr: addr}
		u.streams.Store(newScope())
		b.upstreams[addr] = u
	}
	return u
}

// retire ends the streams of upstreams that no open host leads to, and forgets
// those that are idle.
func (b *switchboard) retire(open map[string]bool) {
	used := map[string]bool{}
	for _, h := range b.current.Load().hosts {
		if h.upstream != nil {
			used[h.upstream.addr] = true
		}
	}
	for addr, u := range b.upstreams {
		if !open[addr] {
			u.streams.Load().end()
		}
		if !used[addr] && u.inFlight.Load() == 0 {
			delete(b.upstreams, addr)
		}
	}
}

// inFlight is how many requests are at the address now.
func (b *switchboard) inFlight(addr string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.upstreams[addr]; u != nil {
		return int(u.inFlight.Load())
	}
	return 0
}

// total is how many requests are at any upstream now.
func (b *switchboard) total() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	sum := 0
	for _, u := range b.upstreams {
		sum += int(u.inFlight.Load())
	}
	return sum
}

func (b *switchboard) has(name string) bool {
	_, ok := b.current.Load().hosts[name]
	return ok
}

// mode is what the gate does now: a hold that has expired is closed.
func (e *hostEntry) mode(now time.Time) appliance.GateMode {
	switch {
	case e.gate.Mode == appliance.GateHold && !now.Before(e.gate.Until):
		return appliance.GateClosed
	case e.gate.Mode == "":
		return appliance.GateOpen
	default:
		return e.gate.Mode
	}
}

// ticket is one request's place at an upstream. Only the request's own
// goroutine touches it.
type ticket struct {
	board    *switchboard
	host     string
	upstream *upstream
	tries    int
}

// enter counts the request in at e's upstream. It reports false when a newer
// table took over in between and says something else: counting first and
// looking again is what makes an in-flight count of zero trustworthy. No
// ticket and true is an upstream that has as many requests as it may.
func (b *switchboard) enter(e *hostEntry) (*ticket, bool) {
	if e.upstream.inFlight.Add(1) > maxInFlight {
		e.upstream.inFlight.Add(-1)
		return nil, true
	}
	if now := b.current.Load().hosts[e.name]; now != nil && now.upstream == e.upstream && now.mode(time.Now()) == appliance.GateOpen {
		return &ticket{board: b, host: e.name, upstream: e.upstream}, true
	}
	e.upstream.inFlight.Add(-1)
	return nil, false
}

// move follows the document to the upstream of now. It is for a request whose
// dial failed, which therefore was not sent.
func (t *ticket) move() {
	e := t.board.current.Load().hosts[t.host]
	if e == nil || e.upstream == nil || e.upstream == t.upstream || e.mode(time.Now()) != appliance.GateOpen {
		return
	}
	if next, _ := t.board.enter(e); next != nil {
		t.leave()
		t.upstream = next.upstream
	}
}

func (t *ticket) leave() { t.upstream.inFlight.Add(-1) }
