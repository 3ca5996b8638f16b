// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"fmt"
	"strings"
)

// firewallRules renders our own table: what reaches this machine, and nothing
// about what it forwards; the container engine's rules stay untouched.
//
// The first two lines make loading it again replace it in one transaction.
func firewallRules(f Facts) []byte {
	var b strings.Builder
	b.WriteString(firewallHead)
	for _, port := range f.SSHPorts {
		fmt.Fprintf(&b, "\t\ttcp dport %d accept comment \"ssh\"\n", port)
	}
	if f.Avahi {
		b.WriteString("\t\tip daddr 224.0.0.251 udp dport 5353 accept comment \"names on the local network\"\n")
		b.WriteString("\t\tip6 daddr ff02::fb udp dport 5353 accept comment \"names on the local network\"\n")
		b.WriteString("\t\tip protocol igmp accept\n")
	}
	b.WriteString(firewallTail)
	return []byte(b.String())
}

const firewallHead = `# Rochdale's firewall. Written by the installer; own rules go into files
# /etc/rochdale/firewall.d/NAME.nft, such as: tcp dport 9090 accept
# Load them with: systemctl reload rochdale-firewall
table inet rochdale
delete table inet rochdale

table inet rochdale {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "lo" accept
		meta l4proto { icmp, ipv6-icmp } accept
		udp sport 67 udp dport 68 accept comment "address by DHCP"
		ip6 saddr fe80::/10 udp dport 546 accept comment "address by DHCPv6"
`

const firewallTail = `		tcp dport { 80, 443 } accept comment "web"
		udp dport 443 accept comment "web, HTTP/3"
		include "/etc/rochdale/firewall.d/*.nft"
	}
}
`
