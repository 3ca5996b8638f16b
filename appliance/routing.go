// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// routing sends the edge its document: state commits first, the edge follows.
type routing struct {
	store Store
	edge  Edge

	mu    sync.Mutex // one document at a time, so that none overtakes a newer one
	sent  map[string]Host
	known bool // the edge has what sent says
	err   error
	since time.Time // of err
	kick  chan struct{}
}

func newRouting(s Store, e Edge) *routing {
	return &routing{store: s, edge: e, kick: make(chan struct{}, 1)}
}

// errNoHosts is why nothing can be sent, which another attempt would not change.
var errNoHosts = errors.New("nobody knows the names that the edge should answer to")

// wanted gives the hosts that the world should see now. What it can not know it
// takes from has, the hosts that the edge has.
type wanted func(has func() (map[string]Host, error)) (map[string]Host, error)

// send gives the edge the hosts that the world should see now, unless it has
// them. It returns nil when the edge has them. hosts is asked while no other
// document is on its way.
func (r *routing) send(ctx context.Context, hosts wanted) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := hosts(func() (map[string]Host, error) { return r.has(ctx) })
	if errors.Is(err, errNoHosts) || err == nil && r.known && maps.Equal(next, r.sent) {
		return err
	}
	if err == nil {
		err = r.apply(ctx, next)
	}
	if err != nil && r.err == nil {
		r.since = time.Now()
	}
	r.err = err
	if r.known = err == nil; r.known {
		r.sent = maps.Clone(next)
	}
	return err
}

// has gives the hosts that the edge has, and asks it when nobody knows.
func (r *routing) has(ctx context.Context) (map[string]Host, error) {
	if r.known {
		return r.sent, nil
	}
	ctx, cancel := context.WithTimeout(ctx, edgeLimit)
	defer cancel()
	theirs, err := r.edge.Routes(ctx)
	if err == nil {
		r.sent, r.known, r.err = theirs.Hosts, true, nil
	}
	return r.sent, err
}

// edgeLimit bounds one question to the edge.
const edgeLimit = 15 * time.Second

// apply sends the document. An edge that has a newer one than we ever sent
// outlived a state that was lost: then we count on from there.
func (r *routing) apply(ctx context.Context, hosts map[string]Host) error {
	ctx, cancel := context.WithTimeout(ctx, edgeLimit)
	defer cancel()
	err := r.applyAs(ctx, hosts, 0)
	if !IsProblem(err, "edge.routes-older") {
		return err
	}
	theirs, err := r.edge.Routes(ctx)
	if err != nil {
		return err
	}
	return r.applyAs(ctx, hosts, theirs.Version+1)
}

func (r *routing) applyAs(ctx context.Context, hosts map[string]Host, atLeast uint64) error {
	version, err := r.store.NextRoutesVersion(ctx, atLeast)
	if err != nil {
		return err
	}
	return r.edge.Apply(ctx, Routes{Schema: RoutesSchema, Version: version, Hosts: hosts})
}

// finding is there when the edge could not be told for a while.
func (r *routing) finding() *Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil || time.Since(r.since) < time.Minute {
		return nil
	}
	return &Finding{Message: Message{ID: "daemon.edge-silent", Args: Args("detail", r.err)}, Severity: Failure}
}

func (r *routing) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

const edgeRetry = 3 * time.Second

// keepRouting sends when something changed, and again and again while the edge
// does not take it.
func (d *Daemon) keepRouting(ctx context.Context) {
	for ctx.Err() == nil {
		var again <-chan time.Time
		if err := d.route(ctx); err != nil && !errors.Is(err, errNoHosts) {
			d.Log.Warn("the edge did not take the routes", "error", err)
			again = time.After(edgeRetry)
		}
		select {
		case <-ctx.Done():
		case <-again:
		case <-d.routes.kick:
		}
	}
}

// route sends the edge what it should have now. Without an error the edge has it.
func (d *Daemon) route(ctx context.Context) error {
	releases, err := d.Store.Releases(ctx)
	if err != nil {
		return err
	}
	return d.routes.send(ctx, func(has func() (map[string]Host, error)) (map[string]Host, error) { return d.hosts(releases, has) })
}

// mustRoute is for operations that may not go on before the edge follows: it
// tries for half a minute.
func (d *Daemon) mustRoute(ctx context.Context) error {
	limit := time.Now().Add(30 * time.Second)
	for {
		err := d.route(ctx)
		if err == nil || errors.Is(err, errNoHosts) || ctx.Err() != nil || time.Now().After(limit) {
			return err
		}
		sleep(ctx, time.Second)
	}
}

// hosts makes the document's hosts. A stack that was not looked at yet keeps what
// the edge has for it, which knows better than a guess: one whose bundle can not be
// opened, or that takes long to start, is in nobody's way and loses nothing.
func (d *Daemon) hosts(releases []Release, has func() (map[string]Host, error)) (map[string]Host, error) {
	config, ok := d.config.get()
	if !ok {
		return nil, d.noHosts()
	}
	hosts := map[string]Host{}
	for _, r := range releases {
		entry, wanted := config.Stacks[r.Stack]
		if !wanted || r.Stopped {
			continue
		}
		host, known, err := d.hostOf(r.Stack, has)
		if err != nil {
			return nil, err
		}
		if !known {
			continue
		}
		hosts[entry.Domain] = host
		for _, alias := range entry.Aliases {
			hosts[alias] = Host{Stack: r.Stack, RedirectTo: entry.Domain, Gate: Gate{Mode: GateOpen}}
		}
	}
	return hosts, nil
}

// hostOf is where the requests of a stack go. known is false when nobody has looked
// at it yet and the edge does not have it either.
func (d *Daemon) hostOf(stack string, has func() (map[string]Host, error)) (h Host, known bool, err error) {
	v, _ := d.views.get(stack)
	h = Host{Stack: stack, Upstream: v.Upstream, Gate: Gate{Mode: GateOpen}}
	if !v.Seen {
		theirs, err := has()
		if err != nil {
			return h, false, err
		}
		if h, known = led(theirs, stack); !known {
			return h, false, nil
		}
	}
	if v.Gate.Mode != "" {
		h.Gate = v.Gate
	}
	return h, true, nil
}

// led finds where a document leads the requests of a stack, whatever its name.
func led(hosts map[string]Host, stack string) (Host, bool) {
	for _, h := range hosts {
		if h.Stack == stack && h.RedirectTo == "" {
			return h, true
		}
	}
	return Host{}, false
}

// noHosts says why nobody knows the names.
func (d *Daemon) noHosts() error {
	m := Message{ID: "daemon.unexpected", Args: Args("detail", errNoHosts)}
	if f := d.config.finding(); f != nil {
		m = f.Message
	}
	return &Error{Message: m, Code: ExitCheckFailed, Err: errNoHosts}
}

// drainLimit is how long requests on the old container may take.
const (
	drainLimit = 30 * time.Second
	drainPause = 50 * time.Millisecond
)

// drain waits until no request is at the address any more, at most drainLimit.
func (d *Daemon) drain(ctx context.Context, upstream string) error {
	for limit := time.Now().Add(drainLimit); ; {
		n, err := d.Edge.InFlight(ctx, upstream)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && n == 0 {
			return nil
		}
		if time.Now().After(limit) {
			d.Log.Warn("requests are cut off that took longer than the drain", "upstream", upstream, "requests", n, "error", err)
			return nil
		}
		if !sleep(ctx, drainPause) {
			return context.Cause(ctx)
		}
	}
}
