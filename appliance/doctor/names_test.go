// SPDX-License-Identifier: AGPL-3.0-or-later

package doctor

import (
	"os"
	"testing"

	"rochdale/appliance"
)

// A name that nobody knows is a warning on the public web, and usual on a
// local network.
func TestNamesMatterOnlyOnThePublicWeb(t *testing.T) {
	for mode, want := range map[string]int{"acme": 1, "internal": 0} {
		t.Run(mode, func(t *testing.T) {
			d := Doctor{Paths: appliance.Paths{Root: t.TempDir()}, Network: noNetwork{}}
			config := "schema: 1\ntls: {mode: " + mode + "}\nstacks: {delivery: {domain: rides.example}}\n"
			if err := os.MkdirAll(d.Paths.ConfigDir(), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(d.Paths.Config(), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			found, err := names(t.Context(), d)
			if err != nil || len(found) != want {
				t.Errorf("found %v, %v; want %d findings", found, err, want)
			}
		})
	}
}
