// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// good are facts with which nothing is wrong.
func good() Facts {
	day := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	own := netip.MustParseAddr("203.0.113.7")
	return Facts{
		System: System{ID: "debian", Version: "12", Codename: "bookworm", Title: "Debian GNU/Linux 12 (bookworm)"},
		Arch:   "amd64", Systemd: true,
		Memory: 2 * gib, MemoryLimits: true, DiskFree: 20 * gib, VarFree: 20 * gib, VarKind: "ext4",
		Now: day, Built: day.AddDate(0, -3, 0), ClockSync: true,
		DomainAddresses: []netip.Addr{own}, OwnAddresses: []netip.Addr{own},
		Mirrors: 3, SSHPorts: []uint16{22}, Program: Program{Digest: strings.Repeat("ab", 32), Size: 60 * mib},
	}
}

func asked() Options {
	return Options{
		Stack: "delivery", Domain: "rides.example", Email: "ada@rides.example", TLS: "acme",
		Language: "en", Reboot: "03:30", Version: "1.2.0", Stacks: []string{"delivery"}, Program: "/root/rochdale",
	}
}

func socket(protocol, address, program string) Socket {
	return Socket{Protocol: protocol, Local: netip.MustParseAddrPort(address), Listening: true, Program: program, PID: 42}
}

func packages(status string, names ...string) map[string]host.Package {
	all := map[string]host.Package{}
	for _, n := range names {
		all[n] = host.Package{Name: n, Status: status, Version: "1.0-1"}
	}
	return all
}

