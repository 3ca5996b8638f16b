// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Socket is one socket that the kernel lists in /proc/net, with who holds it.
type Socket struct {
	Protocol string // "tcp" or "udp"
	Local    netip.AddrPort
	// Listening is a TCP socket that takes connections, or any bound UDP socket.
	Listening bool
	Inode     string
	Program   string // name of a process that holds it; empty if unknown
	PID       int
}

// Loopback sockets can not be reached from outside.
func (s Socket) Loopback() bool { return s.Local.Addr().IsLoopback() }

// parseSockets reads one table of /proc/net ("tcp", "tcp6", "udp", "udp6").
// Lines that can not be read are left out.
func parseSockets(table []byte, protocol string) []Socket {
	var list []Socket
	for line := range bytes.Lines(table) {
		f := strings.Fields(string(line))
		if len(f) < 10 {
			continue
		}
		local, ok := parseEndpoint(f[1])
		if !ok {
			continue
		}
		const listen, unconnected = "0A", "07"
		list = append(list, Socket{
			Protocol: protocol, Local: local, Inode: f[9],
			Listening: protocol == "tcp" && f[3] == listen || protocol == "udp" && f[3] == unconnected,
		})
	}
	return list
}

// parseEndpoint reads "0100007F:0050": 32-bit words in the machine's own byte
// order (every machine of ours is little-endian), the port in plain hex.
func parseEndpoint(s string) (netip.AddrPort, bool) {
	address, portHex, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(address)
	port, portErr := strconv.ParseUint(portHex, 16, 16)
	if !ok || err != nil || portErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), ok
}

// sshPorts are the ports by which somebody is or can be logged in: what sshd
// and its kind listen on, what systemd listens on for them, what the
// configuration says, and the port of the session that we run in. Where nobody
// listens, the ports of sessions that are open now count: to close the door on
// the person who runs this is worse than a port too many.
func sshPorts(f Facts) []uint16 {
	var listening, open []uint16
	for _, s := range f.Sockets {
		switch {
		case s.Protocol != "tcp" || !sshServer(s.Program) || s.Loopback():
		case s.Listening:
			listening = append(listening, s.Local.Port())
		default:
			open = append(open, s.Local.Port())
		}
	}
	ports := slices.Concat(listening, f.SSHConfigured, f.SSHSession)
	if len(ports) == 0 {
		ports = open
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func sshServer(program string) bool {
	return strings.HasPrefix(program, "sshd") || program == "dropbear" || program == "tinysshd"
}

// holders names who listens on a port that is reachable from outside.
func holders(sockets []Socket, protocol string, port uint16) []Socket {
	var list []Socket
	for _, s := range sockets {
		if s.Protocol == protocol && s.Listening && s.Local.Port() == port {
			list = append(list, s)
		}
	}
	return list
}
