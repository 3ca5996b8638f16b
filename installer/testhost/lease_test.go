// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
)

func TestPickIP(t *testing.T) {
	at := func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, n}) }
	var full []lease
	for n := byte(firstHost); n <= lastHost; n++ {
		full = append(full, lease{IP: at(n)})
	}
	for _, c := range []struct {
		name   string
		leases []lease
		want   netip.Addr
		get    netip.Addr // not valid: refused
	}{
		{"first", nil, netip.Addr{}, at(10)},
		{"gap", []lease{{IP: at(10)}, {IP: at(12)}}, netip.Addr{}, at(11)},
		{"full", full, netip.Addr{}, netip.Addr{}},
		{"wanted", nil, at(99), at(99)},
		{"wanted, outside of the automatic range", full, at(251), at(251)},
		{"wanted and taken", []lease{{IP: at(99)}}, at(99), netip.Addr{}},
		{"the build machine's", nil, at(1), netip.Addr{}},
		{"elsewhere", nil, netip.MustParseAddr("192.0.2.1"), netip.Addr{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := pickIP(c.leases, c.want)
			if c.get.IsValid() != (err == nil) || err == nil && got != c.get {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestParseStat(t *testing.T) {
	const rest = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, c := range []struct {
		line, state string
		start       uint64
		good        bool
	}{
		{"7 (cat) S" + rest, "S", 4711, true},
		{"7 (a) b (c) Z" + rest, "Z", 4711, true},
		{"7 (cat) S 1 2", "", 0, false},
		{"", "", 0, false},
	} {
		state, start, err := parseStat(c.line)
		if state != c.state || start != c.start || (err == nil) != c.good {
			t.Errorf("%q: %q, %d, %v", c.line, state, start, err)
		}
	}
}

func TestProcessIsKnownByItsStartTime(t *testing.T) {
	self, err := identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.alive() {
		t.Error("this process is not alive")
	}
	if (process{PID: self.PID, Start: self.Start + 1}).alive() {
		t.Error("another process with the same number counts as alive")
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := identify(cmd.Process.Pid)
	if err != nil || !p.alive() {
		t.Errorf("%v, %v", p, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if p.alive() {
		t.Error("a dead process is alive")
	}
}
