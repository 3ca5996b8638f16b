// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"rochdale/appliance"
)

// configuration wants rochdale.yaml to be there and to be right.
func configuration(_ context.Context, d Doctor) ([]appliance.Finding, error) {
	_, err := d.config()
	var wrong *appliance.Error
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return only(failure("doctor.config-missing", "path", d.Paths.Config()))
	case errors.As(err, &wrong):
		return only(appliance.Finding{Message: wrong.Message, Severity: appliance.Failure})
	default:
		return only(failure("doctor.config-unreadable", "path", d.Paths.Config(), "detail", cause(err)))
	}
}

func (d Doctor) config() (appliance.Config, error) {
	f, err := appliance.OpenConfig(d.Paths.Config())
	if err != nil {
		return appliance.Config{}, err
	}
	defer f.Close()
	return appliance.ParseConfig(f)
}

// hosts are all host names of the configuration, sorted. A configuration that
// can not be read is the finding of another check.
func (d Doctor) hosts() []string {
	c, err := d.config()
	if err != nil {
		return nil
	}
	var list []string
	for s := range maps.Values(c.Stacks) {
		list = append(list, s.Hosts()...)
	}
	slices.Sort(list)
	return list
}

// certificateWarning and certificateFailure: authorities renew 30 days before
// the end, short-lived ones after two thirds; below two days somebody must act.
const (
	certificateWarning = 7 * 24 * time.Hour
	certificateFailure = 2 * 24 * time.Hour
)

func certificates(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Certificates == nil {
		return nil, nil
	}
	certs, err := d.Certificates.Certificates(ctx)
	if err != nil {
		return only(warning("doctor.edge-silent", "detail", cause(err)))
	}
	var list []appliance.Finding
	for _, c := range certs {
		list = append(list, judgeCertificate(c, time.Now())...)
	}
	return list, nil
}

func judgeCertificate(c appliance.Certificate, now time.Time) []appliance.Finding {
	left := c.NotAfter.Sub(now)
	days := int(left.Hours() / 24)
	switch {
	case c.NotAfter.IsZero() && c.Error == "":
		return []appliance.Finding{notice("doctor.certificate-waiting", "name", c.Name)}
	case c.NotAfter.IsZero():
		return []appliance.Finding{failure("doctor.certificate-none", "name", c.Name, "detail", c.Error)}
	case left <= 0:
		return []appliance.Finding{failure("doctor.certificate-expired", "name", c.Name, "date", c.NotAfter.UTC().Format(time.DateOnly))}
	case c.Error != "" && left < certificateFailure:
		return []appliance.Finding{failure("doctor.certificate-ending", "name", c.Name, "days", days, "detail", c.Error)}
	case c.Error != "":
		return []appliance.Finding{warning("doctor.certificate-not-renewed", "name", c.Name, "days", days, "detail", c.Error)}
	}
	return nil
}

// ports knocks where visitors knock.
func ports(ctx context.Context, d Doctor) (list []appliance.Finding, _ error) {
	if d.Network == nil {
		return nil, nil
	}
	for _, port := range []string{"80", "443"} {
		if !d.Network.Answers(ctx, net.JoinHostPort("127.0.0.1", port)) {
			list = append(list, failure("doctor.port-silent", "port", port))
		}
	}
	return list, nil
}

// names looks the host names up. A configuration that can not be read is a
// finding of its own. Behind a router the machine does not know its
// public address, and a different one is no finding.
func names(ctx context.Context, d Doctor) (list []appliance.Finding, _ error) {
	// With certificates of its own the box serves a local network, whose names
	// are often known to other machines only.
	c, err := d.config()
	if d.Network == nil || err != nil || c.TLS.Mode == "internal" {
		return nil, nil //nolint:nilerr // the check of the configuration tells
	}
	own, err := d.Network.Own()
	if err != nil {
		return nil, err
	}
	for _, host := range d.hosts() {
		found, err := d.Network.Lookup(ctx, host)
		if err != nil {
			list = append(list, warning("doctor.dns-failed", "host", host, "detail", cause(err)))
			continue
		}
		list = append(list, judgeName(host, found, own)...)
	}
	return list, nil
}

func judgeName(host string, found, own []string) []appliance.Finding {
	if len(found) == 0 {
		return []appliance.Finding{warning("doctor.dns-missing", "host", host)}
	}
	if slices.ContainsFunc(found, func(a string) bool { return slices.Contains(own, a) }) {
		return nil
	}
	if i := slices.IndexFunc(own, public); i >= 0 {
		return []appliance.Finding{warning("doctor.dns-elsewhere", "host", host, "there", found[0], "here", own[i])}
	}
	return nil
}

func public(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && a.IsGlobalUnicast() && !a.IsPrivate()
}
