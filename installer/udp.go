// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"slices"
	"strconv"
	"strings"

	"rochdale/appliance"
)

// lowestPassing is the first port that the kernel gives to programs that ask
// somebody something; answers to them pass any firewall.
const lowestPassing = 32768

// udpServers are programs that wait for others at a port above lowestPassing.
func udpServers() []string {
	return []string{"tailscaled", "wireguard-go", "boringtun", "openvpn", "zerotier-one", "netbird", "nebula", "charon", "turnserver", "mosh-server"}
}

// udpAsking are ports from which a machine asks its network, and which nobody
// outside needs to reach: DHCP, time, LLMNR, DHCPv6. Names on the local network
// and HTTP/3 stay open.
func udpAsking() []uint16 { return []uint16{68, 123, 443, 546, 5353, 5355} }

// judgeUDP names the services over UDP, a tunnel by which somebody reaches this
// machine among them, that the firewall would cut. Where it is up already
// nothing is cut any more.
func judgeUDP(f Facts) []appliance.Finding {
	if f.Installed.Finished && !f.Installed.Removed {
		return nil
	}
	services, ports := map[uint16]string{}, []uint16{}
	for _, s := range f.Sockets {
		port := s.Local.Port()
		if _, seen := services[port]; seen || !servesUDP(s) {
			continue
		}
		services[port] = orUnknown(s.Program)
		if s.Kernel() && f.WireGuard {
			services[port] = "WireGuard"
		}
		ports = append(ports, port)
	}
	if len(ports) == 0 {
		return nil
	}
	slices.Sort(ports)
	named, numbers := make([]string, len(ports)), make([]string, len(ports))
	for i, port := range ports {
		numbers[i] = strconv.Itoa(int(port))
		named[i] = numbers[i] + " (" + services[port] + ")"
	}
	rule := "udp dport { " + strings.Join(numbers, ", ") + " } accept"
	return []appliance.Finding{finding(appliance.Warning, "install.udp-closed", "ports", strings.Join(named, ", "), "rule", rule)}
}

// servesUDP tells whether somebody outside may speak first to the socket. One
// that no process holds is the kernel's, a tunnel of WireGuard as a rule.
func servesUDP(s Socket) bool {
	port := s.Local.Port()
	if s.Protocol != "udp" || !s.Listening || s.Loopback() || slices.Contains(udpAsking(), port) {
		return false
	}
	return port < lowestPassing || s.Kernel() || slices.Contains(udpServers(), s.Program)
}
