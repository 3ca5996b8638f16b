// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/docker/docker/client"

	"rochdale/appliance"
)

// Socket is where Debian's Docker listens.
const Socket = "/run/docker.sock"

// Every call is bounded in time, whatever the caller's context says.
const (
	quickLimit = 20 * time.Second // looking at something
	slowLimit  = 2 * time.Minute  // making or ending something
	loadLimit  = 15 * time.Minute // loading an image on a slow card
)

// Engine is Docker on this machine.
type Engine struct {
	socket  string
	api     atomic.Pointer[client.Client]
	crashes crashes
}

var _ appliance.Engine = (*Engine)(nil)

// New gives the engine behind a Unix socket. It does not connect yet: an engine
// that is down gives an error with the id "engine.unreachable" at each call,
// and is used as soon as it is back.
func New(socket string) (*Engine, error) {
	e := &Engine{socket: socket}
	return e, e.renew()
}

// renew forgets what was negotiated: the engine may come back as another version.
func (e *Engine) renew() error {
	c, err := client.NewClientWithOpts(client.WithHost("unix://"+e.socket), client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("use Docker's socket %s: %w", e.socket, err)
	}
	if old := e.api.Swap(c); old != nil {
		return old.Close()
	}
	return nil
}

// call runs one exchange with the engine within limit and explains its error.
// After an upgrade of the engine the exchange is tried once more in its new
// language, so f may run twice.
func (e *Engine) call(ctx context.Context, limit time.Duration, f func(context.Context, *client.Client) error) error {
	err := e.once(ctx, limit, f)
	if err == nil || !foreign(err) {
		return err
	}
	if err := e.renew(); err != nil {
		return err
	}
	return e.once(ctx, limit, f)
}

func (e *Engine) once(ctx context.Context, limit time.Duration, f func(context.Context, *client.Client) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(bounded, e.api.Load())
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return appliance.Problem("engine.slow", err, "seconds", int(limit.Seconds()))
	}
	return explain(ctx, err)
}

// Ping tells whether the engine answers.
func (e *Engine) Ping(ctx context.Context) error {
	return e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) error {
		_, err := c.Ping(ctx)
		return err
	})
}

// Info implements [appliance.EngineWatch].
func (e *Engine) Info(ctx context.Context) (appliance.EngineInfo, error) {
	var info appliance.EngineInfo
	err := e.call(ctx, quickLimit, func(ctx context.Context, c *client.Client) error {
		i, err := c.Info(ctx)
		if err != nil {
			return err
		}
		info = appliance.EngineInfo{
			Version:       i.ServerVersion,
			API:           c.ClientVersion(),
			StorageDriver: i.Driver,
			CgroupVersion: i.CgroupVersion,
			LiveRestore:   i.LiveRestoreEnabled,
			MemoryLimit:   i.MemoryLimit,
			CPUs:          i.NCPU,
		}
		return nil
	})
	return info, err
}
