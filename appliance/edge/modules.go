// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	// The few modules of Caddy that the edge uses; each costs memory.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/zstd"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
)

// seat is where our modules find the edge that runs. Caddy's registry belongs
// to the process, and so does the seat: the registry keeps it.
type seat struct {
	taken   atomic.Bool
	current atomic.Pointer[edge] // the last one stays for handlers that end late
}

// edge gives the running one. Modules are only made and called after it began.
func (s *seat) edge() *edge { return s.current.Load() }

// takeSeat registers our modules once in the life of the process.
func takeSeat() *seat {
	if info, err := caddy.GetModule(string((&front{}).CaddyModule().ID)); err == nil {
		if f, ok := info.New().(*front); ok {
			return f.seat
		}
	}
	s := &seat{}
	for _, m := range []caddy.Module{
		&front{seat: s}, &plain{seat: s}, &upstreams{seat: s}, &transport{seat: s}, &gate{seat: s},
		&permission{seat: s}, &acmeIssuer{seat: s}, &internalIssuer{seat: s},
	} {
		caddy.RegisterModule(m)
	}
	return s
}
