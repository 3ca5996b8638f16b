// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
	"time"

	"rochdale/installer/e2e/box"
	"rochdale/installer/testhost"
)

// TestInstallGoesOn breaks one installation in its middle, three times in three
// ways. Each time there is one clear error, and running it again goes on; at
// the end the box is as any other.
func TestInstallGoesOn(t *testing.T) {
	t.Parallel()
	b := boot(t, box.Options{})
	install := b.InstallArgs()

	t.Run("the disk fills", func(t *testing.T) {
		sh(t, b, "mount -t tmpfs -o size=8M none /var/cache/apt")
		got := ask(t, b, install...)
		sh(t, b, "umount /var/cache/apt")
		if got.Code != 12 || got.Error != "install.disk-filled" {
			t.Fatalf("code %d, error %q\n%s", got.Code, got.Error, got.Text)
		}
	})
	t.Run("dpkg is broken", func(t *testing.T) {
		sh(t, b, `mkdir -p /root/p/DEBIAN
printf 'Package: stubborn\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: fails until it is mended\n' >/root/p/DEBIAN/control
printf '#!/bin/sh\ntest -e /root/mended\n' >/root/p/DEBIAN/postinst
chmod 755 /root/p/DEBIAN/postinst
dpkg-deb -b /root/p /root/p.deb
dpkg -i /root/p.deb || true`)
		got := ask(t, b, install...)
		if got.Code != 12 || got.Error != "install.repair-failed" || !strings.Contains(strings.Join(got.Findings, " "), "install.dpkg-interrupted") {
			t.Fatalf("code %d, error %q, findings %v\n%s", got.Code, got.Error, got.Findings, got.Text)
		}
		sh(t, b, "touch /root/mended") // its package can be configured from now on; we leave that to the installer
	})
	t.Run("the network goes", func(t *testing.T) { cutNetwork(t, b, install) })

	if _, err := b.Install(within(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	healthy(t, b)
	if state := sh(t, b, "dpkg-query -W -f '${db:Status-Abbrev}' stubborn"); state != "ii" {
		t.Errorf("the half done package is %q", state)
	}
}

// cutNetwork takes the way to the packages away while they are fetched.
func cutNetwork(t *testing.T, b *box.Box, install []string) {
	ctx := within(t, 6*time.Minute)
	sh(t, b, "rm -f /var/lib/rochdale/apt.log; rm -rf /var/cache/apt/archives/*.deb")
	var out strings.Builder
	p, err := b.Start(ctx, testhost.Command{Args: append(install, "--json"), Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	sh(t, b, `until grep -qs '^Get:' /var/lib/rochdale/apt.log && grep -q 'Need to get' /var/lib/rochdale/apt.log; do sleep 0.02; done
ip route add prohibit 10.77.0.1/32`)
	code, err := p.Wait()
	sh(t, b, "ip route del prohibit 10.77.0.1/32")
	if err != nil || code != 12 || !strings.Contains(out.String(), `"install.network-lost"`) {
		t.Fatalf("code %d, %v\n%s\n%s", code, err, out.String(), sh(t, b, "cat /var/lib/rochdale/apt.log"))
	}
}
