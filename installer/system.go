// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"bytes"
	"strings"
)

// System is the operating system as /etc/os-release tells it, with what only
// Raspberry Pi OS has besides.
type System struct {
	ID       string // "debian", "ubuntu", "raspbian"
	Version  string // "12"
	Codename string // "bookworm"
	Title    string // "Debian GNU/Linux 12 (bookworm)"
	// RaspberryPi: packages come from the Raspberry Pi Foundation too.
	RaspberryPi bool
}

// Support is how well a system is known to us.
type Support int

// The levels of support; docs say what each means.
const (
	Refused  Support = iota // nobody has tried it
	Expected                // its differences are covered by tests of our decisions
	Tested                  // every release is tried on booted machines
)

// Support tells how well this system is known.
func (s System) Support() Support {
	switch s.ID + " " + s.Version {
	case "debian 12", "debian 13":
		if s.RaspberryPi {
			return Expected
		}
		return Tested
	case "ubuntu 22.04", "ubuntu 24.04", "raspbian 12", "raspbian 13":
		return Expected
	default:
		return Refused
	}
}

// Origins are the patterns of unattended-upgrades for security updates and for
// stable point releases. APT fills in ${distro_codename} by itself.
func (s System) Origins() []string {
	const code = ",codename=${distro_codename}"
	switch s.ID {
	case "ubuntu":
		return []string{
			"origin=Ubuntu,archive=${distro_codename}",
			"origin=Ubuntu,archive=${distro_codename}-security",
		}
	case "raspbian":
		return []string{
			"origin=Raspbian" + code + ",label=Raspbian",
			"origin=Raspberry Pi Foundation" + code + ",label=Raspberry Pi Foundation",
		}
	}
	origins := []string{
		"origin=Debian" + code + ",label=Debian",
		"origin=Debian" + code + ",label=Debian-Security",
		"origin=Debian" + code + "-security,label=Debian-Security",
	}
	if s.RaspberryPi {
		origins = append(origins, "origin=Raspberry Pi Foundation"+code+",label=Raspberry Pi Foundation")
	}
	return origins
}

// parseSystem reads /etc/os-release. piIssue tells that /etc/rpi-issue exists,
// the mark of the 64-bit Raspberry Pi OS, which calls itself Debian.
func parseSystem(osRelease []byte, piIssue bool) System {
	v := map[string]string{}
	for line := range bytes.Lines(osRelease) {
		key, value, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if ok {
			v[key] = strings.Trim(value, `"'`)
		}
	}
	s := System{ID: v["ID"], Version: v["VERSION_ID"], Codename: v["VERSION_CODENAME"], Title: v["PRETTY_NAME"]}
	s.RaspberryPi = piIssue || s.ID == "raspbian"
	if s.Title == "" {
		s.Title = strings.TrimSpace(s.ID + " " + s.Version)
	}
	return s
}
