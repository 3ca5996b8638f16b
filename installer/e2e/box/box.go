// SPDX-License-Identifier: AGPL-3.0-or-later

package box

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rochdale/installer/testhost"
	"rochdale/installer/testhost/acmetest"
)

// Domain is the name that every box serves unless Options say otherwise.
const Domain = "rides.example"

// Options say what box to boot.
type Options struct {
	Suite  string // Debian's code name; empty: bookworm
	Name   string // of the machine; empty: box
	Domain string // empty: [Domain]
	// Binary is the rochdale binary on the build machine.
	Binary string
	// Bundle is a file on the build machine that the stack comes from; empty: the
	// binary.
	Bundle string
	// Arm64 boots an emulated arm64 machine with its own kernel instead.
	Arm64 bool
	// From is a saved root to start from instead of a bare Debian.
	From string
	// AptCache is the address of a package proxy; empty: straight to the mirrors.
	AptCache string
	// CA is an authority shared by several boxes; nil: the box gets its own.
	CA *acmetest.Authority
	// Log receives what the build machine does to get ready; may be nil.
	Log io.Writer
}

// Box is a running test machine and the authority that certifies its name.
type Box struct {
	Machine
	Name   string     // of the machine
	IP     netip.Addr // on the bridge
	CA     *acmetest.Authority
	Domain string
	ownCA  bool
	bundle string // in the machine; empty: none was brought
}

// Machine is what a box runs on: a container of the build machine's kernel, or
// an emulated machine.
type Machine interface {
	testhost.Host
	Output(ctx context.Context, args ...string) (string, error)
	Start(ctx context.Context, c testhost.Command) (*testhost.Process, error)
	AddHost(ctx context.Context, name, ip string) error
}

var (
	_ Machine = (*testhost.Machine)(nil)
	_ Machine = (*testhost.VM)(nil)
)

// Program is where the binary that a volunteer downloaded lies in the machine.
const Program = "/root/rochdale"

// rootFile is the certificate of the test authority's own HTTPS, in the machine.
const rootFile = "/root/acme-root.pem"

