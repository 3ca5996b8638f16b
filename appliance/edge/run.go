// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"

	"github.com/caddyserver/caddy/v2"
	sdnotify "github.com/coreos/go-systemd/v22/daemon"
)

// edge is the one that runs in this process.
type edge struct {
	opts     Options
	board    *switchboard
	store    store
	apply    sync.Mutex // one document after the other
	visitors *visitors
	conns    *crowd // connections by client
	requests *crowd // requests by client, held ones too
	ledger   *ledger
	pages    *template.Template
	counters counters
	started  time.Time

	leave    context.Context // ends when the edge was told to stop
	leaveNow context.CancelFunc
	giveUp   chan struct{} // closed when held requests can not be held longer

	mu        sync.Mutex
	listeners []*gateListener
	secure    *gateListener // the first that speaks TLS
	gate      *gate         // of the server that speaks TLS
	doors     []*quicDoor
	root      atomic.Pointer[[]byte]
	wake      chan struct{} // there may be certificates to get
}

// Run serves until ctx is done, then leaves without dropping a request and
// returns nil. Caddy is process-global: only one edge runs in a process.
func Run(ctx context.Context, o Options) error {
	e, err := newEdge(o)
	if err != nil {
		return err
	}
	s := takeSeat()
	if !s.taken.CompareAndSwap(false, true) {
		return errors.New("another edge runs in this process")
	}
	defer s.taken.Store(false)
	s.current.Store(e)
	control, err := e.listenControl(ctx)
	if err != nil {
		return err
	}
	defer control.Close()
	if err := e.start(ctx); err != nil {
		return err
	}
	defer e.serveControl(control)()
	warming := e.keepWarm(ctx)
	go e.watchdog(ctx)
	go e.settle()
	e.ready()
	<-ctx.Done()
	e.stop() //nolint:contextcheck // ctx is over; leaving has a bound of its own
	<-warming
	return nil
}

func newEdge(o Options) (*edge, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	files, own := host.NewFiles(), ownAttr()
	own.Mode = 0o700
	if err := errors.Join(files.MkdirAll(o.Dir, own), files.MkdirAll(filepath.Join(o.Dir, "caddy"), own)); err != nil {
		return nil, appliance.Problem("edge.start-failed", err, "detail", err)
	}
	e := &edge{
		opts: o, board: newSwitchboard(), store: newStore(o.Dir), visitors: newVisitors(), ledger: newLedger(o.Dir, o.Log),
		conns: newCrowd(maxClientConns), requests: newCrowd(maxClientRequests),
		pages: newPages(), started: time.Now(), giveUp: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	e.leave, e.leaveNow = context.WithCancel(context.Background())
	routes, err := e.store.load()
	if err != nil {
		// The daemon sends the document again when it sees that we have none.
		o.Log.Error("the kept routes can not be used; waiting for the daemon to send them", "error", err)
		return e, nil
	}
	e.board.install(routes)
	return e, nil
}

func (e *edge) start(ctx context.Context) error {
	// Caddy keeps an id of the installation in its data folder.
	if err := os.Setenv("XDG_DATA_HOME", e.opts.Dir); err != nil {
		return err
	}
	config, err := caddyConfig(e.opts)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return appliance.Problem("edge.start-failed", err, "detail", err)
	}
	e.openDoors(ctx)
	return nil
}

func (e *edge) ready() {
	_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyReady) // without systemd nobody listens
	e.opts.Log.Info("the edge answers requests", "hosts", len(e.board.current.Load().hosts))
	if e.opts.Started != nil {
		e.opts.Started()
	}
}

// settleAfter is when the start is over, certificates included.
const settleAfter = 15 * time.Second

// settle gives back the memory that only the start needed.
func (e *edge) settle() {
	select {
	case <-e.leave.Done():
	case <-time.After(settleAfter):
		if err := host.ForgetStartup(); err != nil {
			e.opts.Log.Warn("the memory of the start was not given back", "error", err)
		}
	}
}

// stop leaves. Caddy's own Stop does not wait for requests in flight.
func (e *edge) stop() {
	_, _ = sdnotify.SdNotify(false, sdnotify.SdNotifyStopping)
	began := time.Now()
	if cut := e.drain(); cut > 0 {
		e.opts.Log.Warn("left while requests were in flight", "requests", cut)
	}
	for _, d := range e.doorsNow() {
		if err := d.close(); err != nil {
			e.opts.Log.Warn("close HTTP/3", "error", err)
		}
	}
	if err := caddy.Stop(); err != nil {
		e.opts.Log.Error("stop", "error", err)
	}
	e.waitForStreams()
	e.opts.Log.Info("the edge has left", "after", time.Since(began).Round(time.Millisecond).String())
}

func (e *edge) leaving() bool { return e.leave.Err() != nil }

func (e *edge) addListener(l *gateListener, g *gate) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.listeners = append(e.listeners, l)
	if g.server != nil && len(g.server.TLSConnPolicies) > 0 && e.secure == nil {
		e.secure, e.gate = l, g
	}
}

// secureParts are the server that speaks TLS, and how it does.
func (e *edge) secureParts() (*tls.Config, http.Handler, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gate == nil {
		return nil, nil, errors.New("no listener for HTTPS")
	}
	return e.gate.server.TLSConnPolicies.TLSConfig(e.gate.ctx), e.gate.server, nil
}

func (e *edge) listenersNow() []*gateListener {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*gateListener(nil), e.listeners...)
}

// applyRoutes makes r the document of now, durably. The same document again
// changes nothing; an older one, or another with the same version, is refused.
func (e *edge) applyRoutes(r appliance.Routes) error {
	e.apply.Lock()
	defer e.apply.Unlock()
	old := e.board.current.Load().routes
	if r.Version < old.Version || r.Version == old.Version && !sameRoutes(r, old) {
		return appliance.Problem("edge.routes-older", nil, "version", r.Version, "have", old.Version)
	}
	if err := e.store.save(r); err != nil {
		return appliance.Problem("edge.routes-disk", fmt.Errorf("keep the routes: %w", err), "detail", err)
	}
	e.board.install(r)
	e.wakeUp()
	return nil
}

// counters are numbers for people.
type counters struct {
	requests, held, refused atomic.Int64
	quic                    atomic.Int64 // requests over HTTP/3 in flight: their connections are not tracked
	classes                 [6]atomic.Int64
}

func (c *counters) count(status int) {
	if class := status / 100; class > 0 && class < len(c.classes) {
		c.classes[class].Add(1)
	}
}
