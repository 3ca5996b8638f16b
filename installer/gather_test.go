// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/appliance/host"
)

// asksOnly answers as a machine's programs would, and fails for a program that
// preflight has no business to run.
type asksOnly struct{ answers map[string]string }

func (a asksOnly) Run(_ context.Context, c host.Command) (host.Result, error) {
	line := c.Name + " " + strings.Join(c.Args, " ")
	for prefix, out := range a.answers {
		if strings.HasPrefix(line, prefix) {
			return host.Result{Stdout: []byte(out)}, nil
		}
	}
	return host.Result{Code: 1}, &host.ExitError{Name: c.Name, Args: c.Args, Code: 1}
}

// world is the network around the machine.
type world struct {
	names map[string]string
	down  []string
}

func (w world) Resolve(_ context.Context, name string) ([]netip.Addr, error) {
	if a, ok := w.names[name]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, errors.New("no such host")
}

func (world) Own() ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("203.0.113.7")}, nil
}

func (w world) Reach(_ context.Context, address, _ string) error {
	if slices.ContainsFunc(w.down, func(d string) bool { return strings.Contains(address, d) }) {
		return errors.New("connection refused")
	}
	return nil
}

// machine is a tree of files like that of a bare Debian 12 with sshd on 2222.
func machine(t *testing.T, more map[string]string) Probe {
	t.Helper()
	root := t.TempDir()
	files := map[string]string{
		"/etc/os-release":                   "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"/usr/lib/os-release":               "ID=debian\n",
		"/proc/1/comm":                      "systemd\n",
		"/proc/77/comm":                     "sshd\n",
		"/proc/meminfo":                     "MemTotal:        2030000 kB\nMemFree: 1 kB\nSwapTotal:             0 kB\n",
		"/proc/net/tcp":                     tcpTable,
		"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
		"/usr/sbin/sshd":                    "",
		"/root/rochdale":                    "the program",
	}
	for path, data := range more {
		files[path] = data
	}
	for path, data := range files {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "proc/77/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[20001]", filepath.Join(root, "proc/77/fd/3")); err != nil {
		t.Fatal(err)
	}
	return Probe{
		Root: root, Arch: "amd64", Now: time.Now(), Env: func(string) string { return "" },
		Net:   world{names: map[string]string{"rides.example": "203.0.113.7"}},
		Space: func(string) (int64, string, error) { return 20 * gib, "ext4", nil },
		Runner: asksOnly{map[string]string{
			"dpkg-query -W": "apt\tii \t2.6.1\nvim\tiF \t2:9.0\nlibc6\tii \t2.36\n",
			"apt-get -o Debug::NoLocking=1 --print-uris update":                                 "'http://deb.example/debian/dists/bookworm/InRelease' x 0 \n'http://sec.example/debian-security/dists/bookworm-security/InRelease' x 0 \n'http://deb.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0\n",
			"apt-get -qq -y --no-install-recommends -o Debug::NoLocking=1 --print-uris install": "'http://deb.example/pool/d/docker.io_20.10_amd64.deb' docker.io_20.10_amd64.deb 36000000 MD5Sum:0\n'http://deb.example/pool/n/nftables_1_amd64.deb' nftables_1_amd64.deb 70000 SHA256:0\n",
			"timedatectl show":           "yes\n",
			"/usr/sbin/sshd -T":          "port 2222\naddressfamily any\n",
			"systemctl show ssh.socket":  "ActiveState=active\nListen=[::]:2022 (Stream)\n",
			"systemctl show sshd.socket": "ActiveState=inactive\nListen=[::]:9999 (Stream)\n",
			"apt-mark showhold":          "vim\n",
		}},
	}
}

func TestGather(t *testing.T) {
	p := machine(t, nil)
	o := asked()
	o.Program = filepath.Join(p.Root, "root/rochdale")
	f := Gather(t.Context(), p, o)
	checks := map[string]bool{
		"system":      f.System.Support() == Tested,
		"systemd":     f.Systemd,
		"memory":      f.Memory == 2030000<<10 && f.MemoryLimits,
		"clock":       f.ClockSync && time.Since(f.Built) < time.Hour,
		"mirrors":     f.Mirrors == 2 && len(f.Unreachable) == 0,
		"downloads":   f.ListsThere && downloadBytes(f) == 36070000,
		"half done":   slices.Equal(f.HalfDone, []string{"vim"}),
		"held":        slices.Equal(f.Held, []string{"vim"}),
		"installed":   slices.Equal(installedNames(f), []string{"apt", "libc6"}),
		"domain":      len(f.DomainAddresses) == 1,
		"ssh":         slices.Equal(f.SSHPorts, []uint16{2022, 2222}),
		"no docker":   f.Docker.Package == "" && !f.Docker.Swarm,
		"program":     f.Program.Size == int64(len("the program")) && f.ProgramErr == "",
		"not earlier": f.Installed.Version == "" && f.Installed.Record == nil,
	}
	for what, right := range checks {
		if !right {
			t.Errorf("%s is wrong: %+v", what, f)
		}
	}
	for _, found := range Judge(f, o) {
		if found.ID != "install.dpkg-interrupted" {
			t.Errorf("unexpected finding %v", found)
		}
	}
}

