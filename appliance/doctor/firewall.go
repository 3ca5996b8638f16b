// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Firewall tells about nftables; host.Nft does.
type Firewall interface {
	HasTable(ctx context.Context, family, name string) (bool, error)
	// OpenTCP gives the ports that rules of the table accept TCP at.
	OpenTCP(ctx context.Context, family, name string) (host.Ports, error)
}

// OwnRules tells which of the operator's own rules can not be loaded;
// host.OwnRules does.
type OwnRules interface {
	Check(ctx context.Context) ([]host.BadRules, error)
}

// Logins tells at which ports people log in over the network; host.SSH does.
type Logins interface {
	Ports(ctx context.Context) []uint16
}

// firewallTable is the table that the installer loads.
const firewallTable = "rochdale"

func firewall(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Firewall == nil {
		return nil, nil
	}
	there, err := d.Firewall.HasTable(ctx, "inet", firewallTable)
	if err != nil {
		return nil, err
	}
	if !there {
		return only(failure("doctor.firewall-open"))
	}
	return shutOut(ctx, d)
}

// shutOut finds ports of SSH that the firewall does not know: whoever changed
// the port after the installation notices when the next login fails.
func shutOut(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.Logins == nil {
		return nil, nil
	}
	open, err := d.Firewall.OpenTCP(ctx, "inet", firewallTable)
	if err != nil {
		return nil, err
	}
	var list []appliance.Finding
	for _, port := range d.Logins.Ports(ctx) {
		if !open.Has(port) {
			list = append(list, failure("doctor.firewall-ssh", "port", port))
		}
	}
	return list, nil
}

func ownRules(ctx context.Context, d Doctor) ([]appliance.Finding, error) {
	if d.OwnRules == nil {
		return nil, nil
	}
	bad, err := d.OwnRules.Check(ctx)
	var list []appliance.Finding
	for _, b := range bad {
		list = append(list, warning("doctor.firewall-rules", "file", b.File, "detail", cause(b.Err)))
	}
	return list, err
}
