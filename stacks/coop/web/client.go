// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"rochdale/stacks/coop"
)

// client is where a request comes from, for limits on tries.
func (s *Server) client(r *http.Request) coop.Client {
	c := coop.Client{Place: s.place(r)}
	if mark, err := r.Cookie(markCookie); err == nil {
		c.Device = mark.Value
	}
	return c
}

// place is the client's address prefix, for rate limits: the whole IPv4 address,
// or the /64 of an IPv6 one, since a household or a phone has all of that.
// X-Forwarded-For counts only as far as trusted proxies wrote it.
func (s *Server) place(r *http.Request) string {
	addr := peer(r.RemoteAddr)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusted(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("")
	}
	if !addr.IsValid() {
		return "unknown"
	}
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // both lengths fit
	return p.String()
}

func peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func (s *Server) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}
