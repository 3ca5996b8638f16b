// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"errors"
	"maps"
	"os"
	"testing"
	"time"
)

// TestHostsOfWhatNobodyLookedAt: what the edge has, under the names of the
// configuration; nothing where it has nothing.
func TestHostsOfWhatNobodyLookedAt(t *testing.T) {
	hold := Gate{Mode: GateHold, Until: time.Unix(1800000000, 0)}
	rows := []Release{{Stack: "delivery"}}
	was := map[string]Host{
		"was.example": {Stack: "delivery", Upstream: "172.18.0.3:8080", Gate: hold},
		"old.example": {Stack: "delivery", RedirectTo: "was.example"},
		"other":       {Stack: "care", Upstream: "172.19.0.2:3000"},
	}
	for name, v := range map[string]struct {
		has  map[string]Host
		see  func(*views)
		rows []Release
		want map[string]Host
	}{
		"kept":           {was, nil, rows, map[string]Host{"rides.example": {Stack: "delivery", Upstream: "172.18.0.3:8080", Gate: hold}}},
		"a gate of ours": {was, func(v *views) { v.gate("delivery", Gate{Mode: GateClosed}) }, rows, map[string]Host{"rides.example": {Stack: "delivery", Upstream: "172.18.0.3:8080", Gate: Gate{Mode: GateClosed}}}},
		"not there":      {nil, nil, rows, map[string]Host{}},
		"looked at":      {was, func(v *views) { v.point("delivery", "172.18.0.9:8080") }, rows, map[string]Host{"rides.example": {Stack: "delivery", Upstream: "172.18.0.9:8080", Gate: Gate{Mode: GateOpen}}}},
		"down":           {was, func(v *views) { v.point("delivery", "") }, rows, map[string]Host{"rides.example": {Stack: "delivery", Gate: Gate{Mode: GateOpen}}}},
		"stopped":        {was, nil, []Release{{Stack: "delivery", Stopped: true}}, map[string]Host{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := New(Parts{Paths: cutBox(t)})
			if v.see != nil {
				v.see(&d.views)
			}
			got, err := d.hosts(v.rows, func() (map[string]Host, error) { return v.has, nil })
			if err != nil || !maps.Equal(got, v.want) {
				t.Errorf("%+v, want %+v; %v", got, v.want, err)
			}
		})
	}
}

// TestHostsWithoutNames: nothing is sent, and whoever has to be sure hears why.
func TestHostsWithoutNames(t *testing.T) {
	p := cutBox(t)
	if err := os.WriteFile(p.Config(), []byte("schema: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Parts{Paths: p}).hosts(nil, nil)
	if !errors.Is(err, errNoHosts) || MessageOf(err).ID != "config.syntax" {
		t.Error(err)
	}
}
