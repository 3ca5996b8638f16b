// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"context"
	"errors"
	"testing"

	"rochdale/appliance/host"
)

type openAt host.Ports

func (openAt) HasTable(context.Context, string, string) (bool, error) { return true, nil }
func (o openAt) OpenTCP(context.Context, string, string) (host.Ports, error) {
	return host.Ports(o), nil
}

type loginsAt []uint16

func (l loginsAt) Ports(context.Context) []uint16 { return l }

type badRules []host.BadRules

func (b badRules) Check(context.Context) ([]host.BadRules, error) { return b, nil }

// TestFirewallAndSSH: a port of SSH that the firewall does not let in is a
// failure, and says which.
func TestFirewallAndSSH(t *testing.T) {
	d := Doctor{Firewall: openAt{{22, 22}, {2200, 2299}}}
	for _, test := range []struct {
		name   string
		logins Logins
		want   string
	}{
		{"nobody logs in", nil, ""},
		{"no server", loginsAt{}, ""},
		{"as installed", loginsAt{22}, ""},
		{"within a range", loginsAt{22, 2222}, ""},
		{"moved", loginsAt{2022}, "failure doctor.firewall-ssh"},
		{"one of two", loginsAt{22, 2022}, "failure doctor.firewall-ssh"},
	} {
		d.Logins = test.logins
		found, err := firewall(t.Context(), d)
		if err != nil || ids(found) != test.want {
			t.Errorf("%s: %v, %v", test.name, found, err)
		}
		if len(found) == 1 && found[0].Args["port"] != "2022" {
			t.Errorf("%s: it names %v", test.name, found[0].Args)
		}
	}
}

func TestOwnRules(t *testing.T) {
	d := Doctor{OwnRules: badRules{{File: "/etc/rochdale/firewall.d/own.nft", Err: errors.New("line 1: no such word\nmore")}}}
	found, err := ownRules(t.Context(), d)
	if err != nil || ids(found) != "warning doctor.firewall-rules" || found[0].Args["detail"] != "line 1: no such word" {
		t.Errorf("%v, %v", found, err)
	}
	if found, err := ownRules(t.Context(), Doctor{OwnRules: badRules{}}); err != nil || len(found) > 0 {
		t.Errorf("without bad ones: %v, %v", found, err)
	}
}
