// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"time"
)

// routing sends the edge its document: state commits first, the edge follows.
type routing struct {
	store Store
	edge  Edge

	mu    sync.Mutex // one document at a time, so that none overtakes a newer one
	sent  map[string]Host
	known bool // the edge has sent
	err   error
	since time.Time // of err
	kick  chan struct{}
}

func newRouting(s Store, e Edge) *routing {
	return &routing{store: s, edge: e, kick: make(chan struct{}, 1)}
}

// send gives the edge the hosts that the world should see now, unless it has
// them. wanted is asked while no other document is on its way.
func (r *routing) send(ctx context.Context, wanted func() (map[string]Host, bool)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts, ok := wanted()
	if !ok || r.known && reflect.DeepEqual(hosts, r.sent) {
		return nil
	}
	err := r.apply(ctx, hosts)
	if err != nil && r.err == nil {
		r.since = time.Now()
	}
	r.err = err
	if r.known = err == nil; r.known {
		r.sent = maps.Clone(hosts)
	}
	return err
}

// apply sends the document. An edge that has a newer one than we ever sent
// outlived a state that was lost: then we count on from there.
func (r *routing) apply(ctx context.Context, hosts map[string]Host) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
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
		if err := d.route(ctx); err != nil {
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

// route sends the edge what it should have now.
func (d *Daemon) route(ctx context.Context) error {
	releases, err := d.Store.Releases(ctx)
	if err != nil {
		return err
	}
	return d.routes.send(ctx, func() (map[string]Host, bool) { return d.hosts(releases) })
}

// mustRoute is for operations that may not go on before the edge follows: it
// tries for half a minute.
func (d *Daemon) mustRoute(ctx context.Context) error {
	limit := time.Now().Add(30 * time.Second)
	for {
		err := d.route(ctx)
		if err == nil || ctx.Err() != nil || time.Now().After(limit) {
			return err
		}
		sleep(ctx, time.Second)
	}
}

// hosts makes the document's hosts. It gives none while there is a stack that
// was not looked at yet: the edge's own copy knows better than a guess.
func (d *Daemon) hosts(releases []Release) (map[string]Host, bool) {
	config, ok := d.config.get()
	if !ok {
		return nil, false
	}
	hosts := map[string]Host{}
	for _, r := range releases {
		entry, wanted := config.Stacks[r.Stack]
		if !wanted || r.Stopped {
			continue
		}
		upstream, seen := d.views.upstream(r.Stack)
		if !seen {
			return nil, false
		}
		gate := Gate{Mode: GateOpen}
		if v, _ := d.views.get(r.Stack); v.Gate.Mode != "" {
			gate = v.Gate
		}
		hosts[entry.Domain] = Host{Stack: r.Stack, Upstream: upstream, Gate: gate}
		for _, alias := range entry.Aliases {
			hosts[alias] = Host{Stack: r.Stack, RedirectTo: entry.Domain, Gate: Gate{Mode: GateOpen}}
		}
	}
	return hosts, true
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