func TestJudge(t *testing.T) {
	const failure, warning, notice = appliance.Failure, appliance.Warning, appliance.Notice
	cases := []struct {
		name     string
		change   func(*Facts, *Options)
		id       string // empty: no finding at all
		severity appliance.Severity
		args     string // part of an argument
	}{
		{"a bare good machine", func(*Facts, *Options) {}, "", "", ""},
		{"apt that does not answer", func(f *Facts, _ *Options) { f.Mirrors, f.AptError = 0, "malformed entry 3" }, "install.apt-broken", failure, "malformed"},
		{"timers that somebody masked", func(f *Facts, _ *Options) { f.Masked = []string{"apt-daily.timer"} }, "install.units-masked", notice, "apt-daily.timer"},
		{"Debian 13", func(f *Facts, _ *Options) { f.System.Version = "13" }, "", "", ""},
		{"Ubuntu 24.04", func(f *Facts, _ *Options) { f.System.ID, f.System.Version = "ubuntu", "24.04" }, "install.system-expected", notice, ""},
		{"Ubuntu 22.04", func(f *Facts, _ *Options) { f.System.ID, f.System.Version = "ubuntu", "22.04" }, "install.system-expected", notice, ""},
		{"Raspberry Pi OS, 64 bit", func(f *Facts, _ *Options) { f.System.RaspberryPi, f.Arch = true, "arm64" }, "install.system-expected", notice, ""},
		{"Raspberry Pi OS, 32 bit", func(f *Facts, _ *Options) { f.System.ID, f.Arch = "raspbian", "arm" }, "install.system-expected", notice, ""},
		{"Debian 11", func(f *Facts, _ *Options) { f.System.Version = "11" }, "install.system-unknown", failure, "bookworm"},
		{"Fedora", func(f *Facts, _ *Options) { f.System = System{ID: "fedora", Version: "42", Title: "Fedora 42"} }, "install.system-unknown", failure, "Fedora 42"},
		{"Fedora, forced", func(f *Facts, o *Options) { f.System, o.Force = System{ID: "fedora", Title: "Fedora"}, true }, "install.system-forced", warning, "Fedora"},
		{"not root", func(f *Facts, _ *Options) { f.UID = 1000 }, "install.not-root", failure, ""},
		{"no systemd", func(f *Facts, _ *Options) { f.Systemd = false }, "install.no-systemd", failure, ""},
		{"riscv", func(f *Facts, _ *Options) { f.Arch = "riscv64" }, "install.architecture", failure, "riscv64"},
		{"256 MB", func(f *Facts, _ *Options) { f.Memory = 240 * mib }, "install.memory-small", failure, "240 MB"},
		{"a machine sold with 512 MB", func(f *Facts, _ *Options) { f.Memory = 474 * mib }, "install.memory-tight", warning, "474 MB"},
		{"a machine sold with 1 GB", func(f *Facts, _ *Options) { f.Memory = 962 * mib }, "", "", ""},
		{"no memory limits", func(f *Facts, _ *Options) { f.MemoryLimits = false }, "install.memory-limits-off", warning, ""},
		{"300 MB of disk", func(f *Facts, _ *Options) { f.DiskFree, f.VarFree = 300*mib, 300*mib }, "install.disk-full", failure, "300 MB"},
		{"small /var", func(f *Facts, _ *Options) { f.VarFree = 100 * mib }, "install.disk-full", failure, "/var"},
		{"1970", func(f *Facts, _ *Options) { f.Now = time.Unix(60, 0) }, "install.clock-wrong", failure, "1970"},
		{"2099", func(f *Facts, _ *Options) { f.Now = f.Now.AddDate(73, 0, 0) }, "install.clock-wrong", failure, "2099"},
		{"not synchronised", func(f *Facts, _ *Options) { f.ClockSync = false }, "install.clock-not-synchronised", warning, ""},
		{"a container has its host's clock", func(f *Facts, _ *Options) { f.ClockSync, f.Container = false, true }, "", "", ""},
		{"Apache on 80", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("tcp", "[::]:80", "apache2")} }, "install.port-taken", failure, "apache2"},
		{"something on 443/udp", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("udp", "0.0.0.0:443", "")} }, "install.port-taken", failure, "443/udp"},
		{"loopback counts too", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("tcp", "127.0.0.1:443", "x")} }, "install.port-taken", failure, "443/tcp"},
		{"our own edge", func(f *Facts, _ *Options) {
			f.Sockets = []Socket{socket("tcp", "[::]:443", "edge"), socket("tcp", "[::]:80", "systemd")}
			f.Installed = Installed{Version: "1.2.0", Finished: true}
		}, "install.refresh", notice, "1.2.0"},
		{"systemd on 80 without us", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("tcp", "[::]:80", "systemd")} }, "install.port-taken", failure, "systemd"},
		{"a service that will be closed", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("tcp", "0.0.0.0:9090", "cockpit")} }, "install.ports-closed", notice, "9090 (cockpit)"},
		{"ssh stays open", func(f *Facts, _ *Options) { f.Sockets = []Socket{socket("tcp", "0.0.0.0:22", "sshd")} }, "", "", ""},
		{"ufw", func(f *Facts, _ *Options) { f.OtherFirewall = "ufw" }, "install.other-firewall", warning, "ufw"},
		{"the name is not there", func(f *Facts, _ *Options) { f.DomainAddresses = nil }, "install.domain-nowhere", warning, "rides.example"},
		{"the name is elsewhere", func(f *Facts, _ *Options) { f.DomainAddresses = []netip.Addr{netip.MustParseAddr("198.51.100.1")} }, "install.domain-elsewhere", warning, "198.51.100.1"},
		{"behind a router", func(f *Facts, _ *Options) { f.OwnAddresses = []netip.Addr{netip.MustParseAddr("192.168.1.20")} }, "install.domain-behind-router", warning, "203.0.113.7"},
		{"an internal name is not looked up", func(f *Facts, o *Options) { f.DomainAddresses, o.TLS, o.Domain = nil, "internal", "box" }, "", "", ""},
		{"an address as domain", func(_ *Facts, o *Options) { o.Domain = "192.0.2.1" }, "install.domain-form", failure, "192.0.2.1"},
		{"upper case", func(_ *Facts, o *Options) { o.Domain = "Rides.example" }, "install.domain-form", failure, ""},
		{"a name without a dot", func(_ *Facts, o *Options) { o.Domain = "box" }, "install.domain-form", failure, "box"},
		{"no domain", func(_ *Facts, o *Options) { o.Domain = "" }, "install.domain-missing", failure, ""},
		{"no stack", func(_ *Facts, o *Options) { o.Stack = "" }, "install.stack-missing", failure, "delivery"},
		{"unknown stack", func(_ *Facts, o *Options) { o.Stack = "taxi" }, "install.stack-unknown", failure, "taxi"},
		{"an e-mail address that is none", func(_ *Facts, o *Options) { o.Email = "ada" }, "config.value", failure, "ada"},
		{"a reboot time that is none", func(_ *Facts, o *Options) { o.Reboot = "25:00" }, "config.value", failure, "25:00"},
		{"an authority without https", func(_ *Facts, o *Options) { o.ACMECA = "http://ca" }, "config.value", failure, "http://ca"},
		{"half done packages", func(f *Facts, _ *Options) { f.HalfDone = []string{"vim"} }, "install.dpkg-interrupted", warning, "vim"},
		{"apt at work", func(f *Facts, _ *Options) { f.AptBusy = "apt-get (99)" }, "install.apt-busy", warning, "apt-get (99)"},
		{"no sources", func(f *Facts, _ *Options) { f.Mirrors = 0 }, "install.apt-no-source", failure, ""},
		{"no mirror answers", func(f *Facts, _ *Options) { f.Mirrors, f.Unreachable = 2, []string{"http://a", "http://b"} }, "install.apt-unreachable", failure, "http://b"},
		{"one mirror is dead", func(f *Facts, _ *Options) { f.Unreachable = []string{"http://a"} }, "install.apt-partly", warning, "http://a"},
		{"all is installed and the network is off", func(f *Facts, _ *Options) {
			f.Mirrors, f.Packages = 0, packages("ii ", packagesFor(*f)...)
		}, "", "", ""},
		{"docker-ce", func(f *Facts, _ *Options) {
			f.Docker = Docker{Package: "docker-ce", Version: "5:27.3.1-1~debian.12~bookworm"}
		}, "install.docker-there", notice, "docker-ce"},
		{"an old docker", func(f *Facts, _ *Options) { f.Docker = Docker{Package: "docker.io", Version: "19.03.8-0ubuntu1"} }, "install.docker-old", failure, "19.03.8"},
		{"a swarm", func(f *Facts, _ *Options) { f.Docker.Swarm = true }, "install.docker-swarm", failure, ""},
		{"a snap", func(f *Facts, _ *Options) { f.Docker.Snap = true }, "install.docker-snap", failure, ""},
		{"podman", func(f *Facts, _ *Options) { f.Docker.Package = "podman-docker" }, "install.docker-podman", failure, ""},
		{"a broken daemon.json", func(f *Facts, _ *Options) { f.Docker.ConfigErr = "line 3" }, "install.docker-config", failure, "line 3"},
		{"a newer installation", func(f *Facts, _ *Options) { f.Installed.Version = "1.10.0" }, "install.newer-there", failure, "1.10.0"},
		{"an interrupted installation", func(f *Facts, _ *Options) { f.Installed.Version = "1.2.0" }, "install.goes-on", notice, ""},
		{"kept data", func(f *Facts, _ *Options) { f.Installed = Installed{Version: "1.2.0", Removed: true} }, "install.data-kept", notice, ""},
		{"a damaged record", func(f *Facts, _ *Options) { f.Installed.Err = "bad" }, "install.record-unreadable", failure, "bad"},
		{"a damaged configuration", func(f *Facts, _ *Options) { f.Installed.Config = []byte("stacks: 3") }, "config.syntax", failure, ""},
		{"no root file", func(f *Facts, o *Options) { f.RootErr, o.ACMERoot = "no such file", "/x" }, "install.option-acme-root", failure, "/x"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			f, o := good(), asked()
			test.change(&f, &o)
			got := Judge(f, o)
			if test.id == "" {
				if len(got) > 0 {
					t.Fatalf("unexpected findings: %v", got)
				}
				return
			}
			if len(got) != 1 || got[0].ID != test.id || got[0].Severity != test.severity || !strings.Contains(got[0].String(), test.args) {
				t.Fatalf("got %v, want only %s (%s) with %q", got, test.id, test.severity, test.args)
			}
		})
	}
}

