// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"slices"
	"strings"
	"testing"
)

func TestSystems(t *testing.T) {
	cases := []struct {
		name    string
		release string
		pi      bool
		support Support
		origins []string // parts that must be among them
		without string   // what must not be
	}{
		{"Debian 12", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", false,
			Tested, []string{"label=Debian-Security", "origin=Debian,codename=${distro_codename},label=Debian"}, "Raspberry"},
		{"Debian 13", "ID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n", false, Tested, []string{"codename=${distro_codename}-security,label=Debian-Security"}, "Raspberry"},
		{"Ubuntu 22.04", "ID=ubuntu\nVERSION_ID=\"22.04\"\nVERSION_CODENAME=jammy\n", false, Expected, []string{"archive=${distro_codename}-security"}, "Debian"},
		{"Ubuntu 24.04", "ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n", false, Expected, []string{"origin=Ubuntu,archive=${distro_codename}-security"}, "Debian"},
		{"Raspberry Pi OS, 64 bit", "ID=debian\nVERSION_ID=\"12\"\n", true, Expected,
			[]string{"label=Debian-Security", "origin=Raspberry Pi Foundation,codename=${distro_codename},label=Raspberry Pi Foundation"}, "Raspbian"},
		{"Raspberry Pi OS, 32 bit", "ID=raspbian\nVERSION_ID=\"12\"\n", false, Expected,
			[]string{"origin=Raspbian,codename=${distro_codename},label=Raspbian", "origin=Raspberry Pi Foundation"}, "Debian"},
		{"Debian 11", "ID=debian\nVERSION_ID=\"11\"\n", false, Refused, nil, "Raspberry"},
		{"Debian testing has no number", "ID=debian\nVERSION_CODENAME=forky\n", false, Refused, nil, "Raspberry"},
		{"Ubuntu 23.10", "ID=ubuntu\nVERSION_ID=\"23.10\"\n", false, Refused, nil, "Debian"},
		{"nothing", "", false, Refused, nil, "Raspberry"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			s := parseSystem([]byte(test.release), test.pi)
			if got := s.Support(); got != test.support {
				t.Errorf("support %v, want %v", got, test.support)
			}
			origins := s.Origins()
			for _, want := range test.origins {
				if !slices.ContainsFunc(origins, func(o string) bool { return strings.Contains(o, want) }) {
					t.Errorf("%q is not in %q", want, origins)
				}
			}
			if strings.Contains(strings.Join(origins, "\n"), test.without) {
				t.Errorf("%q is in %q", test.without, origins)
			}
		})
	}
}

func TestVersionLess(t *testing.T) {
	cases := []struct {
		a, b string
		want bool
	}{
		{"1.2.0", "1.10.0", true}, {"1.10.0", "1.2.0", false}, {"1.2", "1.2.0", false}, {"1.2.0", "1.2", false},
		{"1.3.0-rc1", "1.3.0", true}, {"1.3.0", "1.3.0-rc1", false}, {"1.3.0-rc1", "1.3.0-rc2", true},
		{"0.0.0-dev", "0.1.0", true}, {"v1.2.0", "1.2.1", true}, {"1.2.0+build5", "1.2.0", false},
		{"20.10.24+dfsg1-1+deb12u1", "20.10", false}, {"19.03.8-0ubuntu1", "20.10", true}, {"5:27.3.1-1~debian.12~bookworm", "20.10", false},
		{"26.1.5+dfsg1-9+b9", "20.10", false}, {"", "1.0", true},
	}
	for _, test := range cases {
		if got := versionLess(test.a, test.b); got != test.want {
			t.Errorf("versionLess(%q, %q) = %v", test.a, test.b, got)
		}
	}
}

func TestSSHPorts(t *testing.T) {
	session := func(address string) Socket {
		s := socket("tcp", address, "sshd-session")
		s.Listening = false
		return s
	}
	cases := []struct {
		name  string
		facts Facts
		want  []uint16
	}{
		{"no ssh at all", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:80", "nginx")}}, nil},
		{"sshd on its own port", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:2222", "sshd"), socket("tcp", "[::]:2222", "sshd")}}, []uint16{2222}},
		{"two ports", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:22", "sshd"), socket("tcp", "0.0.0.0:2222", "sshd")}}, []uint16{22, 2222}},
		{"the configuration was changed but not loaded", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:22", "sshd")}, SSHConfigured: []uint16{2222}}, []uint16{22, 2222}},
		{"held by systemd", Facts{Sockets: []Socket{socket("tcp", "[::]:22", "systemd")}, SSHConfigured: []uint16{22}}, []uint16{22}},
		{"only the session tells", Facts{SSHSession: []uint16{40022}}, []uint16{40022}},
		{"sudo hid the session, its socket tells", Facts{Sockets: []Socket{session("203.0.113.7:40022")}}, []uint16{40022}},
		{"what a session forwards stays closed", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:22", "sshd"), socket("tcp", "127.0.0.1:6010", "sshd"), session("203.0.113.7:51234")}}, []uint16{22}},
		{"dropbear", Facts{Sockets: []Socket{socket("tcp", "0.0.0.0:22", "dropbear")}}, []uint16{22}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if got := sshPorts(test.facts); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
