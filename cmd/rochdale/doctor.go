// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"rochdale/appliance"
	"rochdale/appliance/api"
	"rochdale/appliance/doctor"
	"rochdale/appliance/edge"
	"rochdale/appliance/engine"
	"rochdale/appliance/host"
)

// doctorAnswer is what `rochdale doctor --json` prints.
type doctorAnswer struct {
	Schema   int    `json:"schema"`
	Healthy  bool   `json:"healthy"` // no failure among the findings
	Findings []View `json:"findings"`
}

func newDoctorCommand(a *app) *cobra.Command {
	return a.verb("doctor", "help.doctor", func(c *cobra.Command, _ []string) error {
		if err := a.there(); err != nil {
			return err
		}
		return a.tellFindings(a.examine(c.Context()))
	})
}

// examine looks itself, so that it works while the daemon is dead, and adds what
// only the daemon knows.
func (a *app) examine(ctx context.Context) []appliance.Finding {
	found := a.doctor().Findings(ctx)
	more, err := api.NewClient(a.paths.DaemonSocket()).Findings(ctx)
	if err != nil {
		return found // a dead daemon is among the findings
	}
	for _, f := range more {
		if f.ID != daemonCertificate && !slices.ContainsFunc(found, func(x appliance.Finding) bool { return same(x, f) }) {
			found = append(found, f)
		}
	}
	slices.SortStableFunc(found, doctor.Compare)
	return found
}

// daemonCertificate is the daemon's short word for what the doctor tells in full.
const daemonCertificate = "daemon.certificate"

// same tells whether two looks found the same: how long ago or how much is left
// differs from one look to the next.
func same(x, y appliance.Finding) bool {
	if x.ID != y.ID {
		return false
	}
	passing := []string{"detail", "free", "minutes", "days", "restarts"}
	a, b := maps.Clone(x.Args), maps.Clone(y.Args)
	for _, name := range passing {
		delete(a, name)
		delete(b, name)
	}
	return maps.Equal(a, b)
}

// doctor looks at this machine. What can not be reached is told by its checks.
func (a *app) doctor() doctor.Doctor {
	run := host.Exec{}
	d := doctor.Doctor{
		Paths: a.paths, Machine: doctor.Linux{}, Units: host.Systemd{Runner: run}, Firewall: host.Nft{Runner: run},
		OwnRules: a.ownRules(), Logins: host.SSH{Runner: run, Root: filepath.Join("/", a.paths.Root)},
		Certificates: edge.NewClient(a.paths.EdgeSocket()), Network: doctor.Net{}, Watched: doctor.WatchedUnits(),
		OwnUpdates: ownUpdates{a.paths},
	}
	if e, err := engine.New(engine.Socket); err == nil {
		d.Engine = e
	}
	return d
}

// daemonDoctor is the doctor that the daemon asks: it tells of certificates
// itself, and knows when it last looked at everything.
func (a *app) daemonDoctor(daemon *appliance.Daemon) doctor.Doctor {
	d := a.doctor()
	d.Certificates, d.Reconciled = nil, daemon
	return d
}

func (a *app) tellFindings(found []appliance.Finding) error {
	worst, some := doctor.Worst(found)
	failed := some && worst == appliance.Failure
	if a.printer.JSON() {
		if err := a.printer.Object(doctorAnswer{Schema: 1, Healthy: !failed, Findings: a.printer.Views(found)}); err != nil {
			return err
		}
	} else {
		a.writeFindings(found)
	}
	switch {
	case failed:
		return exit(appliance.ExitCheckFailed)
	case some && worst == appliance.Warning:
		return exit(appliance.ExitWarnings)
	}
	return nil
}

func (a *app) writeFindings(found []appliance.Finding) {
	for _, v := range a.printer.Views(found) {
		a.printer.view(a.streams.Out, v)
		fmt.Fprintln(a.streams.Out)
	}
	count := map[appliance.Severity]int{}
	for _, f := range found {
		count[f.Severity]++
	}
	if count[appliance.Failure]+count[appliance.Warning] == 0 {
		a.printer.Say("cli.doctor.well", "notices", count[appliance.Notice])
		return
	}
	a.printer.Say("cli.doctor.count", "failures", count[appliance.Failure], "warnings", count[appliance.Warning], "notices", count[appliance.Notice])
}
