// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

// answer is what an installer that was run with --json said.
type answer struct {
	Code     int
	Error    string   // id of the final error
	Findings []string // ids, in order
	Text     string   // everything, for messages
}

func ask(t *testing.T, b *box.Box, args ...string) answer {
	t.Helper()
	r, err := b.Exec(within(t, 6*time.Minute), testhost.Command{Args: append(args, "--json", "--no-input")})
	if err != nil {
		t.Fatal(err)
	}
	a := answer{Code: r.Code, Text: r.Stdout + r.Stderr}
	for line := range strings.Lines(r.Stdout) {
		var l struct{ Type, ID string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q is no JSON: %v", line, err)
		}
		switch l.Type {
		case "error":
			a.Error = l.ID
		case "finding":
			a.Findings = append(a.Findings, l.ID)
		}
	}
	return a
}

// sh runs a few commands that set the scene; in tests a shell may.
func sh(t *testing.T, b *box.Box, script string) string {
	t.Helper()
	out, err := b.Output(within(t, 3*time.Minute), "sh", "-ec", script)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(out)
}

// untouched is a line a file of what an installation could change.
func untouched(t *testing.T, b *box.Box) string {
	t.Helper()
	return sh(t, b, `find /etc /usr/local /var/lib /usr/bin /usr/sbin -xdev -newer /root/mark -type f ! -path '/var/lib/systemd/*' | sort; dpkg -l | sha256sum; systemctl list-unit-files --no-legend | sha256sum`)
}

// TestInstallRefuses walks through bad input on one bare machine: each gets one
// clear error and its exit code, and the machine stays as it was.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{})
	sh(t, b, "touch /root/mark; sleep 1.1")
	before := untouched(t, b)
	install := b.InstallArgs()
	with := func(flag, value string) []string {
		args := slices.Clone(install)
		args[slices.Index(args, flag)+1] = value
		return args
	}
	cases := []struct {
		name    string
		prepare string
		args    []string
		restore string
		code    int
		finding string
	}{
		{"a wrong domain", "", with("--domain", "not a name"), "", 2, "install.domain-form"},
		{"an address as domain", "", with("--domain", "192.0.2.7"), "", 2, "install.domain-form"},
		{"an unknown stack", "", with("--stack", "taxi"), "", 2, "install.stack-unknown"},
		{"a wrong e-mail address", "", with("--email", "ada"), "", 2, "config.value"},
		{"a root file that is none", "echo x >/root/x.pem", with("--acme-root", "/root/x.pem"), "", 2, "install.option-acme-root"},
		{"a taken port", "systemd-run -q --unit=taken systemd-socket-activate -l 80 /bin/cat; until grep -q ':0050 ' /proc/net/tcp6; do sleep 0.1; done",
			install, "systemctl stop taken", 12, "install.port-taken"},
		{"300 MB of free disk", "mkdir /mnt/v; mount -t tmpfs -o size=1500M none /mnt/v; cp -a /var/. /mnt/v; fallocate -l $(($(df --output=avail -BM /mnt/v | tail -1 | tr -dc 0-9) - 300))M /mnt/v/full; mount --bind /mnt/v /var",
			install, "umount /var; umount /mnt/v; rmdir /mnt/v", 12, "install.disk-full"},
		{"no mirror", "cp -a /etc/apt/sources.list /root/s; sed -i 's,//[^/]*/,//192.0.2.1:9/,' /etc/apt/sources.list; ip route add prohibit 192.0.2.1/32; mkdir /root/a; mv /etc/apt/apt.conf.d/*proxy* /root/a || true",
			install, "cp -a /root/s /etc/apt/sources.list; ip route del prohibit 192.0.2.1/32; mv /root/a/* /etc/apt/apt.conf.d/ || true", 12, "install.apt-unreachable"},
		{"a broken list of sources", "echo 'deb nonsense' >/etc/apt/sources.list.d/x.list", install, "rm /etc/apt/sources.list.d/x.list", 12, "install.apt-broken"},
		{"a daemon.json that is none", "mkdir -p /etc/docker; echo '{' >/etc/docker/daemon.json", install, "rm -r /etc/docker", 12, "install.docker-config"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			if test.prepare != "" {
				sh(t, b, test.prepare)
			}
			got := ask(t, b, test.args...)
			if test.restore != "" {
				sh(t, b, test.restore)
			}
			if got.Code != test.code || !slices.Contains(got.Findings, test.finding) || got.Error != "install.preflight" {
				t.Fatalf("code %d, findings %v, error %q; want %d and %s\n%s", got.Code, got.Findings, got.Error, test.code, test.finding, got.Text)
			}
			if after := untouched(t, b); after != before {
				t.Errorf("the machine was changed: %s\nbefore: %s", after, before)
			}
		})
	}
	t.Run("everything at once", func(t *testing.T) {
		sh(t, b, "mkdir -p /etc/docker; echo '{' >/etc/docker/daemon.json")
		got := ask(t, b, box.Program, "install", "--stack", "taxi", "--domain", "-")
		sh(t, b, "rm -r /etc/docker")
		for _, want := range []string{"install.stack-unknown", "install.domain-form", "install.docker-config"} {
			if !slices.Contains(got.Findings, want) {
				t.Errorf("%s is missing in %v", want, got.Findings)
			}
		}
	})
	t.Run("somebody who is not root", func(t *testing.T) {
		sh(t, b, "install -m 755 /root/rochdale /tmp/rochdale")
		args := append([]string{"setpriv", "--reuid=65534", "--clear-groups", "/tmp/rochdale"}, install[1:]...)
		args = slices.DeleteFunc(args, func(s string) bool { return s == "--acme-root" || s == "/root/acme-root.pem" })
		if got := ask(t, b, args...); got.Code != 12 || !slices.Contains(got.Findings, "install.not-root") {
			t.Errorf("code %d, findings %v\n%s", got.Code, got.Findings, got.Text)
		}
	})
	t.Run("two at once", func(t *testing.T) {
		holder, err := b.Start(t.Context(), testhost.Command{Args: []string{"flock", "/run/rochdale-install.lock", "sleep", "600"}})
		if err != nil {
			t.Fatal(err)
		}
		sh(t, b, "until ! flock -n /run/rochdale-install.lock true; do sleep 0.1; done")
		got := ask(t, b, install...)
		if err := holder.Kill(); err != nil {
			t.Error(err)
		}
		if got.Code != 11 || got.Error != "install.locked" {
			t.Errorf("code %d, error %q\n%s", got.Code, got.Error, got.Text)
		}
	})
	t.Run("nothing to remove", func(t *testing.T) {
		if got := ask(t, b, box.Program, "uninstall", "--yes"); got.Code != 10 || got.Error != "uninstall.nothing-there" {
			t.Errorf("code %d, error %q\n%s", got.Code, got.Error, got.Text)
		}
	})
}
