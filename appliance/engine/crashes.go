// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"sync"
	"time"

	"rochdale/appliance"
)

// crashWindow is how long an end that nobody asked for counts.
const crashWindow = 10 * time.Minute

// crashes remembers how often the containers of each service ended by
// themselves. Our containers have no restart policy, so the engine's own
// counter stays at zero; this one begins anew with the process.
type crashes struct {
	mu    sync.Mutex
	asked map[string]bool // ids that were told to end
	ends  map[service]map[end]bool
}

type service struct{ stack, name string }

type end struct {
	id string
	at time.Time
}

func (c *crashes) ask(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = map[string]bool{}
	}
	c.asked[id] = true
}

func (c *crashes) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, id)
}

// note counts the end of a container, once however often it is seen.
func (c *crashes) note(x appliance.Container, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.Finished.IsZero() || c.asked[x.ID] || now.Sub(x.Finished) > crashWindow {
		return
	}
	key := service{x.Stack, x.Service}
	if c.ends == nil {
		c.ends = map[service]map[end]bool{}
	}
	if c.ends[key] == nil {
		c.ends[key] = map[end]bool{}
	}
	c.ends[key][end{x.ID, x.Finished}] = true
}

func (c *crashes) count(x appliance.Container, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := service{x.Stack, x.Service}
	for e := range c.ends[key] {
		if now.Sub(e.at) > crashWindow {
			delete(c.ends[key], e)
		}
	}
	return len(c.ends[key])
}
