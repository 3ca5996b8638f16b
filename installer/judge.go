// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rochdale/appliance"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	minMemory  = 450 * mib
	goodMemory = 920 * mib // a machine sold with 1 GB shows a little less
	minDisk    = 2 * gib
	clockSlack = 24 * time.Hour
)

// Judge says what the facts mean for an installation: every finding at once.
// It is a pure function.
func Judge(f Facts, o Options) []appliance.Finding {
	return slices.Concat(
		judgeOptions(o),
		judgeSystem(f, o),
		judgeResources(f),
		judgeClock(f),
		judgePorts(f),
		judgeUDP(f),
		judgeDomain(f, o),
		judgePackages(f),
		judgeDocker(f),
		judgeEarlier(f, o),
	)
}

func judgeSystem(f Facts, o Options) []appliance.Finding {
	var found []appliance.Finding
	add := func(s appliance.Severity, id string, pairs ...any) {
		found = append(found, finding(s, id, pairs...))
	}
	if f.UID != 0 {
		add(appliance.Failure, "install.not-root")
	}
	if !f.Systemd {
		add(appliance.Failure, "install.no-systemd")
	}
	if !contains([]string{"amd64", "arm64", "arm"}, f.Arch) {
		add(appliance.Failure, "install.architecture", "arch", f.Arch)
	}
	switch support := f.System.Support(); {
	case support == Refused && !o.Force:
		add(appliance.Failure, "install.system-unknown", "system", f.System.Title)
	case support == Refused:
		add(appliance.Warning, "install.system-forced", "system", f.System.Title)
	case support == Expected:
		add(appliance.Notice, "install.system-expected", "system", f.System.Title)
	}
	if len(f.Masked) > 0 {
		add(appliance.Notice, "install.units-masked", "units", strings.Join(f.Masked, ", "))
	}
	if f.ProgramErr != "" {
		add(appliance.Failure, "install.program-unreadable", "file", o.Program, "detail", f.ProgramErr)
	}
	if f.RootErr != "" {
		add(appliance.Failure, "install.option-acme-root", "file", o.ACMERoot, "detail", f.RootErr)
	}
	return found
}

func judgeResources(f Facts) []appliance.Finding {
	var found []appliance.Finding
	add := func(s appliance.Severity, id string, pairs ...any) {
		found = append(found, finding(s, id, pairs...))
	}
	switch {
	case f.Memory < minMemory:
		add(appliance.Failure, "install.memory-small", "have", size(f.Memory), "need", size(minMemory))
	case f.Memory < goodMemory:
		add(appliance.Warning, "install.memory-tight", "have", size(f.Memory))
	}
	if !f.MemoryLimits {
		add(appliance.Warning, "install.memory-limits-off")
	}
	if f.DiskFree < minDisk {
		add(appliance.Failure, "install.disk-full", "path", "/", "have", size(f.DiskFree), "need", size(minDisk))
	}
	if f.VarFree < minDisk && f.VarFree != f.DiskFree {
		add(appliance.Failure, "install.disk-full", "path", "/var", "have", size(f.VarFree), "need", size(minDisk))
	}
	return found
}

func judgeClock(f Facts) []appliance.Finding {
	switch {
	case f.Now.Before(f.Built.Add(-clockSlack)), f.Now.After(f.Built.AddDate(10, 0, 0)):
		return []appliance.Finding{finding(appliance.Failure, "install.clock-wrong",
			"now", f.Now.UTC().Format(time.DateTime), "newest", f.Built.UTC().Format(time.DateTime))}
	case !f.ClockSync && !f.Container:
		return []appliance.Finding{finding(appliance.Warning, "install.clock-not-synchronised")}
	}
	return nil
}

// ownPrograms hold the web's ports when an installation of ours is there:
// systemd for the sockets, our edge for what it was handed.
func ownPrograms(f Facts) []string {
	if f.Installed.Version == "" {
		return nil
	}
	return []string{"systemd", "edge", "rochdale"}
}

func judgePorts(f Facts) []appliance.Finding {
	var found []appliance.Finding
	own := ownPrograms(f)
	for _, p := range []struct {
		protocol string
		port     uint16
	}{{"tcp", 80}, {"tcp", 443}, {"udp", 443}} {
		for _, s := range holders(f.Sockets, p.protocol, p.port) {
			if contains(own, s.Program) {
				continue
			}
			found = append(found, finding(appliance.Failure, "install.port-taken",
				"port", fmt.Sprintf("%d/%s", p.port, p.protocol), "by", orUnknown(s.Program), "pid", s.PID))
			break
		}
	}
	if f.OtherFirewall != "" {
		found = append(found, finding(appliance.Warning, "install.other-firewall", "name", f.OtherFirewall))
	}
	if closed := closedPorts(f); len(closed) > 0 {
		found = append(found, finding(appliance.Notice, "install.ports-closed", "ports", strings.Join(closed, ", ")))
	}
	return found
}

