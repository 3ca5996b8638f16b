// SPDX-License-Identifier: AGPL-3.0-or-later

package testhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

const (
	bridge = "rt0"
	// bridgeMAC is given, not found: a bridge without an address of its own takes the lowest one of its ports, and another
	// one when that port goes. The machines that are still there then send to the old address, and hear nothing for seconds.
	bridgeMAC   = "02:72:74:30:00:01"
	networkCIDR = "10.77.0.0/24"
	forwardFile = "/proc/sys/net/ipv4/ip_forward"
	ruleMark    = "rochdale-test"
)

// HostIP is the build machine's address on the bridge.
func HostIP() netip.Addr { return netip.MustParseAddr("10.77.0.1") }

// made records what Setup changed on the build machine, so that Teardown removes that and nothing else.
type made struct {
	Bridge  bool       `json:"bridge"`
	Forward string     `json:"forward"` // the former value of ip_forward, if it was changed
	Rules   [][]string `json:"rules"`   // iptables rules: table, chain, then the rule
}

func madePath() string { return filepath.Join(runDir(), "network.json") }

// makeNetwork brings up the bridge, forwarding and the rules, and adds to the record what was not so before. It is called with
// the setup lock held.
func makeNetwork(ctx context.Context, log io.Writer, record string) error {
	var m made
	if err := readJSON(record, &m); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := errors.Join(makeBridge(ctx, log, &m), allowForward(log, &m), makeRules(ctx, log, &m))
	if werr := writeJSON(record, m); werr != nil {
		return errors.Join(err, werr)
	}
	return err
}

func makeBridge(ctx context.Context, log io.Writer, m *made) error {
	if _, err := net.InterfaceByName(bridge); err != nil {
		fmt.Fprintln(log, "making the bridge", bridge)
		if _, err := run(ctx, "ip", "link", "add", bridge, "type", "bridge"); err != nil {
			return err
		}
		m.Bridge = true
	}
	if _, err := run(ctx, "ip", "link", "set", bridge, "address", bridgeMAC); err != nil {
		return err
	}
	if _, err := run(ctx, "ip", "addr", "replace", HostIP().String()+"/24", "dev", bridge); err != nil {
		return err
	}
	_, err := run(ctx, "ip", "link", "set", bridge, "up")
	return err
}

func allowForward(log io.Writer, m *made) error {
	old, err := os.ReadFile(forwardFile)
	if err != nil {
		return err
	}
	if value := strings.TrimSpace(string(old)); value != "1" {
		fmt.Fprintln(log, "turning on IPv4 forwarding")
		m.Forward = value
		return os.WriteFile(forwardFile, []byte("1\n"), 0o644)
	}
	return nil
}

// makeRules adds one NAT rule, and accept rules where the build machine filters by default.
func makeRules(ctx context.Context, log io.Writer, m *made) error {
	rules := [][]string{{"nat", "POSTROUTING", "-s", networkCIDR, "!", "-o", bridge, "-j", "MASQUERADE"}}
	listing, err := run(ctx, "iptables", "-S")
	if err != nil {
		return err
	}
	rules = append(rules, acceptRules(listing)...)
	for _, rule := range rules {
		if err := makeRule(ctx, log, m, rule); err != nil {
			return err
		}
	}
	return nil
}

// acceptRules returns what has to be accepted, given the output of `iptables -S`: nothing where everything is accepted.
func acceptRules(listing string) [][]string {
	var rules [][]string
	if filters(listing, "FORWARD") {
		rules = append(rules, []string{"filter", "FORWARD", "-i", bridge, "-j", "ACCEPT"},
			[]string{"filter", "FORWARD", "-o", bridge, "-j", "ACCEPT"})
	}
	if filters(listing, "INPUT") {
		rules = append(rules, []string{"filter", "INPUT", "-i", bridge, "-j", "ACCEPT"})
	}
	return rules
}

// filters tells whether a chain may drop packets: its policy is not ACCEPT, or it has rules of somebody else.
func filters(listing, chain string) bool {
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		policy := strings.HasPrefix(line, "-P "+chain+" ") && line != "-P "+chain+" ACCEPT"
		rule := strings.HasPrefix(line, "-A "+chain+" ") && !strings.Contains(line, ruleMark)
		if policy || rule {
			return true
		}
	}
	return false
}

func makeRule(ctx context.Context, log io.Writer, m *made, rule []string) error {
	if _, err := run(ctx, "iptables", ruleArgs("-C", rule)...); err == nil {
		return nil
	}
	fmt.Fprintln(log, "adding a firewall rule:", strings.Join(rule, " "))
	if _, err := run(ctx, "iptables", ruleArgs("-I", rule)...); err != nil {
		return err
	}
	m.Rules = append(m.Rules, rule)
	return nil
}

// ruleArgs renders one rule for iptables: op is -C (check), -I (insert) or -D (delete).
func ruleArgs(op string, rule []string) []string {
	args := append([]string{"-w", "-t", rule[0], op}, rule[1:]...)
	return append(args, "-m", "comment", "--comment", ruleMark)
}

// removeNetwork undoes what is recorded. It is called with the setup lock held and no machine left.
func removeNetwork(ctx context.Context, record string) error {
	var m made
	if err := readJSON(record, &m); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, rule := range m.Rules {
		_, err := run(ctx, "iptables", ruleArgs("-D", rule)...)
		errs = append(errs, err)
	}
	if m.Forward != "" {
		errs = append(errs, os.WriteFile(forwardFile, []byte(m.Forward+"\n"), 0o644))
	}
	if m.Bridge {
		_, err := run(ctx, "ip", "link", "del", bridge)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.Remove(record))...)
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a file whole, so that a reader never sees half of it.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := fmt.Sprintf("%s.%d.part", path, os.Getpid())
	if err := os.WriteFile(part, data, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
