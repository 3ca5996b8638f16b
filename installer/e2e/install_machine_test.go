// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
)

// TestInstallChangesTheMachineAsSaid looks at an installed machine from outside
// and inside: who gets in, what patches itself, what is locked in, and that an
// uninstall takes all of it back.
func TestInstallChangesTheMachineAsSaid(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{})
	// An administrator's machine: ssh on a port of its own, a service besides,
	// and a container engine's configuration that somebody wrote.
	sh(t, b, `apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install openssh-server
sed -i 's/^#Port 22$/Port 2222/' /etc/ssh/sshd_config; systemctl restart ssh
systemd-run -q --unit=other systemd-socket-activate --accept -l 9090 /bin/cat
mkdir -p /etc/docker; echo '{"log-driver": "local", "dns": ["9.9.9.9"]}' >/etc/docker/daemon.json`)
	sh(t, b, "systemctl mask --now apt-daily.timer apt-daily-upgrade.timer")
	before := sh(t, b, "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' | grep ' ii'")
	if !reachable(b, 2222) || !reachable(b, 9090) {
		t.Fatal("the scene is not set: ssh and the other service are not reachable")
	}
	if _, err := b.Install(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	healthy(t, b)
	t.Run("firewall", func(t *testing.T) { checkFirewall(t, b) })
	t.Run("updates", func(t *testing.T) { checkUpdates(t, b) })
	t.Run("engine", func(t *testing.T) { checkEngine(t, b) })
	t.Run("units", func(t *testing.T) { checkUnits(t, b) })
	t.Run("again", func(t *testing.T) { checkAgain(t, b) })
	t.Run("uninstall", func(t *testing.T) {
		order := sh(t, b, "stat -c %i /var/lib/rochdale/stacks/delivery/data/1/data/coop.db")
		if got := ask(t, b, "rochdale", "uninstall", "--yes"); got.Code != 0 {
			t.Fatalf("code %d\n%s", got.Code, got.Text)
		}
		checkRemoved(t, b, before)
		if _, err := b.Install(within(t, 5*time.Minute)); err != nil {
			t.Fatal(err)
		}
		healthy(t, b)
		if again := sh(t, b, "stat -c %i /var/lib/rochdale/stacks/delivery/data/1/data/coop.db"); again != order {
			t.Errorf("the data is another file after installing again: inode %s, was %s", again, order)
		}
	})
	t.Run("purge", func(t *testing.T) { checkPurge(t, b, before) })
	t.Run("what others need", func(t *testing.T) { checkNeeded(t, b) })
}

