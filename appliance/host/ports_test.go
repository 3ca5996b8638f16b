// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"os/exec"
	"testing"
)

// alone runs programs in a network of their own, where rules can be loaded that
// end with it.
type alone struct{ rules string }

// Run implements Runner. It loads the rules first.
func (a alone) Run(ctx context.Context, c Command) (Result, error) {
	args := append([]string{"--net", "sh", "-c", `printf %s "$0" | nft -f - && exec "$@"`, a.rules, c.Name}, c.Args...)
	return Exec{}.Run(ctx, Command{Name: "unshare", Args: args})
}

// TestOpenTCP asks the real program about real rules. It needs root.
func TestOpenTCP(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal(err)
	}
	rules := `table inet rochdale {
		set own { type inet_service; elements = { 7000 } }
		chain own_in {
			tcp dport { 2200-2299, 2022 } accept
			th dport 53 accept
			ip saddr 192.0.2.1 tcp dport 5000-5001 counter accept
			tcp dport 6000 drop
			tcp dport != 6001 drop
			udp dport 6002 accept
			tcp sport 6003 accept
			ip saddr 192.0.2.7 accept
		}
		chain input { type filter hook input priority filter; policy drop; tcp dport 22 accept; jump own_in; }
	}`
	open, err := Nft{Runner: alone{rules}}.OpenTCP(t.Context(), "inet", "rochdale")
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint16]bool{
		22: true, 2022: true, 2200: true, 2250: true, 2299: true, 53: true, 5000: true, 5001: true,
		23: false, 2300: false, 6000: false, 6001: false, 6002: false, 6003: false, 7000: false,
	} {
		if open.Has(port) != want {
			t.Errorf("port %d: open is %v, want %v", port, !want, want)
		}
	}
	named, err := Nft{Runner: alone{"table inet rochdale {\nset own { type inet_service; }\nchain own_in { tcp dport @own accept; }\n}"}}.OpenTCP(t.Context(), "inet", "rochdale")
	if err != nil || !named.Has(4711) {
		t.Errorf("a set with a name: %v, %v", named, err)
	}
	if _, err := (Nft{Runner: alone{""}}).OpenTCP(t.Context(), "inet", "rochdale"); err == nil {
		t.Error("a table that is not there has ports")
	}
}
