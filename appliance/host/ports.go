// SPDX-License-Identifier: AGPL-3.0-or-later

package host

import (
	"context"
	"encoding/json"
	"fmt"
)

// Ports are ranges of ports, first and last included.
type Ports [][2]uint16

// Has tells whether the port is in one of the ranges.
func (p Ports) Has(port uint16) bool {
	for _, r := range p {
		if r[0] <= port && port <= r[1] {
			return true
		}
	}
	return false
}

// nftRule is one element of what nft prints as JSON; other kinds of elements
// leave it empty.
type nftRule struct {
	Rule struct {
		Expr []map[string]json.RawMessage `json:"expr"`
	} `json:"rule"`
}

type nftMatch struct {
	Op   string `json:"op"`
	Left struct {
		Payload struct {
			Protocol string `json:"protocol"`
			Field    string `json:"field"`
		} `json:"payload"`
	} `json:"left"`
	Right json.RawMessage `json:"right"`
}

// OpenTCP gives the ports that the rules of a table accept TCP at, whatever else
// the rules ask for: who may come in by a port is not looked at.
func (n Nft) OpenTCP(ctx context.Context, family, name string) (Ports, error) {
	r, err := n.Runner.Run(ctx, Command{Name: "nft", Args: []string{"--json", "list", "table", family, name}})
	if err != nil {
		return nil, fmt.Errorf("packet filter: %w", err)
	}
	var all struct {
		List []nftRule `json:"nftables"`
	}
	if err := json.Unmarshal(r.Stdout, &all); err != nil {
		return nil, fmt.Errorf("packet filter: understand its rules: %w", err)
	}
	var open Ports
	for _, rule := range all.List {
		open = append(open, rule.openTCP()...)
	}
	return open, nil
}

func (r nftRule) openTCP() (ports Ports) {
	accepts := false
	for _, e := range r.Rule.Expr {
		if _, ok := e["accept"]; ok {
			accepts = true
		}
		var m nftMatch
		if raw, ok := e["match"]; ok && json.Unmarshal(raw, &m) == nil && m.tcpPort() {
			ports = append(ports, portsOf(m.Right)...)
		}
	}
	if !accepts {
		return nil
	}
	return ports
}

func (m nftMatch) tcpPort() bool {
	p := m.Left.Payload
	return m.Op == "==" && p.Field == "dport" && (p.Protocol == "tcp" || p.Protocol == "th")
}

// portsOf reads 22, {"range": [1, 2]} or {"set": [...]} of both. A set with a
// name has all ports: nobody is to be warned of what can not be seen.
func portsOf(raw json.RawMessage) Ports {
	var port uint16
	if json.Unmarshal(raw, &port) == nil {
		return Ports{{port, port}}
	}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		return Ports{{0, 65535}}
	}
	var many struct {
		Range []uint16          `json:"range"`
		Set   []json.RawMessage `json:"set"`
	}
	if json.Unmarshal(raw, &many) != nil {
		return nil
	}
	var ports Ports
	if len(many.Range) == 2 {
		ports = append(ports, [2]uint16{many.Range[0], many.Range[1]})
	}
	for _, one := range many.Set {
		ports = append(ports, portsOf(one)...)
	}
	return ports
}
