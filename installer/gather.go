// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync"

	"rochdale/appliance"
)

// Preflight looks at the machine and judges what it sees. It changes nothing.
func Preflight(ctx context.Context, p Probe, o Options) (Facts, []appliance.Finding) {
	f := Gather(ctx, p, o)
	return f, Judge(f, o)
}

// Gather collects the facts. What takes time is asked at the same time.
func Gather(ctx context.Context, p Probe, o Options) Facts {
	f := Facts{
		System:    parseSystem(p.file("/etc/os-release"), p.exists("/etc/rpi-issue")),
		Arch:      p.Arch,
		UID:       p.UID,
		Systemd:   strings.TrimSpace(string(p.file("/proc/1/comm"))) == "systemd",
		Container: len(p.file("/run/systemd/container")) > 0,
		Now:       p.Now,
		SSHClient: o.SSHClient,
	}
	f.Packages = p.packages(ctx)
	var wait sync.WaitGroup
	for _, part := range []func(context.Context, *Facts){
		p.resources, p.clock, p.network, p.mirrors, p.apt, p.docker,
		func(ctx context.Context, f *Facts) { p.domain(ctx, f, o) },
		func(_ context.Context, f *Facts) { p.earlier(f, o) },
		func(_ context.Context, f *Facts) { p.program(f, o) },
	} {
		// Each part fills its own fields; none reads what another one fills.
		wait.Go(func() { part(ctx, &f) })
	}
	wait.Wait()
	f.SSHPorts, f.Masked = sshPorts(f), p.masked()
	f.Downloads, f.ListsThere = p.downloads(ctx, f)
	return f
}

// neededUnits are units of the distribution that the box can not be without.
func neededUnits() []string {
	return []string{
		"apparmor.service", "apt-daily-upgrade.timer", "apt-daily.timer", "apt-daily-upgrade.service", "apt-daily.service",
		"containerd.service", "docker.service", "docker.socket", "unattended-upgrades.service",
	}
}

// masked are those of them that can not be started, whoever asks: a link to
// nowhere stands in their place.
func (p Probe) masked() []string {
	list := []string{}
	for _, name := range neededUnits() {
		if pointsTo(p.path("/etc/systemd/system/"+name), "/dev/null") {
			list = append(list, name)
		}
	}
	return list
}

func (p Probe) resources(_ context.Context, f *Facts) {
	info := p.file("/proc/meminfo")
	f.Memory, f.Swap = kilobytes(info, "MemTotal:"), kilobytes(info, "SwapTotal:")
	f.MemoryLimits = memoryLimits(p.file("/sys/fs/cgroup/cgroup.controllers"), p.file("/proc/cgroups"))
	// A folder that can not be asked about counts as empty: the finding then
	// says so instead of the installation breaking in its middle.
	f.DiskFree, _, _ = p.Space(p.path("/"))
	f.VarFree, f.VarKind, _ = p.Space(p.path("/var"))
}

func kilobytes(info []byte, key string) int64 {
	for line := range bytes.Lines(info) {
		if fields := strings.Fields(string(line)); len(fields) >= 2 && fields[0] == key {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return n << 10
			}
		}
	}
	return 0
}

// memoryLimits looks at both versions of control groups: the list of
// controllers of the second, the table of the first.
func memoryLimits(controllers, table []byte) bool {
	if contains(strings.Fields(string(controllers)), "memory") {
		return true
	}
	lines := bufio.NewScanner(bytes.NewReader(table))
	for lines.Scan() {
		if v := strings.Fields(lines.Text()); len(v) == 4 && v[0] == "memory" {
			return v[3] == "1" && v[1] != "0"
		}
	}
	return false
}

func (p Probe) clock(ctx context.Context, f *Facts) {
	f.Built = appliance.Built()
	if info, err := os.Stat(p.path("/usr/lib/os-release")); err == nil && info.ModTime().After(f.Built) {
		f.Built = info.ModTime()
	}
	f.ClockSync = strings.TrimSpace(p.ask(ctx, "timedatectl", "show", "--property=NTPSynchronized", "--value")) == "yes"
	for _, name := range timeDaemons() {
		if f.Packages[name].Installed() {
			f.TimeDaemon = name
			return
		}
	}
}

func (p Probe) domain(ctx context.Context, f *Facts, o Options) {
	own, err := p.Net.Own()
	if err == nil {
		f.OwnAddresses = own
	}
	if o.TLS == "internal" || o.Domain == "" || !domainForm(o.Domain, o.TLS) {
		return
	}
	addresses, err := p.Net.Resolve(ctx, o.Domain)
	if err != nil {
		f.DomainError = err.Error()
		return
	}
	f.DomainAddresses = addresses
}

func (p Probe) docker(_ context.Context, f *Facts) {
	d := &f.Docker
	for _, name := range []string{"docker-ce", "docker.io", "podman-docker"} {
		if pkg := f.Packages[name]; pkg.Installed() {
			d.Package, d.Version = name, pkg.Version
			break
		}
	}
	d.Snap = p.exists("/snap/bin/docker")
	var swarm struct{ LocalNodeState, NodeID string }
	if state := p.file("/var/lib/docker/swarm/docker-state.json"); state != nil {
		d.Swarm = true
		if err := json.Unmarshal(state, &swarm); err == nil && swarm.LocalNodeState == "inactive" {
			d.Swarm = false
		}
	}
	d.Config = p.file("/etc/docker/daemon.json")
	if _, err := dockerConfig(d.Config); err != nil {
		d.ConfigErr = err.Error()
	}
}

func (p Probe) program(f *Facts, o Options) {
	var err error
	if f.Program.Digest, f.Program.Size, err = digestOf(o.Program); err != nil {
		f.ProgramErr = err.Error()
	}
}

func (p Probe) earlier(f *Facts, o Options) {
	i := &f.Installed
	i.Config = p.file("/etc/rochdale/rochdale.yaml")
	if o.ACMERoot != "" {
		var err error
		if f.RootPEM, err = readRoot(o.ACMERoot); err != nil {
			f.RootErr = err.Error()
		}
	}
	data := p.file("/var/lib/rochdale/installed.json")
	if data == nil {
		return
	}
	r, err := parseRecord(data)
	if err != nil {
		i.Err = err.Error()
		return
	}
	i.Record, i.Version, i.Finished, i.Removed = r, r.Version, !r.Finished.IsZero(), !r.Removed.IsZero()
}
