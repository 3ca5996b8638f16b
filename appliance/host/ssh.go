// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SSH finds the ports by which people log in to the machine whose files lie
// below Root ("/").
type SSH struct {
	Runner Runner
	Root   string
}

// sshBound is how long one program may take to answer.
const sshBound = 10 * time.Second

// Ports are those that a server listens on now, and those that it or systemd
// is told to listen on.
func (s SSH) Ports(ctx context.Context) []uint16 {
	listening, _ := SSHSockets(Sockets(s.Root))
	return sorted(append(listening, s.Configured(ctx)...))
}

// SSHSockets are the ports on which sshd and its kind listen, and the ports of
// sessions that are open now.
func SSHSockets(sockets []Socket) (listening, open []uint16) {
	for _, s := range sockets {
		switch {
		case s.Protocol != "tcp" || !sshServer(s.Program) || s.Loopback():
		case s.Listening:
			listening = append(listening, s.Local.Port())
		default:
			open = append(open, s.Local.Port())
		}
	}
	return listening, open
}

func sshServer(program string) bool {
	return strings.HasPrefix(program, "sshd") || program == "dropbear" || program == "tinysshd"
}

// Configured are the ports of sshd's configuration, and of the socket by which
// systemd may start it (Ubuntu's default).
func (s SSH) Configured(ctx context.Context) []uint16 {
	var ports []uint16
	if _, err := os.Stat(filepath.Join(s.Root, "usr/sbin/sshd")); err == nil {
		for line := range strings.Lines(s.ask(ctx, "/usr/sbin/sshd", "-T")) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "port" {
				ports = append(ports, PortNumber(f[1])...)
			}
		}
	}
	for _, unit := range []string{"ssh.socket", "sshd.socket"} {
		shown := s.ask(ctx, "systemctl", "show", unit, "--property=ActiveState,Listen")
		if !strings.Contains(shown, "ActiveState=active") {
			continue
		}
		for field := range strings.FieldsSeq(shown) {
			if i := strings.LastIndexByte(field, ':'); i >= 0 {
				ports = append(ports, PortNumber(field[i+1:])...)
			}
		}
	}
	return sorted(ports)
}

// ask gives what a program printed; nothing when it fails.
func (s SSH) ask(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, sshBound)
	defer cancel()
	r, err := s.Runner.Run(ctx, Command{Name: name, Args: args})
	if err != nil {
		return ""
	}
	return string(r.Stdout)
}

// PortNumber reads a port; none when it is not one.
func PortNumber(s string) []uint16 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return nil
	}
	return []uint16{uint16(n)}
}

func sorted(ports []uint16) []uint16 {
	slices.Sort(ports)
	return slices.Compact(ports)
}
