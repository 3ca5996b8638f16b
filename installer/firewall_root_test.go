// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rochdale/appliance/host"
)

// What this binary does instead of testing when it runs inside a network of
// TestFirewallInNetworks: listen at the ports given, or knock at the addresses
// given and print those that answer.
const (
	listenVariable = "ROCHDALE_TEST_LISTEN"
	knockVariable  = "ROCHDALE_TEST_KNOCK"
)

func TestMain(m *testing.M) {
	if ports := os.Getenv(listenVariable); ports != "" {
		for _, port := range strings.Fields(ports) {
			ln, err := net.Listen("tcp", ":"+port)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			defer ln.Close()
		}
		fmt.Println("listens")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
		return
	}
	if addresses := os.Getenv(knockVariable); addresses != "" {
		knock(strings.Fields(addresses))
		return
	}
	os.Exit(m.Run())
}

// knock prints the addresses that answer, in their order. They are tried at the
// same time, so that the silent ones may have long.
func knock(addresses []string) {
	answers := make([]bool, len(addresses))
	var wait sync.WaitGroup
	for i, at := range addresses {
		wait.Go(func() {
			conn, err := net.DialTimeout("tcp", at, 5*time.Second)
			if answers[i] = err == nil; answers[i] {
				_ = conn.Close()
			}
		})
	}
	wait.Wait()
	for i, at := range addresses {
		if answers[i] {
			fmt.Println(at)
		}
	}
}

// nets are three networks of the kernel: a box between a stack and the world.
type nets struct{ t *testing.T }

func (n nets) name(which string) string { return fmt.Sprintf("rdtest%d%s", os.Getpid(), which) }

func (n nets) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %v: %v %s", args, err, out)
	}
}

func (n nets) in(which string, env string, args ...string) *exec.Cmd {
	c := exec.Command("ip", append([]string{"netns", "exec", n.name(which)}, args...)...)
	c.Env = append(os.Environ(), env)
	return c
}

func (n nets) link(a, aName, aAddr, b, bName string, bAddr ...string) {
	n.t.Helper()
	n.ip("-n", n.name(a), "link", "add", aName, "type", "veth", "peer", "name", bName, "netns", n.name(b))
	n.ip("-n", n.name(a), "addr", "add", aAddr, "dev", aName)
	for _, addr := range bAddr {
		n.ip("-n", n.name(b), "addr", "add", addr, "dev", bName, "nodad")
	}
	n.ip("-n", n.name(a), "link", "set", aName, "up")
	n.ip("-n", n.name(b), "link", "set", bName, "up")
}

func (n nets) listen(which, ports string) {
	n.t.Helper()
	c := n.in(which, listenVariable+"="+ports, os.Args[0])
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	if inErr != nil || outErr != nil || c.Start() != nil {
		n.t.Fatal("no listener")
	}
	n.t.Cleanup(func() { _ = in.Close(); _ = c.Wait() })
	if line := make([]byte, 7); func() error { _, err := out.Read(line); return err }() != nil || string(line) != "listens" {
		n.t.Fatalf("the listener says %q", line)
	}
}

