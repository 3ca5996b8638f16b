// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// Network implements [appliance.Containers].
func (e *Engine) Network(ctx context.Context, stack string) (appliance.Network, error) {
	var found network.Inspect
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) (err error) {
		found, err = c.NetworkInspect(ctx, NetworkName(stack), network.InspectOptions{})
		return err
	})
	if err != nil {
		return appliance.Network{}, err
	}
	return gateway(found)
}

// gateway reads the first address range of a network.
func gateway(n network.Inspect) (appliance.Network, error) {
	if len(n.IPAM.Config) == 0 {
		return appliance.Network{}, fmt.Errorf("network %s has no addresses", n.Name)
	}
	c := n.IPAM.Config[0]
	subnet, err := netip.ParsePrefix(c.Subnet)
	if err != nil {
		return appliance.Network{}, fmt.Errorf("network %s: %w", n.Name, err)
	}
	at, err := netip.ParseAddr(c.Gateway)
	if err != nil { // old engines leave it out: it is the first address
		at = subnet.Masked().Addr().Next()
	}
	return appliance.Network{Subnet: subnet, Gateway: at}, nil
}