// Boot boots a machine that has nothing but Debian and our binary in /root,
// and an authority that finds it under its domain.
func Boot(ctx context.Context, o Options) (_ *Box, err error) {
	if err := testhost.Setup(ctx, o.Log); err != nil {
		return nil, err
	}
	b := &Box{Domain: o.Domain, CA: o.CA}
	if b.Domain == "" {
		b.Domain = Domain
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.authority(ctx); err != nil {
		return nil, err
	}
	if err := b.boot(ctx, o); err != nil {
		return nil, err
	}
	b.CA.SetName(b.Domain, b.IP)
	return b, b.bring(ctx, o)
}

func (b *Box) boot(ctx context.Context, o Options) error {
	if o.Arm64 {
		return b.emulate(ctx, o)
	}
	m, err := testhost.Boot(ctx, testhost.Options{
		Name: o.Name, Suite: o.Suite, From: o.From, AptCache: o.AptCache, Resolver: b.CA.IP(),
	})
	if err != nil {
		return err
	}
	b.Machine, b.Name, b.IP = m, m.Name, m.IP
	return nil
}

func (b *Box) emulate(ctx context.Context, o Options) error {
	if err := testhost.SetupQEMU(ctx, o.Log, "arm64"); err != nil {
		return err
	}
	v, err := testhost.BootQEMU(ctx, testhost.QEMUOptions{
		Name: o.Name, Arch: "arm64", Suite: o.Suite, AptCache: o.AptCache, Resolver: b.CA.IP(),
	})
	if err != nil {
		return err
	}
	b.Machine, b.Name, b.IP = v, v.Name, v.IP
	return nil
}

func (b *Box) authority(ctx context.Context) (err error) {
	if b.CA != nil {
		return nil
	}
	if b.CA, err = acmetest.Start(ctx, acmetest.Options{}); err != nil {
		return err
	}
	b.ownCA = true
	return nil
}

func (b *Box) bring(ctx context.Context, o Options) error {
	if err := b.CopyIn(ctx, o.Binary, Program, 0o755); err != nil {
		return err
	}
	if o.Bundle != "" {
		b.bundle = "/root/first.bundle"
		if err := b.CopyIn(ctx, o.Bundle, b.bundle, 0o644); err != nil {
			return err
		}
	}
	return b.WriteFile(ctx, rootFile, b.CA.TLSRootPEM(), 0o644)
}

// Close ends the machine, and the authority unless it is shared.
func (b *Box) Close() error {
	var errs []error
	if b.Machine != nil {
		errs = append(errs, b.Machine.Close())
	}
	if b.ownCA {
		errs = append(errs, b.CA.Close())
	}
	return errors.Join(errs...)
}

// InstallArgs are the arguments of the installation that the tests run.
func (b *Box) InstallArgs(extra ...string) []string {
	args := []string{
		Program, "install", "--stack", "delivery", "--domain", b.Domain, "--email", "ada@" + b.Domain,
		"--acme-ca", b.CA.DirectoryURL(), "--acme-root", rootFile, "--yes", "--no-input",
	}
	if b.bundle != "" {
		args = append(args, "--bundle", b.bundle)
	}
	return append(args, extra...)
}

// Installed is what an installation with --json printed last.
type Installed struct {
	URL       string `json:"url"`
	AdminLink string `json:"admin_link"`
	// Lines are all JSON lines, for those who want more.
	Lines []json.RawMessage `json:"-"`
}

// Install runs the installer to its end. env is added to its environment.
func (b *Box) Install(ctx context.Context, env ...string) (Installed, error) {
	r, err := b.Exec(ctx, testhost.Command{Args: b.InstallArgs("--json"), Env: env})
	if err != nil {
		return Installed{}, err
	}
	if r.Code != 0 && r.Code != 3 {
		return Installed{}, fmt.Errorf("install ended with code %d\n%s\n%s", r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	return parseInstalled(r.Stdout)
}

func parseInstalled(out string) (Installed, error) {
	var got Installed
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "{") {
			return got, fmt.Errorf("install --json printed a line that is no JSON object: %q", line)
		}
		got.Lines = append(got.Lines, json.RawMessage(strings.TrimSpace(line)))
	}
	if len(got.Lines) == 0 {
		return got, errors.New("install --json printed nothing")
	}
	return got, json.Unmarshal(got.Lines[len(got.Lines)-1], &got)
}

// Status is "rochdale status --json".
type Status struct {
	Schema  int    `json:"schema"`
	Healthy bool   `json:"healthy"`
	Version string `json:"version"`
	Stacks  []struct {
		Name, Version, State, URL string
	} `json:"stacks"`
	Findings []Finding `json:"findings"`
	Memory   struct {
		Units, Containers map[string]int64
	} `json:"memory_bytes"`
	Certificates []struct {
		Name     string
		NotAfter time.Time `json:"not_after"`
		Issuer   string
	} `json:"certificates"`
}

// Finding is something that a person should know or do.
type Finding struct {
	ID, Severity, Title, Why, Fix string
}

// Status asks the box how it is.
func (b *Box) Status(ctx context.Context) (Status, error) {
	var s Status
	r, err := b.Exec(ctx, testhost.Command{Args: []string{"rochdale", "status", "--json"}})
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		return s, fmt.Errorf("status --json (code %d): %w\n%s\n%s", r.Code, err, tail(r.Stdout), tail(r.Stderr))
	}
	return s, nil
}

// Transport reaches the box by its names, trusting only the test authority.
func (b *Box) Transport() *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CA.IssuerRootPEM())
	return testhost.Transport(map[string]string{b.Domain: b.IP.String()}, pool)
}

// JoinPath is the path of the first admin's one-time link.
func (b *Box) JoinPath(link string) string {
	return strings.TrimPrefix(strings.TrimSpace(link), b.URL())
}

// URL is the address of the platform, without a slash at its end.
func (b *Box) URL() string { return "https://" + b.Domain }

// WaitHTTPS waits until the platform answers its health path over HTTPS with a
// certificate that is valid.
func (b *Box) WaitHTTPS(ctx context.Context) error {
	client := &http.Client{Transport: b.Transport(), Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	var last error
	for {
		if last = healthy(ctx, client, b.URL()+"/healthz"); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer: %w (last: %w)", b.URL(), context.Cause(ctx), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, res.Status)
	}
	return nil
}

// Binary finds the product's binary: ROCHDALE_BINARY, or bin/rochdale above
// the working folder.
func Binary() (string, error) {
	if p := os.Getenv("ROCHDALE_BINARY"); p != "" {
		return p, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		p := filepath.Join(dir, "bin", "rochdale")
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return "", errors.New("bin/rochdale is not there: run make build first")
	}
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
