// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"errors"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/stacks"
)

// stepping is a release: a version, what it may follow, and its stepping stones.
func stepping(version, from string, steps ...string) appliance.Bundle {
	b := appliance.Bundle{Digest: "sha256:" + version}
	b.Stack.Manifest = stacks.Manifest{Name: "delivery", Version: version, Upgrade: stacks.Upgrade{From: from, Steps: steps}}
	return b
}

func TestChain(t *testing.T) {
	all := []appliance.Bundle{
		stepping("2.10.0", ">=2.9", "~1.4", "~2.9"), stepping("1.4.2", ">=1.0"), stepping("1.4.10", ">=1.0"), stepping("2.9.1", ">=1.4"),
	}
	for _, test := range []struct {
		have, want, problem string
		all                 []appliance.Bundle
	}{
		{have: "1.0.0", want: "1.4.10 2.9.1 2.10.0"},
		{have: "1.4.0", want: "2.9.1 2.10.0"},
		{have: "1.5.0", want: "2.9.1 2.10.0"},
		{have: "2.9.0", want: "2.10.0"},
		{have: "2.9.7", want: "2.10.0"},
		{have: "1.0.0", all: all[:1], problem: "update.no-step"},
		{have: "1.0.0", all: []appliance.Bundle{all[0], all[1]}, problem: "update.no-step"},
		{have: "1.0.0", all: all[1:2], want: "1.4.2"},
		{have: "1.0.0", all: []appliance.Bundle{stepping("3.0.0", "")}, want: "3.0.0"},
		{have: "1.0.0", all: []appliance.Bundle{}, problem: "update.no-bundles"},
	} {
		if test.all == nil {
			test.all = all
		}
		got, err := appliance.Chain(test.have, test.all)
		var versions []string
		for _, b := range got {
			versions = append(versions, b.Stack.Manifest.Version)
		}
		var e *appliance.Error
		id := ""
		if errors.As(err, &e) {
			id = e.ID
		}
		if s := strings.Join(versions, " "); s != test.want || id != test.problem {
			t.Errorf("from %s with %d releases: %q, %v; want %q %s", test.have, len(test.all), s, err, test.want, test.problem)
		}
	}
}
