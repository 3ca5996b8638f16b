// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"slices"
	"testing"
	"time"

	"rochdale/appliance"
)

// TestUploadThatWasCutOffStays for the next one: a prune of a repository elsewhere waits
// for a whole backup that ends well, but not for ever. Old snapshots are let go all the
// same, and the box's own repository is pruned each time.
func TestUploadThatWasCutOffStays(t *testing.T) {
	const day = 24 * time.Hour
	type run struct {
		ago time.Duration
		ok  bool
	}
	for name, c := range map[string]struct {
		known  time.Duration // for how long
		runs   []run         // of everything, on offsite
		pruned bool
	}{
		"each night goes well":            {known: 90 * day, pruned: true, runs: []run{{31 * time.Hour, true}, {7 * time.Hour, true}}},
		"the first one, after a night":    {known: day},
		"the first one failed":            {known: 2 * day, runs: []run{{40 * time.Hour, false}, {16 * time.Hour, false}}},
		"the first one, after eight days": {known: 8 * day, pruned: true, runs: []run{{31 * time.Hour, false}}},
		"a restart left no run":           {known: 90 * day, runs: []run{{31 * time.Hour, true}}},
		"the newest one failed":           {known: 90 * day, runs: []run{{25 * time.Hour, true}, {time.Hour, false}}},
		"eight days of failures":          {known: 90 * day, pruned: true, runs: []run{{8 * day, true}, {31 * time.Hour, false}, {7 * time.Hour, false}}},
		"it went well elsewhere":          {known: day, runs: []run{{25 * time.Hour, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				b.knownFor(c.known)
				b.made("box")
				b.made("offsite")
				for _, r := range c.runs {
					b.ran("offsite", r.ago, r.ok)
				}
				if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); err != nil {
					t.Fatal(err)
				}
				heard := b.vault.heard(0)
				if !slices.Contains(heard, "forget kind:dump offsite") || !slices.Contains(heard, "prune box") || slices.Contains(heard, "prune offsite") != c.pruned {
					t.Error(heard)
				}
			})
		})
	}
}

// knownFor makes all repositories ones that are known for so long.
func (b *bench) knownFor(long time.Duration) {
	b.t.Helper()
	known, err := b.store.KnownRepositories(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range known {
		known[i].Since = time.Now().Add(-long)
	}
	if err := b.store.KeepRepositories(b.t.Context(), known); err != nil {
		b.t.Fatal(err)
	}
}

// ran keeps that everything was saved to a repository some time ago, or was not.
func (b *bench) ran(repository string, ago time.Duration, ok bool) {
	b.t.Helper()
	began := time.Now().Add(-ago)
	err := b.store.KeepRun(b.t.Context(), appliance.BackupRun{
		ID: repository + began.String(), Repository: repository, Kind: appliance.BackupFull, Began: began, Ended: began, OK: ok,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}
