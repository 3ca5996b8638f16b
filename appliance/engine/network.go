// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// EnsureNetwork implements [appliance.Containers]. The containers of one stack
// reach each other and the outside; the engine keeps its bridges apart, so that
// they do not reach another stack's. A copy that is drilled has no outside.
func (e *Engine) EnsureNetwork(ctx context.Context, stack string) error {
	return e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		err := ours(ctx, c, stack)
		if !errdefs.IsNotFound(err) {
			return err
		}
		_, err = c.NetworkCreate(ctx, NetworkName(stack), bridge(stack))
		if errdefs.IsConflict(err) { // made since
			return ours(ctx, c, stack)
		}
		return err
	})
}

// RemoveNetwork implements [appliance.Containers].
func (e *Engine) RemoveNetwork(ctx context.Context, stack string) error {
	err := e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		if err := ours(ctx, c, stack); err != nil {
			return err
		}
		return c.NetworkRemove(ctx, NetworkName(stack))
	})
	if notThere(err) {
		return nil
	}
	return err
}

// ours reports a network of the stack's name that we did not make.
func ours(ctx context.Context, c *client.Client, stack string) error {
	n, err := c.NetworkInspect(ctx, NetworkName(stack), network.InspectOptions{})
	if err != nil {
		return err
	}
	if n.Driver != "bridge" || n.Labels[labelStack] != stack {
		return appliance.Problem("engine.network-taken", nil, "name", NetworkName(stack))
	}
	return nil
}

func bridge(stack string) network.CreateOptions {
	ipv6 := false
	return network.CreateOptions{
		Driver:     "bridge",
		Internal:   appliance.IsDrill(stack),
		EnableIPv6: &ipv6,
		Labels:     map[string]string{labelSchema: schema, labelStack: stack},
		Options: map[string]string{
			"com.docker.network.bridge.name":                 BridgeName(stack),
			"com.docker.network.bridge.enable_icc":           "true",
			"com.docker.network.bridge.enable_ip_masquerade": "true",
			// Should a port ever be published, then to this machine only.
			"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1",
		},
	}
}
