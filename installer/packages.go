// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"cmp"
	"maps"
	"slices"
)

// packagesFor are the packages that the box needs on this machine. AppArmor is
// one of them: on a kernel that has it switched on, no container starts without
// its parser.
func packagesFor(f Facts) []string {
	list := []string{"apparmor", "ca-certificates", "nftables", "unattended-upgrades"}
	if f.Docker.Package == "" || f.Docker.Package == "docker.io" {
		list = append(list, "docker.io")
	}
	if f.TimeDaemon == "" || f.TimeDaemon == "systemd-timesyncd" {
		list = append(list, "systemd-timesyncd")
	}
	if f.SSHClient {
		list = append(list, "openssh-client")
	}
	slices.Sort(list)
	return list
}

// timeDaemons keep the clock; any one of them is enough.
func timeDaemons() []string {
	return []string{"chrony", "ntpsec", "ntp", "openntpd", "systemd-timesyncd"}
}

// engineFamily are the packages of a container engine, whoever made them. An
// unattended upgrade of one of them has stopped whole machines; they are held.
func engineFamily() []string {
	return []string{"docker.io", "docker-ce", "docker-ce-cli", "containerd", "containerd.io", "runc"}
}

// missing are the packages of the list that are not installed.
func missing(f Facts, list []string) []string {
	var out []string
	for _, name := range list {
		if !f.Packages[name].Installed() {
			out = append(out, name)
		}
	}
	return out
}

// downloadBytes is what the packages take over the network.
func downloadBytes(f Facts) int64 {
	var sum int64
	for _, d := range f.Downloads {
		sum += d.Bytes
	}
	return sum
}

// installedNames are the names of all packages that are installed, in order.
func installedNames(f Facts) []string {
	names := []string{}
	for _, name := range sortedKeys(f.Packages) {
		if f.Packages[name].Installed() {
			names = append(names, name)
		}
	}
	return names
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
