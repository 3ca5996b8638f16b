// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// Foreign tells whether the engine has containers that are not ours, running or not.
func (e *Engine) Foreign(ctx context.Context) (bool, error) {
	foreign := false
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) error {
		all, err := c.ContainerList(ctx, container.ListOptions{All: true})
		foreign = false // the exchange may be tried twice
		for _, s := range all {
			_, ours := s.Labels[labelStack]
			foreign = foreign || !ours
		}
		return err
	})
	return foreign, err
}
