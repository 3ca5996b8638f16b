// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"slices"

	"rochdale/appliance/host"
)

// Socket is one socket of the machine, with who holds it.
type Socket = host.Socket

// sshPorts are the ports by which somebody is or can be logged in: what sshd
// and its kind listen on, what systemd listens on for them, what the
// configuration says, and the port of the session that we run in. Where nobody
// listens, the ports of sessions that are open now count: to close the door on
// the person who runs this is worse than a port too many.
func sshPorts(f Facts) []uint16 {
	listening, open := host.SSHSockets(f.Sockets)
	ports := slices.Concat(listening, f.SSHConfigured, f.SSHSession)
	if len(ports) == 0 {
		ports = open
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// holders are those who listen on a port, at whatever address: one on loopback
// is in the way of somebody who wants all of them.
func holders(sockets []Socket, protocol string, port uint16) []Socket {
	var list []Socket
	for _, s := range sockets {
		if s.Protocol == protocol && s.Listening && s.Local.Port() == port {
			list = append(list, s)
		}
	}
	return list
}
