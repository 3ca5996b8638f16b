// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// List implements [appliance.Containers].
func (e *Engine) List(ctx context.Context, stack string) ([]appliance.Container, error) {
	found, err := e.summaries(ctx, stack)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b container.Summary) int { return int(b.Created - a.Created) })
	list := make([]appliance.Container, 0, len(found))
	for _, s := range found {
		c, err := e.get(ctx, s.ID)
		if notThere(err) { // removed since
			continue
		}
		if err != nil {
			return nil, err
		}
		e.crashes.note(c, time.Now())
		list = append(list, c)
	}
	for i := range list {
		list[i].Crashes = e.crashes.count(list[i], time.Now())
	}
	return list, nil
}

func (e *Engine) summaries(ctx context.Context, stack string) ([]container.Summary, error) {
	label := labelStack
	if stack != "" {
		label += "=" + stack
	}
	var found []container.Summary
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) (err error) {
		found, err = c.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
		return err
	})
	return found, err
}

func (e *Engine) get(ctx context.Context, id string) (appliance.Container, error) {
	i, err := e.inspect(ctx, id)
	if err != nil {
		return appliance.Container{}, err
	}
	return translate(i), nil
}

// inspect gives a container with none of its parts missing.
func (e *Engine) inspect(ctx context.Context, id string) (container.InspectResponse, error) {
	var i container.InspectResponse
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) (err error) {
		i, err = c.ContainerInspect(ctx, id)
		return err
	})
	if err != nil {
		return i, err
	}
	if i.ContainerJSONBase == nil || i.State == nil || i.HostConfig == nil || i.Config == nil {
		return i, appliance.Problem("engine.refused", nil, "detail", "container "+id+": incomplete answer")
	}
	return i, nil
}

func translate(i container.InspectResponse) appliance.Container {
	l := i.Config.Labels
	generation, _ := strconv.ParseInt(l[labelGeneration], 10, 64) // not ours, then: 0
	c := appliance.Container{
		ID:         i.ID,
		Name:       strings.TrimPrefix(i.Name, "/"),
		Stack:      l[labelStack],
		Service:    l[labelService],
		Digest:     l[labelDigest],
		Generation: generation,
		Image:      i.Config.Image,
		State:      i.State.Status,
		Health:     "none",
		Started:    moment(i.State.StartedAt),
		Memory:     i.HostConfig.Memory,
		ExitCode:   i.State.ExitCode,
		OOMKilled:  i.State.OOMKilled,
	}
	if i.State.Health != nil {
		c.Health = i.State.Health.Status
	}
	if !i.State.Running {
		c.Finished = moment(i.State.FinishedAt)
	}
	if i.NetworkSettings != nil {
		if n := i.NetworkSettings.Networks[NetworkName(c.Stack)]; n != nil {
			c.Address = n.IPAddress
		}
	}
	return c
}

// moment reads a time of the engine's; its year 1 is our zero.
func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t.UTC()
}
