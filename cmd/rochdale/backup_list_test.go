// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// recovered is a machine that was just recovered: its own repository is not made yet.
type recovered struct {
	exampleDaemon
	err error
}

func (r recovered) Status(context.Context) (appliance.Status, error) {
	return appliance.Status{Schema: 1, Backups: appliance.BackupStatus{Repositories: []appliance.RepositoryStatus{{Name: "box"}, {Name: "offsite", Kind: "sftp"}}}}, nil
}

func (r recovered) Snapshots(context.Context, string) ([]appliance.Restorable, error) {
	return nil, r.err
}

// TestListBeforeTheFirstBackup: the repositories are shown, and that there is no snapshot
// on the machine yet is no error. What else is wrong comes after the table.
func TestListBeforeTheFirstBackup(t *testing.T) {
	for name, c := range map[string]struct {
		from, problem string
		fine          bool
	}{
		"its own, not made yet": {problem: "backups.no-repository", fine: true},
		"its own, damaged":      {problem: "backups.repository-damaged"},
		"another one":           {from: "offsite", problem: "backups.no-repository"},
	} {
		t.Run(name, func(t *testing.T) {
			a, out := testApp(false, nil)
			a.paths = appliance.Paths{Root: t.TempDir()}
			lay(t, map[string]string{a.paths.State(): ""})
			if err := os.MkdirAll(a.paths.Run(), 0o700); err != nil {
				t.Fatal(err)
			}
			l, err := api.Listen(t.Context(), a.paths.DaemonSocket())
			if err != nil {
				t.Fatal(err)
			}
			d := recovered{err: appliance.Problem(c.problem, nil, "repository", "box", "address", "/var/lib/rochdale/backup/box")}
			go func() { _ = api.Serve(t.Context(), l, d, slog.New(slog.DiscardHandler)) }()
			err = a.listBackups(t.Context(), c.from)
			if c.fine != (err == nil) || !c.fine && !appliance.IsProblem(err, c.problem) {
				t.Error(err)
			}
			if said := out.String(); !strings.Contains(said, "offsite") || strings.Contains(said, "no snapshot yet") != c.fine {
				t.Errorf("said:\n%s", said)
			}
		})
	}
}
