// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// permission lets certificates be made and loaded only for hosts of the document.
type permission struct{ seat *seat }

var _ caddytls.OnDemandPermission = (*permission)(nil)

// CaddyModule implements caddy.Module.
func (p *permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.rochdale", New: func() caddy.Module { return &permission{seat: p.seat} }}
}

// CertificateAllowed implements caddytls.OnDemandPermission. The name has to be
// the host to the letter: every other spelling would be another certificate.
func (p *permission) CertificateAllowed(_ context.Context, name string) error {
	if p.seat.edge().board.has(name) {
		return nil
	}
	return fmt.Errorf("%w: it is not a host of this box", caddytls.ErrPermissionDenied)
}

// acmeIssuer is Caddy's ACME issuer with our ledger: it remembers why an
// attempt failed, and it does not ask again too soon. Authorities count
// failures, and any stranger's handshake would start another attempt.
type acmeIssuer struct {
	caddytls.ACMEIssuer
	seat *seat
}

var (
	_ certmagic.Issuer     = (*acmeIssuer)(nil)
	_ certmagic.PreChecker = (*acmeIssuer)(nil)
)

// CaddyModule implements caddy.Module.
func (i *acmeIssuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.rochdale_acme", New: func() caddy.Module { return &acmeIssuer{seat: i.seat} }}
}

// Issue implements certmagic.Issuer.
func (i *acmeIssuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return i.seat.edge().ledger.issue(ctx, csr, i.ACMEIssuer.Issue)
}

// internalIssuer is Caddy's own small authority with our ledger.
type internalIssuer struct {
	caddytls.InternalIssuer
	seat *seat
}

var _ certmagic.Issuer = (*internalIssuer)(nil)

// CaddyModule implements caddy.Module.
func (i *internalIssuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.rochdale_internal", New: func() caddy.Module { return &internalIssuer{seat: i.seat} }}
}

// Provision implements caddy.Provisioner, and takes the root for download.
func (i *internalIssuer) Provision(ctx caddy.Context) error {
	if err := i.InternalIssuer.Provision(ctx); err != nil {
		return err
	}
	app, err := ctx.App("pki")
	if err != nil {
		return err
	}
	pki, ok := app.(*caddypki.PKI)
	if !ok {
		return errors.New("the pki app is of another kind")
	}
	ca, err := pki.GetCA(ctx, caddypki.DefaultCAID)
	if err != nil {
		return err
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.RootCertificate().Raw})
	i.seat.edge().root.Store(&root)
	return nil
}

// Issue implements certmagic.Issuer.
func (i *internalIssuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return i.seat.edge().ledger.issue(ctx, csr, i.InternalIssuer.Issue)
}

// rootPEM is the root certificate of the box's own authority.
func (e *edge) rootPEM() ([]byte, error) {
	if root := e.root.Load(); root != nil {
		return *root, nil
	}
	return nil, errors.New("this edge has no authority of its own")
}
