// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"
)

// Caddy would serve HTTP/3 too, but has no bound for its connections: one
// client could open them without end. So the listener for it is ours, and what
// it hears goes to the same handlers.
const (
	// maxQUIC bounds the connections of all clients, maxClientQUIC those of one.
	// A browser that is turned away comes over TCP.
	maxQUIC, maxClientQUIC = 1024, 256
	// maxQUICStreams bounds the requests that one connection carries at once. It
	// is lower than over TCP because the library has no deadline for headers.
	maxQUICStreams = 64
	// unverifiedQUIC is from how many connections on a client has to show that it
	// has the address that it says: somebody else could write it on a packet.
	unverifiedQUIC = 16

	quicHandshake = 10 * time.Second
	quicIdle      = 30 * time.Second // without a packet
	quicQuiet     = 2 * time.Minute  // without a request
)

// quicDoor is one socket for HTTP/3.
type quicDoor struct {
	transport *quic.Transport
	listener  *quic.EarlyListener
	server    *http3.Server
	clients   *crowd
	count     atomic.Int64
}

// openQUIC begins to serve h at an address in Caddy's notation.
func openQUIC(ctx context.Context, address string, config *tls.Config, h http.Handler) (*quicDoor, error) {
	conn, err := packets(ctx, address)
	if err != nil {
		return nil, err
	}
	d := &quicDoor{clients: newCrowd(maxClientQUIC)}
	d.transport = &quic.Transport{Conn: conn, ConnContext: d.admit, VerifySourceAddress: d.doubtful}
	d.listener, err = d.transport.ListenEarly(http3.ConfigureTLSConfig(config), &quic.Config{
		HandshakeIdleTimeout: quicHandshake, MaxIdleTimeout: quicIdle, MaxIncomingStreams: maxQUICStreams, MaxIncomingUniStreams: 8,
		InitialPacketSize: 1200,
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	d.server = &http3.Server{Handler: h, MaxHeaderBytes: maxHeader, IdleTimeout: quicQuiet}
	go func() { _ = d.server.ServeListener(d.listener) }() // it ends with close
	return d, nil
}

// packets opens "fdgram/N", a socket that was handed to us, or a UDP address.
func packets(ctx context.Context, address string) (net.PacketConn, error) {
	number, handed := strings.CutPrefix(address, "fdgram/")
	if !handed {
		return new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("the socket %q has no number", address)
	}
	fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("take the socket %s: %w", address, err)
	}
	file := os.NewFile(uintptr(fd), address)
	defer file.Close()
	return net.FilePacketConn(file)
}

// admit counts a connection in until it ends, or turns it away.
func (d *quicDoor) admit(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
	leave, ok := d.clients.enter(client.RemoteAddr.String())
	if !ok {
		return nil, errors.New("too many connections of one client")
	}
	if d.count.Add(1) > maxQUIC {
		d.count.Add(-1)
		leave()
		return nil, errors.New("too many connections")
	}
	context.AfterFunc(ctx, func() { d.count.Add(-1); leave() })
	return ctx, nil
}

// doubtful tells whether somebody at this address has to show that it is there.
func (d *quicDoor) doubtful(addr net.Addr) bool {
	return d.clients.of(addr.String()) >= unverifiedQUIC || d.count.Load() >= maxQUIC/4
}

// leave asks clients to go, and gives those that are served until ctx ends.
func (d *quicDoor) leave(ctx context.Context) { _ = d.server.Shutdown(ctx) }

// close ends what is left.
func (d *quicDoor) close() error {
	return errors.Join(d.server.Close(), d.listener.Close(), d.transport.Close(), d.transport.Conn.Close())
}

// openDoors begins to serve HTTP/3 where the options want it. Caddy has to run.
// A door that does not open is no reason to keep the others closed: browsers
// come over TCP then.
func (e *edge) openDoors(ctx context.Context) {
	for _, address := range e.opts.Listeners.HTTP3 {
		if err := e.openDoor(ctx, address); err != nil {
			e.opts.Log.Error("HTTP/3 is not served", "address", address, "error", err)
		}
	}
}

func (e *edge) openDoor(ctx context.Context, address string) error {
	config, handler, err := e.secureParts()
	if err != nil {
		return err
	}
	d, err := openQUIC(ctx, address, config, handler)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doors = append(e.doors, d)
	return nil
}

func (e *edge) doorsNow() []*quicDoor {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*quicDoor(nil), e.doors...)
}

// advertise tells a client over TCP that there is HTTP/3.
func (e *edge) advertise(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 3 || e.leaving() {
		return
	}
	for _, d := range e.doorsNow() {
		_ = d.server.SetQUICHeaders(w.Header()) // without a port there is nothing to say
	}
}
