// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"errors"
	"math"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// Start implements [appliance.Containers].
func (e *Engine) Start(ctx context.Context, spec appliance.ContainerSpec) (appliance.Container, error) {
	r, err := cook(spec, runtime.NumCPU())
	if err != nil {
		return appliance.Container{}, err
	}
	name := ContainerName(spec.Stack, spec.Service.Name, spec.Suffix)
	id, err := e.ensure(ctx, name, r)
	if err != nil {
		return appliance.Container{}, err
	}
	return e.start(ctx, spec, id)
}

// ensure makes the container unless it is there, made from the same recipe.
func (e *Engine) ensure(ctx context.Context, name string, r recipe) (string, error) {
	found, err := e.inspect(ctx, name)
	switch {
	case err == nil && found.Config.Labels[labelSpec] == r.Config.Labels[labelSpec]:
		return found.ID, nil
	case err == nil && found.Config.Labels[labelSchema] == "":
		return "", appliance.Problem("engine.name-taken", nil, "name", name)
	case err == nil:
		if err := e.Remove(ctx, found.ID); err != nil {
			return "", err
		}
	case !notThere(err):
		return "", err
	}
	return e.create(ctx, name, r)
}

func (e *Engine) create(ctx context.Context, name string, r recipe) (string, error) {
	var id string
	err := e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		made, err := c.ContainerCreate(ctx, r.Config, r.Host, r.Network, nil, name)
		id = made.ID
		return err
	})
	return id, err
}

// start starts it unless it runs. A container that can not even start is
// removed again, so that the next attempt begins anew.
func (e *Engine) start(ctx context.Context, spec appliance.ContainerSpec, id string) (appliance.Container, error) {
	e.crashes.forget(id)
	err := e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		return c.ContainerStart(ctx, id, container.StartOptions{})
	})
	if appliance.IsProblem(err, "engine.refused") {
		failed := appliance.Problem("engine.start-refused", err, "stack", spec.Stack, "service", spec.Service.Name, "detail", detail(err))
		return appliance.Container{}, errors.Join(failed, e.Remove(ctx, id))
	}
	if err != nil {
		return appliance.Container{}, err
	}
	return e.get(ctx, id)
}

// Stop implements [appliance.Containers].
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	e.crashes.ask(id)
	seconds := int(math.Ceil(max(grace, 0).Seconds()))
	err := e.call(ctx, slowLimit+max(grace, 0), func(ctx context.Context, c *client.Client) error {
		return c.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	})
	if notThere(err) {
		return nil
	}
	return err
}

// Remove implements [appliance.Containers].
func (e *Engine) Remove(ctx context.Context, id string) error {
	e.crashes.ask(id)
	err := e.call(ctx, slowLimit, func(ctx context.Context, c *client.Client) error {
		err := c.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if errdefs.IsConflict(err) { // somebody is removing it already
			return waitGone(ctx, c, id)
		}
		return err
	})
	if notThere(err) {
		return nil
	}
	return err
}

func waitGone(ctx context.Context, c *client.Client, id string) error {
	done, failed := c.ContainerWait(ctx, id, container.WaitConditionRemoved)
	select {
	case <-done:
		return nil
	case err := <-failed:
		return err
	}
}
