// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"encoding/json"
	"io"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// Stats implements [appliance.Inside].
func (e *Engine) Stats(ctx context.Context, id string) (int64, error) {
	var memory int64
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) error {
		resp, err := c.ContainerStatsOneShot(ctx, id)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var s container.StatsResponse
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&s); err != nil {
			return err
		}
		memory = held(s.MemoryStats)
		return nil
	})
	return memory, err
}

// held is what "docker stats" shows: the usage without the file cache that was
// not used of late. The first name is cgroup v1's, the second v2's; v1 has the
// second too, but without the cgroups below.
func held(m container.MemoryStats) int64 {
	for _, name := range []string{"total_inactive_file", "inactive_file"} {
		if v, ok := m.Stats[name]; ok {
			return int64(m.Usage - min(v, m.Usage))
		}
	}
	return int64(m.Usage)
}