func (n nets) reach(which string, addresses ...string) []string {
	n.t.Helper()
	out, err := n.in(which, knockVariable+"="+strings.Join(addresses, " "), os.Args[0]).Output()
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// inNetwork runs programs inside one of the networks.
type inNetwork string

// Run implements host.Runner.
func (n inNetwork) Run(ctx context.Context, c host.Command) (host.Result, error) {
	c.Args = append([]string{"netns", "exec", string(n), c.Name}, c.Args...)
	c.Name = "ip"
	return host.Exec{}.Run(ctx, c)
}

// TestFirewallInNetworks loads the rules into a network of its own, with a
// stack on one side and the world on the other, and knocks. It needs root.
func TestFirewallInNetworks(t *testing.T) {
	n := nets{t}
	for _, which := range []string{"box", "stack", "world"} {
		n.ip("netns", "add", n.name(which))
		t.Cleanup(func() { n.ip("netns", "delete", n.name(which)) })
		n.ip("-n", n.name(which), "link", "set", "lo", "up")
	}
	n.link("box", "rd-0123456789", "172.18.0.1/16", "stack", "eth0", "172.18.0.2/16")
	n.link("box", "eth0", "192.168.7.1/24", "world", "eth0",
		"192.168.7.2/24", "169.254.169.254/32", "10.9.9.9/32", "100.100.100.200/32", "203.0.113.9/32")
	n.ip("-n", n.name("stack"), "route", "add", "default", "via", "172.18.0.1")
	n.ip("-n", n.name("box"), "route", "add", "default", "via", "192.168.7.2")
	n.ip("-n", n.name("world"), "route", "add", "default", "via", "192.168.7.1")
	if out, err := n.in("box", "", "sysctl", "-w", "net.ipv4.ip_forward=1").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	n.listen("world", "80 53 5432")
	n.listen("box", "22 53 443 9090")
	n.listen("stack", "8080")

	run := inNetwork(n.name("box"))
	dir := t.TempDir()
	rules := host.OwnRules{Nft: host.Nft{Runner: run}, Base: filepath.Join(dir, "firewall.nft"), Folder: filepath.Join(dir, "d")}
	write(t, rules.Base, string(firewallRules(Facts{SSHPorts: []uint16{22}})))
	write(t, filepath.Join(rules.Folder, "a bad name.nft"), "tcp dport 1 accept\n")
	write(t, filepath.Join(rules.Folder, "bad.nft"), "nonsense\n")
	write(t, filepath.Join(rules.Folder, "lan.out.nft"), "ip daddr 192.168.7.2 tcp dport 5432 accept\n")
	write(t, filepath.Join(rules.Folder, "own.nft"), "# for us\ntcp dport 9090 accept\n")

	outside := []string{"203.0.113.9:80", "192.168.7.2:80", "10.9.9.9:80", "169.254.169.254:80", "100.100.100.200:80",
		"192.168.7.2:5432", "10.9.9.9:5432", "169.254.169.254:53"}
	own := []string{"172.18.0.1:22", "172.18.0.1:53", "172.18.0.1:443", "172.18.0.1:9090", "192.168.7.1:22", "192.168.7.1:443", "192.168.7.1:9090"}
	if got := n.reach("stack", slices.Concat(outside, own)...); len(got) != len(outside)+len(own) {
		t.Fatalf("the scene is not set: only %v answer", got)
	}
	wantReach(t, "the world, before the rules", n.reach("world", "172.18.0.2:8080"), "172.18.0.2:8080")
	base, err := os.ReadFile(rules.Base)
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.Nft.Load(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	wantReach(t, "a stack", n.reach("stack", slices.Concat(outside, own)...),
		"203.0.113.9:80", "169.254.169.254:53", "172.18.0.1:53", "172.18.0.1:443", "192.168.7.1:443")
	wantReach(t, "the box", n.reach("box", "172.18.0.2:8080", "192.168.7.2:80", "169.254.169.254:80"),
		"172.18.0.2:8080", "192.168.7.2:80", "169.254.169.254:80")
	wantReach(t, "the world", n.reach("world", slices.Concat(own[4:], []string{"172.18.0.2:8080"})...), "192.168.7.1:22", "192.168.7.1:443")

	for what, look := range map[string]func() ([]host.BadRules, error){
		"check": func() ([]host.BadRules, error) { return rules.Check(t.Context()) },
		"add":   func() ([]host.BadRules, error) { return rules.Add(t.Context()) },
	} {
		bad, err := look()
		if err != nil || len(bad) != 2 || !strings.HasSuffix(bad[0].File, "a bad name.nft") || !strings.Contains(fmt.Sprint(bad[1]), "nonsense") {
			t.Errorf("%s: %v, %v", what, bad, err)
		}
	}
	wantReach(t, "a stack, with own rules", n.reach("stack", slices.Concat(outside, own)...),
		"203.0.113.9:80", "192.168.7.2:5432", "169.254.169.254:53", "172.18.0.1:53", "172.18.0.1:443", "192.168.7.1:443")
	wantReach(t, "the world, with own rules", n.reach("world", own[4:]...), own[4:]...)
}

func wantReach(t *testing.T, who string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s reaches %v, want %v", who, got, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
