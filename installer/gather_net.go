// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"strings"

	"rochdale/appliance/host"
)

func (p Probe) network(ctx context.Context, f *Facts) {
	f.Sockets = host.Sockets(p.Root)
	f.SSHConfigured = host.SSH{Runner: p.Runner, Root: p.Root}.Configured(ctx)
	f.SSHSession = sessionPort(p.Env("SSH_CONNECTION"))
	f.OtherFirewall = p.otherFirewall(ctx)
	f.WireGuard = p.exists("/sys/module/wireguard")
	for _, s := range f.Sockets {
		f.Avahi = f.Avahi || s.Protocol == "udp" && s.Local.Port() == 5353
	}
}

// sessionPort reads "CLIENT PORT SERVER PORT".
func sessionPort(connection string) []uint16 {
	if f := strings.Fields(connection); len(f) == 4 {
		return host.PortNumber(f[3])
	}
	return nil
}

func (p Probe) otherFirewall(ctx context.Context) string {
	if strings.Contains(string(p.file("/etc/ufw/ufw.conf")), "ENABLED=yes") {
		return "ufw"
	}
	if strings.TrimSpace(p.ask(ctx, "systemctl", "is-active", "firewalld.service")) == "active" {
		return "firewalld"
	}
	return ""
}
