// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not as the golden file; see the difference and run with -update if it is meant:\n%s", name, got)
	}
}

func TestFirewallRules(t *testing.T) {
	golden(t, "firewall-plain.nft", firewallRules(Facts{SSHPorts: []uint16{22}}))
	golden(t, "firewall-lan.nft", firewallRules(Facts{SSHPorts: []uint16{22, 2222}, Avahi: true}))
	golden(t, "firewall-console.nft", firewallRules(Facts{}))
}

func TestUpdatesConfig(t *testing.T) {
	golden(t, "updates-debian.conf", updatesConfig(System{ID: "debian", Version: "12"}, "03:30"))
	golden(t, "updates-ubuntu.conf", updatesConfig(System{ID: "ubuntu", Version: "24.04"}, "04:00"))
	golden(t, "updates-raspios64.conf", updatesConfig(System{ID: "debian", Version: "12", RaspberryPi: true}, "03:30"))
	golden(t, "updates-raspios32.conf", updatesConfig(System{ID: "raspbian", Version: "12", RaspberryPi: true}, "never"))
}

func TestPinConfig(t *testing.T) {
	golden(t, "pin.pref", pinConfig(map[string]string{"docker.io": "20.10.24+dfsg1-1", "containerd": "1.6.20~ds1-1", "runc": "1.1.5+ds1-1"}))
}

func TestDockerConfig(t *testing.T) {
	cases := []struct {
		name, before string
		want         []string
		without      string
	}{
		{"none", "", []string{`"live-restore": true`, `"json-file"`, `"max-size": "10m"`}, "nothing"},
		{"empty", " \n", []string{`"live-restore": true`}, "nothing"},
		{"another log driver stays, without our options", `{"log-driver": "journald"}`, []string{`"journald"`, `"live-restore": true`}, "max-size"},
		{"own options of the log stay", `{"log-opts": {"max-size": "1g"}}`, []string{`"1g"`, `"json-file"`}, "10m"},
		{"live-restore is switched on", `{"live-restore": false}`, []string{`"live-restore": true`}, "false"},
		{"what we do not know stays", `{"data-root": "/srv/docker", "x": [1, {"y": null}]}`, []string{`"/srv/docker"`, `null`}, "nothing"},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			got, err := dockerConfig([]byte(test.before))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(got), want) {
					t.Errorf("%s is missing in %s", want, got)
				}
			}
			if strings.Contains(string(got), test.without) {
				t.Errorf("%s is in %s", test.without, got)
			}
			again, err := dockerConfig(got)
			if err != nil || string(again) != string(got) {
				t.Errorf("a second merge changes it: %s, %v", again, err)
			}
		})
	}
	for _, bad := range []string{"{", "[]", `"x"`, "{} {}"} {
		if got, err := dockerConfig([]byte(bad)); err == nil {
			t.Errorf("%q was accepted: %s", bad, got)
		}
	}
}

// TestUnits holds what keeps a box alive without a person.
func TestUnits(t *testing.T) {
	never := "StartLimitIntervalSec=0\n"
	cases := map[string][]string{
		daemonUnit: {never, "Restart=always\n", "RestartSec=", "Type=notify\n", "WatchdogSec=", "MemoryMax=", "NoNewPrivileges=yes\n",
			"ProtectSystem=strict\n", "ExecStart=/usr/local/lib/rochdale/daemon daemon\n", "WantedBy=multi-user.target\n"},
		edgeUnit: {never, "Restart=always\n", "RestartSec=", "Type=notify\n", "WatchdogSec=", "MemoryMax=", "NoNewPrivileges=yes\n",
			"User=rochdale-edge\n", "CapabilityBoundingSet=\n", "ProtectSystem=strict\n", "WantedBy=multi-user.target\n",
			"Sockets=" + strings.Join(edgeSockets(), " ") + "\n", "ExecStart=/usr/local/lib/rochdale/edge edge\n"},
		"rochdale-edge.socket":       {"ListenStream=80\n", "FileDescriptorName=http\n", "TriggerLimitIntervalSec=0\n", "Service=rochdale-edge.service\n", "WantedBy=sockets.target\n"},
		"rochdale-edge-https.socket": {"ListenStream=443\n", "FileDescriptorName=https\n", "TriggerLimitIntervalSec=0\n", "Service=rochdale-edge.service\n"},
		"rochdale-edge-http3.socket": {"ListenDatagram=443\n", "FileDescriptorName=http3\n", "TriggerLimitIntervalSec=0\n", "Service=rochdale-edge.service\n"},
		firewallUnit: {"Before=network-pre.target", "RemainAfterExit=yes\n", "ExecStart=/usr/sbin/nft --file /etc/rochdale/firewall.nft\nExecStart=-/usr/local/lib/rochdale/daemon firewall\n", "ExecReload=/usr/local/lib/rochdale/daemon firewall\n",
			"WantedBy=sysinit.target\n"},
		"engine.conf":   {never, "Restart=always\n", "RestartSec="},
		"swap.swap":     {"What=/var/lib/rochdale/swapfile\n", "WantedBy=swap.target\n"},
		"sysusers.conf": {"u " + edgeUser + " ", "u " + webUser + " "},
	}
	for name, wants := range cases {
		data, err := unit(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	if _, err := unit("another.service"); err == nil {
		t.Error("a unit that is not there was found")
	}
}
