// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/api"
)

// unsaved is a machine on which nothing can be listed: nothing was saved yet, or there is
// an error.
type unsaved struct {
	exampleDaemon
	err error
	box time.Time // when the box's own got its last snapshot
}

func (u unsaved) Status(context.Context) (appliance.Status, error) {
	return appliance.Status{Schema: 1, Backups: appliance.BackupStatus{Repositories: []appliance.RepositoryStatus{{Name: "box", LastSuccess: u.box}, {Name: "offsite", Kind: "sftp"}}}}, nil
}

func (u unsaved) Snapshots(context.Context, string) ([]appliance.Restorable, error) {
	return []appliance.Restorable{}, u.err
}

// TestListBeforeTheFirstBackup: the repositories are shown, and that there is no snapshot
// yet is no error. What is wrong comes after the table: the daemon knows what is.
func TestListBeforeTheFirstBackup(t *testing.T) {
	for name, c := range map[string]struct {
		from, problem string
		box           time.Time
		want          []string
	}{
		"its own, not made yet":     {want: []string{"no snapshot in box yet", "backup run --to box"}},
		"another one, not made yet": {from: "offsite", box: time.Now(), want: []string{"no snapshot in offsite yet", "backup run --to offsite", "backup list --from box"}},
		"none anywhere":             {from: "offsite", want: []string{"no snapshot in offsite yet"}},
		"its own, gone":             {problem: "backups.no-repository"},
		"its own, damaged":          {problem: "backups.repository-damaged"},
		"another one":               {from: "offsite", problem: "backups.no-repository"},
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
			d := unsaved{box: c.box}
			if c.problem != "" {
				d.err = appliance.Problem(c.problem, nil, "repository", "box", "address", "/var/lib/rochdale/backup/box")
			}
			go func() { _ = api.Serve(t.Context(), l, d, slog.New(slog.DiscardHandler)) }()
			err = a.listBackups(t.Context(), c.from)
			fine := c.problem == ""
			if fine != (err == nil) || !fine && !appliance.IsProblem(err, c.problem) {
				t.Error(err)
			}
			said := out.String()
			if !strings.Contains(said, "offsite") || strings.Contains(said, "no snapshot") != fine || strings.Contains(said, "elsewhere") == c.box.IsZero() {
				t.Errorf("said:\n%s", said)
			}
			for _, want := range c.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not in:\n%s", want, said)
				}
			}
		})
	}
}
