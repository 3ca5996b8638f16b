// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"net/netip"
	"time"

	"rochdale/appliance/host"
)

// Facts is what preflight saw of a machine. It changes nothing on it; what it
// means is decided by pure functions over this value.
type Facts struct {
	System  System `json:"system"`
	Arch    string `json:"arch"` // as Go names it: amd64, arm64, arm
	UID     int    `json:"uid"`
	Systemd bool   `json:"systemd"` // systemd is PID 1
	// Container: the machine shares its kernel with another one.
	Container bool `json:"container"`

	Memory       int64  `json:"memory_bytes"`
	Swap         int64  `json:"swap_bytes"`
	MemoryLimits bool   `json:"memory_limits"` // the kernel can limit the memory of containers
	DiskFree     int64  `json:"disk_free_bytes"`
	VarFree      int64  `json:"var_free_bytes"`
	VarKind      string `json:"var_file_system"` // "ext4", "btrfs", ...

	Now        time.Time `json:"now"`
	Built      time.Time `json:"built"` // the newest file of the system: no right clock is before it
	ClockSync  bool      `json:"clock_synchronised"`
	TimeDaemon string    `json:"time_daemon"` // package that keeps the clock; empty if none

	Sockets       []Socket `json:"-"`
	SSHConfigured []uint16 `json:"-"`
	SSHSession    []uint16 `json:"-"`
	SSHPorts      []uint16 `json:"ssh_ports"`
	OtherFirewall string   `json:"other_firewall"` // "ufw", "firewalld" or empty
	Avahi         bool     `json:"avahi"`
	WireGuard     bool     `json:"wireguard"` // the kernel has it loaded
	// Masked are units that we need and that somebody switched off for good.
	Masked []string `json:"masked_units"`

	DomainAddresses []netip.Addr `json:"domain_addresses"`
	DomainError     string       `json:"domain_error,omitempty"`
	OwnAddresses    []netip.Addr `json:"own_addresses"`

	SSHClient   bool                    `json:"-"` // a repository is reached over SSH
	Packages    map[string]host.Package `json:"-"`
	Held        []string                `json:"-"`
	HalfDone    []string                `json:"half_done_packages"`
	Unreachable []string                `json:"unreachable_mirrors"`
	Mirrors     int                     `json:"mirrors"`
	AptError    string                  `json:"apt_error,omitempty"` // why apt does not tell its sources
	AptBusy     string                  `json:"apt_busy"`            // who holds dpkg's lock
	Downloads   []host.Download         `json:"-"`
	ListsThere  bool                    `json:"package_lists"`

	Program    Program `json:"program"`
	ProgramErr string  `json:"-"`

	Docker    Docker    `json:"docker"`
	Installed Installed `json:"installed"`
	// RootPEM is the file of Options.ACMERoot.
	RootPEM []byte `json:"-"`
	RootErr string `json:"-"`
}

// Docker is an engine that was there before us.
type Docker struct {
	Package string `json:"package"` // "docker.io", "docker-ce", "podman-docker" or empty
	Version string `json:"version"`
	Swarm   bool   `json:"swarm"`
	// ConfigErr is why its daemon.json can not be read.
	ConfigErr string `json:"config_error,omitempty"`
	Config    []byte `json:"-"` // daemon.json as it is now; nil if there is none
	Snap      bool   `json:"snap"`
}

// Installed is an installation of ours that was there before.
type Installed struct {
	Version  string `json:"version"` // empty if there is none
	Finished bool   `json:"finished"`
	Removed  bool   `json:"removed"` // an uninstall kept the data
	// Config is rochdale.yaml as it is; nil if there is none.
	Config []byte  `json:"-"`
	Record *Record `json:"-"`
	Err    string  `json:"-"`
}
