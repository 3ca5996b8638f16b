// SPDX-License-Identifier: AGPL-3.0-or-later

package installer

import (
	"context"
	"path/filepath"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Box is what the installer asks of the running daemon; cmd fills it with the
// client of the daemon's socket.
type Box interface {
	// Ready tells whether the daemon answers.
	Ready(ctx context.Context) error
	// Apply makes the stack run: the release that it ran before, or else that of a
	// bundle file, or with "" the one that this binary carries.
	Apply(ctx context.Context, stack, bundle string, report func(string)) error
	// FirstAdmin gives a one-time link that makes the platform's first admin;
	// empty when there is an admin already.
	FirstAdmin(ctx context.Context, stack string) (string, error)
	Findings(ctx context.Context) ([]appliance.Finding, error)
}

// Deps is what the steps work with.
type Deps struct {
	Paths  appliance.Paths
	Files  host.Files
	Runner host.Runner
	Box    Box
}

// RealDeps are those of this machine.
func RealDeps(box Box) Deps {
	return Deps{Paths: appliance.Paths{}, Files: host.NewFiles(), Runner: host.Exec{}, Box: box}
}

func (d Deps) at(elem ...string) string {
	return filepath.Join(append([]string{"/", d.Paths.Root}, elem...)...)
}

func (d Deps) systemd() host.Systemd { return host.Systemd{Runner: d.Runner} }

func (d Deps) apt() host.Apt {
	return host.Apt{Runner: d.Runner, Log: filepath.Join(d.Paths.Var(), "apt.log")}
}

func (d Deps) nft() host.Nft { return host.Nft{Runner: d.Runner} }

func (d Deps) unitPath(name string) string { return d.at("etc/systemd/system", name) }

func (d Deps) firewallPath() string { return d.Paths.Firewall() }

func (d Deps) swapPath() string { return filepath.Join(d.Paths.Var(), "swapfile") }

func (d Deps) rootPath() string { return filepath.Join(d.Paths.ConfigDir(), "acme-root.pem") }
