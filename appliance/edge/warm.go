// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rochdale/appliance"

	"golang.org/x/sync/errgroup"
)

const (
	// warmEvery is how often each certificate is looked at. Certificates on
	// demand are renewed by handshakes, and a quiet host has none of its own.
	warmEvery = 10 * time.Minute
	// warmSoon is how soon a failed one is looked at again; the ledger decides
	// whether the authority is asked.
	warmSoon = 30 * time.Second
	// warmBound is how long getting one certificate may take.
	warmBound = 2 * time.Minute
	// warmWidth is how many are got at once.
	warmWidth = 4
)

// keepWarm gets certificates for new hosts, renews them, and tries again what
// failed, until ctx is done. The channel closes when it has ended.
func (e *edge) keepWarm(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			pause := warmEvery
			if !e.warmAll(ctx) {
				pause = warmSoon
			}
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
			case <-e.wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	}()
	return done
}

func (e *edge) wakeUp() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// warmAll reports whether every host has its certificate.
func (e *edge) warmAll(ctx context.Context) bool {
	hosts := e.board.current.Load().hosts
	e.ledger.keep(func(name string) bool { return hosts[name] != nil })
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(warmWidth)
	for name := range hosts {
		group.Go(func() error { _ = e.handshake(ctx, name); return nil }) // the ledger has the reason
	}
	_ = group.Wait()
	for name := range hosts {
		if _, err := e.certificate(name); err != nil || e.ledger.last(name) != "" {
			return false
		}
	}
	return true
}

// warm gets the certificate of one host now.
func (e *edge) warm(ctx context.Context, name string) error {
	if !e.board.has(name) {
		return appliance.Problem("edge.host-unknown", nil, "host", name)
	}
	e.ledger.forgive(name)
	err := e.handshake(ctx, name)
	if err == nil {
		return nil
	}
	reason := e.ledger.last(name)
	if reason == "" {
		reason = oneLine(err)
	}
	return appliance.Problem("edge.certificate-failed", err, "host", name, "detail", reason)
}

// handshake makes sure that the name has its certificate, and records if not.
func (e *edge) handshake(ctx context.Context, name string) error {
	err := e.greet(ctx, name)
	if ctx.Err() == nil {
		e.ledger.greeted(name, err)
	}
	return err
}

// greet speaks to our own HTTPS server in memory, which loads, gets or renews
// the certificate of the name.
func (e *edge) greet(ctx context.Context, name string) error {
	e.mu.Lock()
	l := e.secure
	e.mu.Unlock()
	if l == nil {
		return errors.New("no listener for HTTPS")
	}
	ctx, cancel := context.WithTimeout(ctx, warmBound)
	defer cancel()
	near, far := net.Pipe()
	defer near.Close()
	go func() { _ = l.inject(far) }()
	// We are the server: what we do not believe here a browser will check.
	client := tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // see above
	if err := client.HandshakeContext(ctx); err != nil {
		return err
	}
	return client.Close()
}

// certificates lists every host with its certificate, by name.
func (e *edge) certificates() []appliance.Certificate {
	hosts := e.board.current.Load().hosts
	list := make([]appliance.Certificate, 0, len(hosts))
	for name := range hosts {
		c := appliance.Certificate{Name: name, Error: e.ledger.last(name)}
		if leaf, err := e.certificate(name); err == nil {
			c.NotAfter, c.Issuer = leaf.NotAfter, issuerName(leaf)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b appliance.Certificate) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

func issuerName(leaf *x509.Certificate) string {
	name := leaf.Issuer.CommonName
	if org := leaf.Issuer.Organization; len(org) > 0 {
		return org[0] + " " + name
	}
	return name
}

// certificate reads the newest certificate of a host from the disk.
func (e *edge) certificate(name string) (*x509.Certificate, error) {
	files, err := filepath.Glob(filepath.Join(e.opts.Dir, "caddy", "certificates", "*", name, name+".crt"))
	if err != nil {
		return nil, err
	}
	var newest *x509.Certificate
	for _, file := range files {
		leaf, err := readLeaf(file)
		if err == nil && (newest == nil || leaf.NotBefore.After(newest.NotBefore)) {
			newest = leaf
		}
	}
	if newest == nil {
		return nil, fs.ErrNotExist
	}
	return newest, nil
}

func readLeaf(file string) (*x509.Certificate, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no certificate in the file")
	}
	return x509.ParseCertificate(block.Bytes)
}
