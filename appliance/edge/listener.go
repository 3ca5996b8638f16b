// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxConns bounds the connections of one listener; more of them wait in the
// kernel's queue. One client can not have them all, see maxClientConns.
const maxConns = 4096

// gateListener is a listener that can stop accepting without hanging up on
// anybody: what it accepted is served, what waits in the kernel's queue is
// left to the next process, which holds the same socket.
type gateListener struct {
	inner net.Listener
	conns chan net.Conn
	slots chan struct{}
	crowd *crowd

	stopOnce, closeOnce sync.Once
	stopped, closed     chan struct{}
}

func newGateListener(inner net.Listener, c *crowd) *gateListener {
	l := &gateListener{
		inner: inner, conns: make(chan net.Conn), slots: make(chan struct{}, maxConns), crowd: c,
		stopped: make(chan struct{}), closed: make(chan struct{}),
	}
	go l.pump()
	return l
}

// pump accepts until the inner listener is closed. A connection that came in
// at that moment is still handed over. What a client has too many of is closed
// unanswered: to say why would cost a handshake.
func (l *gateListener) pump() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.stopped:
			return
		}
		conn, err := l.inner.Accept()
		if err != nil && !l.isStopped() {
			<-l.slots
			if temporary(err) {
				continue
			}
			l.stop()
		}
		if err != nil {
			return
		}
		leave, ok := l.crowd.enter(conn.RemoteAddr().String())
		if !ok {
			_ = conn.Close()
			<-l.slots
			continue
		}
		counted := &slotConn{Conn: conn, slots: l.slots, leave: leave}
		select {
		case l.conns <- counted:
		case <-l.closed:
			_ = counted.Close() // nobody will ever serve it
			return
		}
	}
}

// Accept implements net.Listener. After stop it waits for close.
func (l *gateListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// inject serves a connection that did not come over the network.
func (l *gateListener) inject(conn net.Conn) error {
	select {
	case l.conns <- conn:
		return nil
	case <-l.closed:
		return net.ErrClosed
	}
}

// stop ends accepting. Our copy of the socket is closed; the supervisor's
// stays, with its queue.
func (l *gateListener) stop() {
	l.stopOnce.Do(func() {
		close(l.stopped)
		_ = l.inner.Close() // it is only a copy
	})
}

func (l *gateListener) isStopped() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// Close implements net.Listener.
func (l *gateListener) Close() error {
	l.stop()
	l.closeOnce.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *gateListener) Addr() net.Addr { return l.inner.Addr() }

func temporary(err error) bool {
	ne, ok := err.(interface{ Temporary() bool })
	return ok && ne.Temporary()
}

// slotConn gives its slot and its client's place back when it is closed.
type slotConn struct {
	net.Conn
	slots chan struct{}
	leave func()
	once  sync.Once
}

// Close implements net.Conn.
func (c *slotConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots; c.leave() })
	return err
}

// gate is the listener wrapper that makes Caddy's listeners gates.
type gate struct {
	seat   *seat
	server *caddyhttp.Server
	ctx    caddy.Context // of the server: what it is made of is asked for later
}

var _ caddy.ListenerWrapper = (*gate)(nil)

// CaddyModule implements caddy.Module.
func (g *gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.rochdale_gate", New: func() caddy.Module { return &gate{seat: g.seat} }}
}

// Provision implements caddy.Provisioner: every connection is followed from
// here on, so that the edge knows when it may leave.
func (g *gate) Provision(ctx caddy.Context) error {
	if srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		g.server, g.ctx = srv, ctx
		srv.RegisterConnState(g.seat.edge().visitors.track)
		boundStreams(srv)
	}
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (g *gate) WrapListener(ln net.Listener) net.Listener {
	l := newGateListener(ln, g.seat.edge().conns)
	g.seat.edge().addListener(l, g)
	return l
}
