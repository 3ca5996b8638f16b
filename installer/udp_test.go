// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"path/filepath"
	"testing"

	"rochdale/appliance"
)

func TestJudgeUDP(t *testing.T) {
	kernel := socket("udp", "0.0.0.0:51820", "")
	kernel.PID = 0
	cases := []struct {
		name    string
		facts   Facts
		ports   string
		rule    string
		without bool
	}{
		{name: "nothing", without: true},
		{name: "WireGuard", facts: Facts{WireGuard: true, Sockets: []Socket{kernel}}, ports: "51820 (WireGuard)", rule: "udp dport { 51820 } accept"},
		{name: "the kernel, without WireGuard", facts: Facts{Sockets: []Socket{kernel}}, ports: "51820 (" + orUnknown("") + ")", rule: "udp dport { 51820 } accept"},
		{name: "a name server and a tunnel", facts: Facts{Sockets: []Socket{
			socket("udp", "0.0.0.0:41641", "tailscaled"), socket("udp", "[::]:53", "named"), socket("udp", "0.0.0.0:53", "named"),
		}}, ports: "53 (named), 41641 (tailscaled)", rule: "udp dport { 53, 41641 } accept"},
		{name: "who only asks", without: true, facts: Facts{Sockets: []Socket{
			socket("udp", "0.0.0.0:68", "dhclient"), socket("udp", "0.0.0.0:123", "ntpd"), socket("udp", "0.0.0.0:40000", "dig"),
			socket("udp", "0.0.0.0:5353", "avahi-daemon"), socket("udp", "127.0.0.53:53", "systemd-resolve"), socket("tcp", "0.0.0.0:9090", "x"),
		}}},
		{name: "installed already", without: true, facts: Facts{Sockets: []Socket{kernel}, Installed: Installed{Version: "1.0.0", Finished: true}}},
		{name: "removed again", facts: Facts{WireGuard: true, Sockets: []Socket{kernel}, Installed: Installed{Version: "1.0.0", Finished: true, Removed: true}},
			ports: "51820 (WireGuard)", rule: "udp dport { 51820 } accept"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			got := judgeUDP(test.facts)
			if test.without {
				if len(got) > 0 {
					t.Errorf("got %v", got)
				}
				return
			}
			if len(got) != 1 || got[0].ID != "install.udp-closed" || got[0].Severity != appliance.Warning ||
				got[0].Args["ports"] != test.ports || got[0].Args["rule"] != test.rule {
				t.Errorf("got %v, want %s and %s", got, test.ports, test.rule)
			}
		})
	}
}

// TestUDPFromTheKernel: a socket of WireGuard is in the kernel's table, and no
// process has it.
func TestUDPFromTheKernel(t *testing.T) {
	p := machine(t, map[string]string{"/sys/module/wireguard/refcnt": "1\n", "/proc/net/udp": udpTable})
	o := asked()
	o.Program = filepath.Join(p.Root, "root/rochdale")
	for _, f := range Judge(Gather(t.Context(), p, o), o) {
		if f.ID == "install.udp-closed" && f.Args["ports"] == "51820 (WireGuard)" {
			return
		}
	}
	t.Error("the tunnel is not named")
}

// tables are lines as a kernel prints them.
const (
	tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0277 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 18520 1 0000000000000000 100 0 0 10 0
   1: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20001 1 0000000000000000 100 0 0 10 0
   2: 07710ACB:0016 0A00A8C0:D1F4 01 00000000:00000000 02:000A7D8C 00000000     0        0 20777 4 0000000000000000 20 4 31 10 -1
   3: garbage
`
	udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 00000000:CA6C 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 30001 2 0000000000000000 0
`
)
