// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"testing"

	"rochdale/appliance"
	"rochdale/backups"
)

// TestRescueWhereARepositoryIsGone: a kit may name a repository that is not there any
// more. The snapshot is taken from another one when the missing one is left out by name,
// and where no other has any, that is told; a bare machine remembers no runs.
func TestRescueWhereARepositoryIsGone(t *testing.T) {
	lost(t, func(t *testing.T, b *bench, p appliance.RescuePoint) {
		all := b.rescued(t)
		gone := all[slices.IndexFunc(all, func(r backups.Repository) bool { return r.Name == "offsite" })]
		gone.Name, gone.URL = "second", "sftp:rides@other.example:/srv/rides"
		b.vault.fail("second", &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": "second"}})
		both := appliance.NewRescue(b.paths, b.vault, append(all, gone))
		if _, err := both.Find(t.Context()); !appliance.IsProblem(err, "recover.silent") {
			t.Errorf("with one that is gone: %v", err)
		}
		if got, err := both.Find(t.Context(), "second"); err != nil || got != p {
			t.Errorf("without it: %+v, %v; want %+v", got, err, p)
		}
		if _, err := appliance.NewRescue(b.paths, b.vault, []backups.Repository{gone}).Find(t.Context()); !appliance.IsProblem(err, "recover.no-snapshot") {
			t.Errorf("when there is no other: %v", err)
		}
	})
}
