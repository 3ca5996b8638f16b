// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func (p Probe) network(ctx context.Context, f *Facts) {
	owners := p.socketOwners()
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f.Sockets = append(f.Sockets, parseSockets(p.file("/proc/net/"+table), strings.TrimSuffix(table, "6"))...)
	}
	for i := range f.Sockets {
		if o, ok := owners[f.Sockets[i].Inode]; ok {
			f.Sockets[i].PID, f.Sockets[i].Program = o.pid, o.program
		}
	}
	f.SSHConfigured = p.sshConfigured(ctx)
	f.SSHSession = sessionPort(p.Env("SSH_CONNECTION"))
	f.OtherFirewall = p.otherFirewall(ctx)
	for _, s := range f.Sockets {
		f.Avahi = f.Avahi || s.Protocol == "udp" && s.Local.Port() == 5353
	}
}

type owner struct {
	pid     int
	program string
}

// socketOwners maps the inode of each socket to the process that holds it; of
// several, the youngest: systemd hands its sockets to the program that serves.
func (p Probe) socketOwners() map[string]owner {
	links, err := filepath.Glob(p.path("/proc/[0-9]*/fd/[0-9]*"))
	if err != nil {
		return nil
	}
	owners := map[string]owner{}
	for _, link := range links {
		target, err := os.Readlink(link)
		inode, ok := strings.CutPrefix(target, "socket:[")
		if err != nil || !ok {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || owners[strings.TrimSuffix(inode, "]")].pid > pid {
			continue
		}
		comm := p.file(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
		owners[strings.TrimSuffix(inode, "]")] = owner{pid: pid, program: strings.TrimSpace(string(comm))}
	}
	return owners
}

// sshConfigured are the ports of sshd's configuration, and of the socket by
// which systemd may start it (Ubuntu's default).
func (p Probe) sshConfigured(ctx context.Context) []uint16 {
	var ports []uint16
	if p.exists("/usr/sbin/sshd") {
		for line := range strings.Lines(p.ask(ctx, "/usr/sbin/sshd", "-T")) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "port" {
				ports = append(ports, portNumber(f[1])...)
			}
		}
	}
	for _, unit := range []string{"ssh.socket", "sshd.socket"} {
		shown := p.ask(ctx, "systemctl", "show", unit, "--property=ActiveState,Listen")
		if !strings.Contains(shown, "ActiveState=active") {
			continue
		}
		for field := range strings.FieldsSeq(shown) {
			if i := strings.LastIndexByte(field, ':'); i >= 0 {
				ports = append(ports, portNumber(field[i+1:])...)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// sessionPort reads "CLIENT PORT SERVER PORT".
func sessionPort(connection string) []uint16 {
	if f := strings.Fields(connection); len(f) == 4 {
		return portNumber(f[3])
	}
	return nil
}

func portNumber(s string) []uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return nil
	}
	return []uint16{uint16(n)}
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
