// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"rochdale/appliance"
)

// Options is what a person asks of an installation.
type Options struct {
	Stack    string
	Bundle   string // file that the stack comes from, as an absolute path; empty: this binary
	Domain   string
	Email    string
	ACMECA   string // directory address of the certificate authority; empty: Let's Encrypt
	ACMERoot string // PEM file on this machine that the authority is trusted by
	TLS      string // "acme" or "internal"
	Language string // "en", "es" or "fr"
	Reboot   string // when the machine may restart for updates: "03:30" or "never"
	// Force accepts an operating system that nobody has tried.
	Force bool
	// Program is the binary that is installed: this one.
	Program string
	// Version labels Program.
	Version string
	// SSHClient wants ssh to be there: a recovery reads from the other side of it.
	SSHClient bool
	// Stacks are the names that this binary can install.
	Stacks []string
}

// Config is rochdale.yaml as these options want it. What an operator wrote
// into an earlier one is kept where the options say nothing about it.
func (o Options) Config(earlier appliance.Config, rootFile string) appliance.Config {
	c := earlier
	c.Schema, c.Language, c.Email = appliance.ConfigSchema, o.Language, o.Email
	c.TLS = appliance.TLSConfig{Mode: o.TLS, ACMECA: o.ACMECA}
	if o.ACMERoot != "" {
		c.TLS.ACMERoot = rootFile
	}
	c.Updates.Reboot = o.Reboot
	stacks := map[string]appliance.StackConfig{}
	for name, s := range earlier.Stacks {
		stacks[name] = s
	}
	s := stacks[o.Stack]
	s.Domain = o.Domain
	stacks[o.Stack] = s
	c.Stacks = stacks
	return c
}

// judgeOptions finds what is wrong with the options alone.
func judgeOptions(o Options) []appliance.Finding {
	var found []appliance.Finding
	add := func(id string, pairs ...any) {
		found = append(found, finding(appliance.Failure, id, pairs...))
	}
	if o.Stack == "" {
		add("install.stack-missing", "known", strings.Join(o.Stacks, ", "))
	} else if !contains(o.Stacks, o.Stack) {
		add("install.stack-unknown", "stack", o.Stack, "known", strings.Join(o.Stacks, ", "))
	}
	switch {
	case o.Domain == "":
		add("install.domain-missing")
	case !domainForm(o.Domain, o.TLS):
		add("install.domain-form", "domain", o.Domain)
	}
	c := o.Config(appliance.Config{}, "/acme-root.pem")
	c.Stacks = nil
	if err := c.Validate(); err != nil {
		found = append(found, optionFinding(err))
	}
	return found
}

// domainForm tells whether a certificate can be had for the name: a public
// authority wants a name with a dot in it and never an address.
func domainForm(domain, tls string) bool {
	if _, err := netip.ParseAddr(domain); err == nil || !appliance.HostName(domain) {
		return false
	}
	return tls == "internal" || strings.Contains(domain, ".")
}

// earlierConfig is rochdale.yaml as an earlier installation left it; without
// one it is empty.
func earlierConfig(f Facts) (appliance.Config, error) {
	if f.Installed.Config == nil {
		return appliance.Config{}, nil
	}
	return appliance.ParseConfig(bytes.NewReader(f.Installed.Config))
}

// maxRoot bounds the file of an authority's root, in bytes.
const maxRoot = 1 << 20

// readRoot reads certificates in PEM form.
func readRoot(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if info.Size() > maxRoot {
		return nil, errors.New("the file is too large")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return certificates(data)
}

// certificates keeps nothing but the certificates: what is kept is readable by
// everybody, and the file that a private authority hands out may hold a key.
func certificates(data []byte) ([]byte, error) {
	var kept bytes.Buffer
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("read a certificate in it: %w", err)
		}
		if err := pem.Encode(&kept, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
			return nil, err
		}
	}
	if kept.Len() == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return kept.Bytes(), nil
}

// Remember fills in what the person did not type from an earlier installation,
// so that `rochdale install` alone goes on with it. An earlier document that
// can not be read is left to preflight, which says so.
func (o *Options) Remember(d Deps, typed func(flag string) bool) {
	r, err := ReadRecord(d.Paths)
	if err != nil || r == nil {
		return
	}
	if !typed("stack") {
		o.Stack = r.Stack
	}
	o.rememberStack(*r, typed)
	c, err := earlierWish(r, d)
	if err != nil {
		return
	}
	o.remember(c, typed)
}

// rememberStack takes over what is known of a stack that is asked for again. It was
// judged then, so it is known now, also when it came with a bundle.
func (o *Options) rememberStack(r Record, typed func(string) bool) {
	if o.Stack != r.Stack {
		return
	}
	if !contains(o.Stacks, r.Stack) {
		o.Stacks = append(o.Stacks, r.Stack)
	}
	if !typed("domain") {
		o.Domain = r.Domain
	}
	if !typed("bundle") {
		o.Bundle = r.Bundle
	}
}

// earlierWish is what an interrupted installation was asked for, or else the document
// that the operator may have edited since.
func earlierWish(r *Record, d Deps) (appliance.Config, error) {
	if r.Finished.IsZero() && r.Removed.IsZero() && r.Config != "" {
		c, err := appliance.ParseConfig(strings.NewReader(r.Config))
		c.TLS.ACMERoot = r.ACMERoot
		return c, err
	}
	return appliance.ReadConfig(d.Paths.Config())
}

func (o *Options) remember(c appliance.Config, typed func(string) bool) {
	if s, there := c.Stacks[o.Stack]; there && !typed("domain") {
		o.Domain = s.Domain
	}
	for _, v := range []struct {
		flag  string
		value *string
		old   string
	}{
		{"email", &o.Email, c.Email}, {"tls", &o.TLS, c.TLS.Mode}, {"acme-ca", &o.ACMECA, c.TLS.ACMECA},
		{"acme-root", &o.ACMERoot, c.TLS.ACMERoot}, {"reboot", &o.Reboot, c.Updates.Reboot}, {"lang", &o.Language, c.Language},
	} {
		if !typed(v.flag) {
			*v.value = v.old
		}
	}
}
