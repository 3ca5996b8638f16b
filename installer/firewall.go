// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"fmt"
	"strings"

	"rochdale/appliance/host"
)

// firewallRules renders our own table: what reaches this machine, what the
// containers of stacks do not reach, and that nobody reaches them but the edge:
// on a machine that forwarded before the engine came, for a VPN say, the engine
// lets neighbours who route to it through to every container. All else that the
// machine forwards is left alone; the container engine's rules stay untouched.
//
// The first two lines make loading it again replace it in one transaction. An
// operator's own rules are loaded after it, each file by itself.
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
# /etc/rochdale/firewall.d/NAME.nft for what reaches this machine, such as
#   tcp dport 9090 accept
# and NAME.out.nft for what the stacks' containers reach besides the internet:
#   ip daddr 192.168.1.20 tcp dport 5432 accept
# Load them with: systemctl reload rochdale-firewall
table inet rochdale
delete table inet rochdale

table inet rochdale {
	chain ` + host.OwnIn + ` {
	}
	chain ` + host.OwnOut + ` {
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "lo" accept
		meta l4proto { icmp, ipv6-icmp } accept
		iifname "rd-*" goto stacks
		udp sport 67 udp dport 68 accept comment "address by DHCP"
		ip6 saddr fe80::/10 udp dport 546 accept comment "address by DHCPv6"
`

const firewallTail = `		tcp dport { 80, 443 } accept comment "web"
		udp dport 443 accept comment "web, HTTP/3"
		jump ` + host.OwnIn + `
	}
	chain stacks {
		tcp dport { 80, 443 } accept comment "a stack may visit this machine's web, and nothing else of it"
		udp dport 443 accept
		meta l4proto { tcp, udp } th dport 53 accept comment "names, where this machine knows them"
		drop
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		iifname "rd-*" jump outward
		iifname != "rd-*" oifname "rd-*" goto inward
	}
	chain inward {
		ct state established,related accept
		drop comment "stacks answer the edge, which is on this machine; nobody else comes past it"
	}
	chain outward {
		ct state established,related accept
		oifname "rd-*" accept comment "the engine keeps stacks apart"
		meta l4proto { tcp, udp } th dport 53 accept comment "the engine asks for names from here"
		jump ` + host.OwnOut + `
		ip daddr {
			0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 168.63.129.16, 169.254.0.0/16,
			172.16.0.0/12, 192.0.0.0/24, 192.168.0.0/16, 224.0.0.0/3
		} drop comment "private networks, and what clouds tell their machines"
		ip6 daddr { ::/96, ::ffff:0:0/96, 64:ff9b::/96, fc00::/7, fe80::/10, ff00::/8 } drop
	}
}
`