func TestGatherDifferences(t *testing.T) {
	cases := []struct {
		name  string
		files map[string]string
		env   string
		check func(Facts) bool
	}{
		{"an earlier installation", map[string]string{"/var/lib/rochdale/installed.json": `{"schema":1,"version":"1.0.0","finished":"2026-11-01T00:00:00Z"}`, "/etc/rochdale/rochdale.yaml": "schema: 1\n"},
			"", func(f Facts) bool {
				return f.Installed.Version == "1.0.0" && f.Installed.Finished && f.Installed.Config != nil
			}},
		{"a record of the future", map[string]string{"/var/lib/rochdale/installed.json": `{"schema":99,"version":"9"}`},
			"", func(f Facts) bool { return strings.Contains(f.Installed.Err, "99") }},
		{"a torn record", map[string]string{"/var/lib/rochdale/installed.json": `{"schema":1,"ver`}, "", func(f Facts) bool { return f.Installed.Err != "" }},
		{"a swarm", map[string]string{"/var/lib/docker/swarm/docker-state.json": `{"LocalNodeState":"active"}`}, "", func(f Facts) bool { return f.Docker.Swarm }},
		{"a swarm that was left", map[string]string{"/var/lib/docker/swarm/docker-state.json": `{"LocalNodeState":"inactive"}`}, "", func(f Facts) bool { return !f.Docker.Swarm }},
		{"a broken daemon.json", map[string]string{"/etc/docker/daemon.json": "{"}, "", func(f Facts) bool { return f.Docker.ConfigErr != "" }},
		{"a Raspberry Pi", map[string]string{"/etc/rpi-issue": "Raspberry Pi reference"}, "", func(f Facts) bool { return f.System.RaspberryPi }},
		{"a container", map[string]string{"/run/systemd/container": "lxc"}, "", func(f Facts) bool { return f.Container }},
		{"memory limits off, version 1", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "", "/proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t80\t0\n"}, "", func(f Facts) bool { return !f.MemoryLimits }},
		{"memory limits on, version 1", map[string]string{"/sys/fs/cgroup/cgroup.controllers": "", "/proc/cgroups": "memory\t7\t80\t1\n"}, "", func(f Facts) bool { return f.MemoryLimits }},
		{"ufw", map[string]string{"/etc/ufw/ufw.conf": "ENABLED=yes\nLOGLEVEL=low\n"}, "", func(f Facts) bool { return f.OtherFirewall == "ufw" }},
		{"a session on another port", nil, "198.51.100.9 51000 203.0.113.7 40022", func(f Facts) bool { return slices.Contains(f.SSHPorts, 40022) }},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			p := machine(t, test.files)
			p.Env = func(string) string { return test.env }
			if f := Gather(t.Context(), p, asked()); !test.check(f) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestGatherOfflineMirrors(t *testing.T) {
	p := machine(t, nil)
	p.Net = world{down: []string{"sec.example"}}
	if f := Gather(t.Context(), p, asked()); !slices.Equal(f.Unreachable, []string{"http://sec.example/debian-security/dists/bookworm-security/InRelease"}) {
		t.Errorf("unreachable: %v", f.Unreachable)
	}
}

// TestGatherOfNothing: a machine that answers no question is judged, not feared.
func TestGatherOfNothing(t *testing.T) {
	p := Probe{Root: t.TempDir(), Runner: asksOnly{}, Net: world{}, Env: func(string) string { return "" },
		Space: func(string) (int64, string, error) { return 0, "", errors.New("no") }}
	f := Gather(t.Context(), p, asked())
	if len(Blocking(Judge(f, asked()))) < 5 {
		t.Errorf("an empty machine passes: %v", Judge(f, asked()))
	}
}

func TestMaskedUnits(t *testing.T) {
	p := machine(t, map[string]string{"/etc/systemd/system/docker.service": "[Service]\n"})
	if err := os.Symlink("/dev/null", filepath.Join(p.Root, "etc/systemd/system/apt-daily.timer")); err != nil {
		t.Fatal(err)
	}
	f := Gather(t.Context(), p, asked())
	if !slices.Equal(f.Masked, []string{"apt-daily.timer"}) {
		t.Errorf("masked: %v", f.Masked)
	}
	i, _ := bench(t)
	i.f.Masked = f.Masked
	if s, needed := i.unmask(); !needed || s.ID != "unmask" || len(s.Effects) != 1 {
		t.Errorf("the plan does not unmask: %+v, %v", s, needed)
	}
	if r := firstRecord(f); !slices.Equal(r.Masked, f.Masked) {
		t.Errorf("the record has %v", r.Masked)
	}
}