// closedPorts are the services that answer the network now and will not any
// more once the firewall is up.
func closedPorts(f Facts) []string {
	var closed []string
	for _, s := range f.Sockets {
		open := slices.Contains(f.SSHPorts, s.Local.Port()) || slices.Contains([]uint16{80, 443}, s.Local.Port())
		if s.Protocol != "tcp" || !s.Listening || s.Loopback() || open {
			continue
		}
		closed = append(closed, strconv.Itoa(int(s.Local.Port()))+" ("+orUnknown(s.Program)+")")
	}
	slices.Sort(closed)
	return slices.Compact(closed)
}

func judgeDomain(f Facts, o Options) []appliance.Finding {
	if o.TLS == "internal" || o.Domain == "" || !domainForm(o.Domain, o.TLS) {
		return nil
	}
	if len(f.DomainAddresses) == 0 {
		return []appliance.Finding{finding(appliance.Warning, "install.domain-nowhere", "domain", o.Domain)}
	}
	private := true
	for _, own := range f.OwnAddresses {
		if slices.Contains(f.DomainAddresses, own) {
			return nil
		}
		private = private && (own.IsPrivate() || own.IsLinkLocalUnicast() || own.IsLoopback())
	}
	addresses := make([]string, len(f.DomainAddresses))
	for i, a := range f.DomainAddresses {
		addresses[i] = a.String()
	}
	id := "install.domain-elsewhere"
	if private {
		id = "install.domain-behind-router" // its public address can not be known from inside
	}
	return []appliance.Finding{finding(appliance.Warning, id, "domain", o.Domain, "addresses", strings.Join(addresses, ", "))}
}

func judgePackages(f Facts) []appliance.Finding {
	var found []appliance.Finding
	if len(f.HalfDone) > 0 {
		found = append(found, finding(appliance.Warning, "install.dpkg-interrupted", "packages", strings.Join(f.HalfDone, ", ")))
	}
	if f.AptBusy != "" {
		found = append(found, finding(appliance.Warning, "install.apt-busy", "by", f.AptBusy))
	}
	needed := len(missing(f, packagesFor(f))) > 0
	switch {
	case f.AptError != "" && needed:
		found = append(found, finding(appliance.Failure, "install.apt-broken", "detail", f.AptError))
	case f.Mirrors == 0 && needed:
		found = append(found, finding(appliance.Failure, "install.apt-no-source"))
	case f.Mirrors == len(f.Unreachable) && f.Mirrors > 0 && needed:
		found = append(found, finding(appliance.Failure, "install.apt-unreachable", "mirrors", strings.Join(f.Unreachable, ", ")))
	case len(f.Unreachable) > 0:
		found = append(found, finding(appliance.Warning, "install.apt-partly", "mirrors", strings.Join(f.Unreachable, ", ")))
	}
	return found
}

func judgeDocker(f Facts) []appliance.Finding {
	var found []appliance.Finding
	add := func(s appliance.Severity, id string, pairs ...any) {
		found = append(found, finding(s, id, pairs...))
	}
	d := f.Docker
	if d.Snap {
		add(appliance.Failure, "install.docker-snap")
	}
	if d.Package == "podman-docker" {
		add(appliance.Failure, "install.docker-podman")
	}
	if d.Swarm {
		add(appliance.Failure, "install.docker-swarm")
	}
	if d.ConfigErr != "" {
		add(appliance.Failure, "install.docker-config", "detail", d.ConfigErr)
	}
	if d.Version != "" && versionLess(d.Version, "20.10") {
		add(appliance.Failure, "install.docker-old", "version", d.Version)
	}
	if d.Package != "" && d.Package != "podman-docker" && f.Installed.Version == "" && len(found) == 0 {
		add(appliance.Notice, "install.docker-there", "package", d.Package, "version", d.Version)
	}
	return found
}

func judgeEarlier(f Facts, o Options) []appliance.Finding {
	i := f.Installed
	if _, err := earlierConfig(f); err != nil {
		return []appliance.Finding{optionFinding(err)}
	}
	switch {
	case i.Err != "":
		return []appliance.Finding{finding(appliance.Failure, "install.record-unreadable", "detail", i.Err)}
	case i.Version == "":
		return nil
	case versionLess(o.Version, i.Version):
		return []appliance.Finding{finding(appliance.Failure, "install.newer-there", "have", i.Version, "this", o.Version)}
	case i.Removed:
		return []appliance.Finding{finding(appliance.Notice, "install.data-kept")}
	case !i.Finished:
		return []appliance.Finding{finding(appliance.Notice, "install.goes-on")}
	default:
		return []appliance.Finding{finding(appliance.Notice, "install.refresh", "version", i.Version)}
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

// size renders bytes for people, in the units in which machines are sold.
func size(n int64) string {
	if n >= gib {
		return strconv.FormatFloat(float64(n)/gib, 'f', 1, 64) + " GB"
	}
	return strconv.FormatInt(n/mib, 10) + " MB"
}
