// SPDX-License-Identifier: AGPL-3.0-or-later

package edge

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"rochdale/appliance"
)

var update = flag.Bool("update", false, "write the golden files")

func TestCaddyConfig(t *testing.T) {
	sockets := Listeners{HTTP: []string{"fd/3"}, HTTPS: []string{"fd/4"}, HTTP3: []string{"fdgram/5"}}
	for name, o := range map[string]Options{
		"internal": {Settings: appliance.EdgeSettings{Schema: 1, TLS: "internal"}, Listeners: sockets},
		"acme":     {Settings: appliance.EdgeSettings{Schema: 1, TLS: "acme", Email: "ada@rides.example"}, Listeners: sockets},
		"acme-own-ca": {Settings: appliance.EdgeSettings{
			Schema: 1, TLS: "acme", ACMECA: "https://ca.example/directory", ACMERoot: "/etc/rochdale/ca.pem",
		}, Listeners: Listeners{HTTP: []string{"fd/3"}, HTTPS: []string{"fd/4"}}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Dir = "/var/lib/rochdale/edge"
			got, err := caddyConfig(o)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			path := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("the configuration is not the golden one; got\n%s", got)
			}
		})
	}
}
