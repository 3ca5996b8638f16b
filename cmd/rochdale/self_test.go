// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/installer"
)

// TestSelfEnds: the last words about a change of version, and its exit code.
func TestSelfEnds(t *testing.T) {
	why := appliance.Message{ID: "self.reason.starts", Args: appliance.Args("unit", "rochdale.service", "count", 3)}
	change := func(o installer.ChangeOutcome, reason *appliance.Message) installer.SelfChange {
		return installer.SelfChange{
			To: installer.Build{Version: "1.3.0"}, From: installer.Build{Version: "1.2.0"}, Began: time.Now(), Outcome: o, Reason: reason,
		}
	}
	cases := []struct {
		change installer.SelfChange
		code   int
		says   string
	}{
		{change(installer.Proven, nil), 0, "Version 1.3.0 runs and has proven itself (before: 1.2.0)"},
		{change(installer.PutBack, &why), 12, "rochdale.service was started 3 times"},
		{change(installer.GaveUp, &why), 12, "could not take over; 1.2.0 was never stopped"},
		{change(installer.Overtaken, nil), 12, "an installation brought another version"},
	}
	for _, test := range cases {
		a, out := testApp(false, nil, "--lang", "en")
		code := a.finish(t.Context(), a.tellChanged(test.change))
		if code != test.code || !strings.Contains(out.String(), test.says) {
			t.Errorf("%s: code %d\n%s", test.change.Outcome, code, out)
		}
	}
}
