// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"path/filepath"
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
	Program   string // name of a process that holds it; empty if none is seen
	PID       int
}

// Loopback sockets can not be reached from outside.
func (s Socket) Loopback() bool { return s.Local.Addr().IsLoopback() }

// Kernel tells whether no process is seen that holds the socket. For root, who
// sees all of them, it is the kernel's own, as WireGuard's is.
func (s Socket) Kernel() bool { return s.PID == 0 }

// maxTable bounds what is read of one table of /proc, in bytes.
const maxTable = 8 << 20

// Sockets lists the sockets of the machine whose files lie below root ("/").
// What can not be read is left out.
func Sockets(root string) []Socket {
	owners := socketOwners(root)
	var list []Socket
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data := readProc(filepath.Join(root, "proc/net", table))
		list = append(list, parseSockets(data, strings.TrimSuffix(table, "6"))...)
	}
	for i := range list {
		if o, ok := owners[list[i].Inode]; ok {
			list[i].PID, list[i].Program = o.pid, o.program
		}
	}
	return list
}

func readProc(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxTable))
	if err != nil {
		return nil
	}
	return data
}

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

type owner struct {
	pid     int
	program string
}

// socketOwners maps the inode of each socket to the process that holds it; of
// several, the youngest: systemd hands its sockets to the program that serves.
func socketOwners(root string) map[string]owner {
	links, err := filepath.Glob(filepath.Join(root, "proc/[0-9]*/fd/[0-9]*"))
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
		comm := readProc(filepath.Join(dir, "comm"))
		owners[strings.TrimSuffix(inode, "]")] = owner{pid: pid, program: strings.TrimSpace(string(comm))}
	}
	return owners
}
