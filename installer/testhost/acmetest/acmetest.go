// SPDX-License-Identifier: AGPL-3.0-or-later

// Package acmetest is a certificate authority and a DNS server for test machines: pebble, the ACME project's own test server,
// in the test's process on an address of its own on the bridge.
//
// It validates for real: http-01 on port 80 and tls-alpn-01 on port 443 of whatever address a name was given. It refuses a
// part of all good nonces, as pebble does by default, so that clients have to retry. It may import testhost and pebble, and
// must never be imported by anything that ships.
package acmetest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // pebble and net/http want this logger
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"rochdale/installer/testhost"
)

// Options for Start. The zero value is good.
type Options struct {
	Log      io.Writer     // pebble's own log; nil: none
	Validity time.Duration // of issued certificates; 0: 90 days
	// IP is where to listen; the zero value takes a free address on the bridge. A loopback address serves tests without machines.
	IP netip.Addr
	// Unprivileged listens on free ports instead of 443 and 53, for tests without root.
	Unprivileged bool
	// HTTPPort and TLSPort are where challenges are answered; 0: 80 and 443.
	HTTPPort, TLSPort int
}

// Authority is a running certificate authority with its DNS server. Its methods may be called from several goroutines.
type Authority struct {
	ip      netip.Addr
	port    uint16            // of the directory; 0 until a free one was taken
	address *testhost.Address // nil when the caller chose the address
	names   *nameServer
	tlsRoot []byte
	issuer  []byte
	cert    tls.Certificate
	handler http.Handler

	mu     sync.Mutex
	server *http.Server // nil while down
}

// Start takes an address on the bridge and serves ACME on 443 and DNS on 53 there. testhost.Setup must have run.
func Start(ctx context.Context, o Options) (*Authority, error) {
	a := &Authority{ip: o.IP, port: 443}
	if o.Unprivileged {
		a.port = 0
	}
	if !o.IP.IsValid() {
		address, err := testhost.TakeAddress(ctx)
		if err != nil {
			return nil, err
		}
		a.address, a.ip = address, address.IP
	}
	if err := a.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("start the test authority: %w", err), a.Close())
	}
	return a, nil
}

func (a *Authority) start(o Options) error {
	var err error
	if a.cert, a.tlsRoot, err = serverCertificate(a.ip); err != nil {
		return err
	}
	if a.names, err = startNames(a.ip, o.Unprivileged); err != nil {
		return err
	}
	if a.handler, a.issuer, err = newPebble(o, a.names.at.String()); err != nil {
		return err
	}
	return a.Up()
}

// newPebble assembles the parts of pebble and returns its web front end and its root certificate.
func newPebble(o Options, resolver string) (http.Handler, []byte, error) {
	out := o.Log
	if out == nil {
		out = io.Discard
	}
	logger := log.New(out, "acme ", log.LstdFlags)
	profile := ca.Profile{Description: "for test machines", ValidityPeriod: uint64(o.Validity / time.Second)}
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": profile})
	validator, err := newValidator(logger, o, resolver, store)
	if err != nil {
		return nil, nil, err
	}
	front := wfe.New(logger, store, validator, authority, []string{"acme.test"}, false, false, 1, 1)
	return front.Handler(), authority.GetRootCert(0).PEM(), nil
}

// newValidator makes the part that checks challenges, without its random sleeps, which only the environment turns off.
func newValidator(logger *log.Logger, o Options, resolver string, store *db.MemoryStore) (*va.VAImpl, error) {
	if err := os.Setenv("PEBBLE_VA_NOSLEEP", "1"); err != nil {
		return nil, err
	}
	return va.New(logger, orPort(o.HTTPPort, 80), orPort(o.TLSPort, 443), false, resolver, store), nil
}

func orPort(port, standard int) int {
	if port == 0 {
		return standard
	}
	return port
}

// IP is where the authority and its DNS server listen. As testhost.Options.Resolver it gives a machine the test's names.
func (a *Authority) IP() netip.Addr { return a.ip }

// DirectoryURL is where an ACME client starts.
func (a *Authority) DirectoryURL() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	host := a.ip.String()
	if a.port != 443 {
		host = netip.AddrPortFrom(a.ip, a.port).String()
	}
	return "https://" + host + wfe.DirectoryPath
}

// TLSRootPEM is the root certificate to trust for the authority's own HTTPS.
func (a *Authority) TLSRootPEM() []byte { return a.tlsRoot }

// IssuerRootPEM is the root certificate to trust for what the authority issues.
func (a *Authority) IssuerRootPEM() []byte { return a.issuer }

// SetName makes the DNS server answer a name with an address, for challenges and for whoever asks.
func (a *Authority) SetName(name string, ip netip.Addr) { a.names.set(name, ip) }

// RemoveName makes the name unknown.
func (a *Authority) RemoveName(name string) { a.names.remove(name) }

// Down makes the authority unreachable: connections are refused. Names are still answered.
func (a *Authority) Down() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server == nil {
		return nil
	}
	err := a.server.Close()
	a.server = nil
	return err
}

// Up makes it reachable again, with the same accounts, orders and root.
func (a *Authority) Up() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(a.ip, a.port).String())
	if err != nil {
		return err
	}
	a.port = netip.MustParseAddrPort(listener.Addr().String()).Port()
	a.server = &http.Server{
		Handler:           a.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients that do not trust it yet are part of the tests
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{a.cert}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = a.server.ServeTLS(listener, "", "") }() // ends with Close
	return nil
}

// Close ends both servers and gives the address back.
func (a *Authority) Close() error {
	errs := []error{a.Down()}
	if a.names != nil {
		errs = append(errs, a.names.close())
		a.names = nil
	}
	if a.address != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs = append(errs, a.address.Release(ctx))
		a.address = nil
	}
	return errors.Join(errs...)
}