// checkNeeded: somebody's own package that came after us and stands on one that
// we brought is there after the uninstall, and so is what it needs.
func checkNeeded(t *testing.T, b *box.Box) {
	if _, err := b.Install(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	sh(t, b, `mkdir -p /root/panel/DEBIAN; cd /root
printf 'Package: panel\nVersion: 1\nArchitecture: all\nMaintainer: Ada <ada@rides.example>\nDepends: docker.io\nDescription: somebody'"'"'s own\n' >panel/DEBIAN/control
dpkg-deb --build panel; dpkg -i panel.deb`)
	if got := ask(t, b, "rochdale", "uninstall", "--yes"); got.Code != 0 {
		t.Fatalf("code %d\n%s", got.Code, got.Text)
	}
	left := sh(t, b, "dpkg-query -W -f '${Package} ${db:Status-Status}\n' panel docker.io unattended-upgrades 2>/dev/null || true")
	if !strings.Contains(left, "panel installed") || !strings.Contains(left, "docker.io installed") || strings.Contains(left, "unattended-upgrades installed") {
		t.Errorf("after the uninstall:\n%s", left)
	}
}

func reachable(b *box.Box, port int) bool {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(b.IP.String(), strconv.Itoa(port)), 2*time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func checkFirewall(t *testing.T, b *box.Box) {
	for port, want := range map[int]bool{2222: true, 80: true, 443: true, 9090: false, 22: false} {
		if reachable(b, port) != want {
			t.Errorf("port %d: reachable is %v", port, !want)
		}
	}
	const engineRules = "nft list table ip nat | grep -v counter | sha256sum; nft list table ip filter | grep -c DOCKER"
	engine := sh(t, b, engineRules)
	sh(t, b, "systemctl restart rochdale-firewall; systemctl reload rochdale-firewall")
	if after := sh(t, b, engineRules); after != engine {
		t.Errorf("the engine's rules were touched: %s, were %s", after, engine)
	}
	if state := sh(t, b, "systemctl is-enabled nftables || true"); state != "disabled" {
		t.Errorf("nftables.service is %s", state)
	}
	sh(t, b, "echo 'tcp dport 9090 accept' >/etc/rochdale/firewall.d/own.nft; systemctl reload rochdale-firewall")
	if !reachable(b, 9090) {
		t.Error("an own rule does not open its port")
	}
	sh(t, b, "echo 'nonsense' >/etc/rochdale/firewall.d/broken.nft; ! systemctl reload rochdale-firewall")
	sh(t, b, "systemctl restart rochdale-firewall && systemctl is-active rochdale-firewall")
	if !reachable(b, 2222) || reachable(b, 22) || !reachable(b, 9090) {
		t.Error("a broken own rule changed what the others and the table allow")
	}
	if got := ask(t, b, "rochdale", "doctor"); !strings.Contains(got.Text, "firewall.d/broken.nft") {
		t.Errorf("the doctor does not name the broken file:\n%s", got.Text)
	}
	sh(t, b, "rm /etc/rochdale/firewall.d/*.nft; systemctl reload rochdale-firewall; systemctl reset-failed")
}

func checkUpdates(t *testing.T, b *box.Box) {
	dump := sh(t, b, "apt-config dump")
	for _, want := range []string{
		`APT::Periodic::Unattended-Upgrade "1"`, `APT::Periodic::Update-Package-Lists "1"`,
		`Unattended-Upgrade::Automatic-Reboot "true"`, `Unattended-Upgrade::Automatic-Reboot-Time "03:30"`,
		`Unattended-Upgrade::Package-Blacklist:: "^docker.io$"`,
	} {
		if !strings.Contains(dump, want) {
			t.Errorf("apt's configuration lacks %s", want)
		}
	}
	// It downloads what it would install, which takes its time on a busy machine.
	dry, err := b.Output(within(t, 10*time.Minute), "sh", "-c", "unattended-upgrade --dry-run --debug 2>&1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"codename=bookworm-security,label=Debian-Security", "Initial blacklist: ^docker.io$ ", "PkgPin(pkg='/^^docker.io$/', priority=-32768)"} {
		if !strings.Contains(dry, want) {
			t.Errorf("the dry run does not show %s:\n%s", want, dry)
		}
	}
	timers := sh(t, b, "systemctl is-active apt-daily.timer apt-daily-upgrade.timer; systemctl is-enabled apt-daily.timer apt-daily-upgrade.timer")
	if timers != "active\nactive\nenabled\nenabled" {
		t.Errorf("the timers are %q", timers)
	}
}

func checkEngine(t *testing.T, b *box.Box) {
	held := sh(t, b, "apt-mark showhold")
	if held != "containerd\ndocker.io\nrunc" {
		t.Errorf("held: %q", held)
	}
	policy := sh(t, b, "apt-cache policy docker.io")
	if !strings.Contains(policy, " 1001\n") {
		t.Errorf("docker.io is not pinned:\n%s", policy)
	}
	config := sh(t, b, "cat /etc/docker/daemon.json")
	for _, want := range []string{`"live-restore": true`, `"local"`, `"9.9.9.9"`} {
		if !strings.Contains(config, want) {
			t.Errorf("daemon.json lacks %s:\n%s", want, config)
		}
	}
	pid := sh(t, b, "pgrep -x coop")
	sh(t, b, "systemctl kill -s KILL docker; sleep 4; for i in 1 2 3 4 5 6 7; do systemctl kill -s KILL docker; sleep 1; done; until docker ps -q >/dev/null 2>&1 || curl -sf --unix-socket /run/docker.sock http://d/_ping; do sleep 0.3; done")
	if after := sh(t, b, "pgrep -x coop"); after != pid {
		t.Errorf("the stack did not live through the engine's crashes: process %s, was %s", after, pid)
	}
}

func checkUnits(t *testing.T, b *box.Box) {
	if failed := sh(t, b, "systemctl --failed --no-legend"); failed != "" {
		t.Errorf("failed units:\n%s", failed)
	}
	units := "rochdale.service rochdale-edge.service rochdale-edge.socket rochdale-edge-https.socket rochdale-edge-http3.socket rochdale-firewall.service"
	if out := sh(t, b, "systemd-analyze verify "+units+" 2>&1 | grep -i rochdale || true"); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	for name, limit := range map[string]float64{"rochdale-edge": 1.5, "rochdale": 5.0, "rochdale-firewall": 5.5} {
		line := sh(t, b, "systemd-analyze security --no-pager "+name+".service | tail -1")
		score, err := exposure(line)
		t.Logf("%s: %s", name, line)
		if err != nil || score > limit {
			t.Errorf("%s has an exposure of %v (%v), the limit is %v", name, score, err, limit)
		}
	}
	sh(t, b, "for i in 1 2 3 4 5 6 7 8; do systemctl kill -s KILL rochdale rochdale-edge; sleep 1.2; done")
	// Nobody resets anything; that they crashed is rightly still a finding.
	if err := b.WaitHTTPS(within(t, time.Minute)); err != nil {
		t.Error(err)
	}
	sh(t, b, "until rochdale status --json | grep -q '\"state\":\"running\"'; do sleep 0.3; done; systemctl is-active rochdale rochdale-edge")
}

// exposure reads "→ Overall exposure level for NAME: 1.4 OK :-)".
func exposure(line string) (float64, error) {
	_, after, _ := strings.Cut(line, ".service: ")
	score, _, _ := strings.Cut(after, " ")
	return strconv.ParseFloat(score, 64)
}

// checkAgain: a second installation finds everything as it should be.
func checkAgain(t *testing.T, b *box.Box) {
	started := sh(t, b, "systemctl show -p ExecMainStartTimestampMonotonic rochdale rochdale-edge docker; pgrep -x coop")
	got := ask(t, b, "rochdale", "install")
	if got.Code != 0 && got.Code != 3 {
		t.Fatalf("code %d\n%s", got.Code, got.Text)
	}
	if after := sh(t, b, "systemctl show -p ExecMainStartTimestampMonotonic rochdale rochdale-edge docker; pgrep -x coop"); after != started {
		t.Errorf("installing again restarted something:\n%s\nwas\n%s", after, started)
	}
}

func checkRemoved(t *testing.T, b *box.Box, before string) {
	if after := sh(t, b, "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n' | grep ' ii'"); after != before {
		t.Errorf("the packages are not those of before:\n%s", difference(before, after))
	}
	if left := sh(t, b, "systemctl list-units --all --no-legend 'rochdale*'; systemctl list-unit-files --no-legend 'rochdale*' || true; apt-mark showhold; apt-config dump | grep 'docker.io' || true"); left != "" {
		t.Errorf("left over:\n%s", left)
	}
	if config := sh(t, b, "cat /etc/docker/daemon.json"); config != `{"log-driver": "local", "dns": ["9.9.9.9"]}` {
		t.Errorf("daemon.json is %s", config)
	}
	if timers := sh(t, b, "systemctl is-enabled apt-daily.timer apt-daily-upgrade.timer || true"); timers != "masked\nmasked" {
		t.Errorf("the timers that were masked are %q", timers)
	}
	if !reachable(b, 9090) || !reachable(b, 2222) {
		t.Error("the firewall is still there")
	}
}

func difference(before, after string) string {
	had := map[string]bool{}
	for line := range strings.Lines(before) {
		had[strings.TrimSpace(line)] = true
	}
	var b strings.Builder
	for line := range strings.Lines(after) {
		if l := strings.TrimSpace(line); !had[l] {
			b.WriteString("+ " + l + "\n")
		} else {
			delete(had, l)
		}
	}
	for l := range had {
		b.WriteString("- " + l + "\n")
	}
	return b.String()
}

func checkPurge(t *testing.T, b *box.Box, before string) {
	if got := ask(t, b, "rochdale", "uninstall", "--purge", "--yes", "--confirm", "another.example"); got.Code != 2 || got.Error != "uninstall.name-wrong" {
		t.Errorf("purge with the wrong name: code %d, error %q", got.Code, got.Error)
	}
	healthy(t, b)
	if got := ask(t, b, "rochdale", "uninstall", "--purge", "--yes", "--confirm", b.Domain); got.Code != 0 {
		t.Fatalf("code %d\n%s", got.Code, got.Text)
	}
	checkRemoved(t, b, before)
	if left := sh(t, b, "find / -xdev -name '*rochdale*' ! -path '/root/*' ! -path '/proc/*' ! -path '/var/log/*' ! -path '/var/lib/systemd/*'; grep rochdale /etc/passwd /etc/group || true"); left != "" {
		t.Errorf("left over:\n%s", left)
	}
}