// TestJudgeTellsEverythingAtOnce: one run is enough to know all that is wrong.
func TestJudgeTellsEverythingAtOnce(t *testing.T) {
	f, o := Facts{Now: time.Unix(0, 0), UID: 5, Arch: "mips", Installed: Installed{Version: "9.0"}}, Options{Version: "1.0"}
	f.Built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Sockets = []Socket{socket("tcp", "0.0.0.0:80", "nginx"), socket("tcp", "0.0.0.0:443", "nginx")}
	var ids []string
	for _, found := range Judge(f, o) {
		ids = append(ids, found.ID)
	}
	for _, want := range []string{
		"install.stack-missing", "install.domain-missing", "install.not-root", "install.no-systemd", "install.architecture",
		"install.system-unknown", "install.memory-small", "install.disk-full", "install.clock-wrong", "install.port-taken",
		"install.apt-no-source", "install.newer-there",
	} {
		if !slices.Contains(ids, want) {
			t.Errorf("%s is missing in %v", want, ids)
		}
	}
}

func TestExitCode(t *testing.T) {
	f := func(s appliance.Severity, id string) appliance.Finding { return finding(s, id) }
	cases := []struct {
		name  string
		found []appliance.Finding
		want  int
	}{
		{"nothing", nil, appliance.ExitOK},
		{"warnings do not stop", []appliance.Finding{f(appliance.Warning, "install.memory-tight")}, appliance.ExitOK},
		{"a mistyped domain", []appliance.Finding{f(appliance.Failure, "install.domain-form")}, appliance.ExitUsage},
		{"a value of the configuration", []appliance.Finding{f(appliance.Failure, "config.value")}, appliance.ExitUsage},
		{"a taken port", []appliance.Finding{f(appliance.Failure, "install.port-taken")}, appliance.ExitCheckFailed},
		{"both", []appliance.Finding{f(appliance.Failure, "install.domain-form"), f(appliance.Failure, "install.port-taken")}, appliance.ExitCheckFailed},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := ExitCode(test.found); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
