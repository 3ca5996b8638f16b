// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"slices"
	"time"

	"rochdale/backups"
)

// KnownRepository is a repository that the box writes to, and since when it knows it.
// One with another address is another one, whatever its name.
type KnownRepository struct {
	Name  string
	URL   string
	Since time.Time
}

// known tells since when each of these repositories is known; changed is whether that is
// not in state yet. One that is not there is new, unless nothing is there at all: a
// version that kept none of it wrote the state, and the runs tell.
func (d *Daemon) known(ctx context.Context, all []backups.Repository) (now []KnownRepository, changed bool, err error) {
	kept, err := d.Store.KnownRepositories(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, r := range all {
		i := slices.IndexFunc(kept, func(k KnownRepository) bool { return k.is(r) })
		if i >= 0 {
			now = append(now, kept[i])
			continue
		}
		one := KnownRepository{Name: r.Name, URL: r.URL, Since: time.Now().UTC()}
		if len(kept) == 0 {
			if one.Since, err = d.oldestRun(ctx, r.Name, one.Since); err != nil {
				return nil, false, err
			}
		}
		now, changed = append(now, one), true
	}
	return now, changed || len(now) != len(kept), nil
}

// is tells whether r is the one that is known. A time in the future was kept while the
// clock was wrong, and counts for nothing.
func (k KnownRepository) is(r backups.Repository) bool {
	return k.Name == r.Name && k.URL == r.URL && time.Until(k.Since) <= tick
}

// oldestRun is when the oldest run on a repository began that is remembered.
func (d *Daemon) oldestRun(ctx context.Context, repository string, none time.Time) (time.Time, error) {
	oldest := none
	for _, kind := range []BackupKind{BackupFull, BackupDump, BackupCheck, BackupPrune} {
		runs, err := d.Store.Runs(ctx, repository, kind, KeptRuns+1) // with the last one that went well
		if err != nil {
			return none, err
		}
		if n := len(runs); n > 0 && runs[n-1].Began.Before(oldest) {
			oldest = runs[n-1].Began
		}
	}
	return oldest, nil
}

// meet keeps since when the repositories of the configuration are known, and forgets
// those that are not in it any more.
func (d *Daemon) meet(ctx context.Context) {
	if _, ok := d.config.get(); !ok {
		return // it is not known which there are
	}
	now, changed, err := d.known(ctx, d.repositories())
	if err == nil && changed {
		err = d.Store.KeepRepositories(ctx, now)
	}
	if err != nil && ctx.Err() == nil {
		d.Log.Warn("since when the repositories are known is not kept yet", "error", err)
	}
}

// settling is how long a new repository is left to whoever added it, who may be about
// to save there by hand.
const settling = 5 * time.Minute

// firstSaved is by when something was saved to a new repository, if all goes well: the
// first dump or whole backup makes what opens it.
const firstSaved = 6 * settling

// savesSoon tells whether a repository is so new that nobody has to wonder that nothing
// opens it yet.
func (d *Daemon) savesSoon(ctx context.Context, name string) bool {
	r, err := d.repository(name)
	if err != nil {
		return false
	}
	known, _, err := d.known(ctx, []backups.Repository{r})
	if err != nil || time.Since(known[0].Since) > firstSaved {
		return false
	}
	unmade, err := d.unmade(ctx, r)
	return err == nil && unmade
}

// fullSoon tells whether everything is to be saved before the night: a repository came
// after the last time that this began, last, and no whole backup to it began since.
// One that fails is tried again at night, like any other. The very first backup of a
// box comes with its dumps.
func (d *Daemon) fullSoon(ctx context.Context, last time.Time) (bool, error) {
	known, _, err := d.known(ctx, d.repositories())
	if err != nil {
		return false, err
	}
	for _, k := range known {
		if !k.Since.After(last) || time.Since(k.Since) < settling {
			continue
		}
		runs, err := d.Store.Runs(ctx, k.Name, BackupFull, 1)
		if err != nil {
			return false, err
		}
		if len(runs) == 0 || runs[0].Began.Before(k.Since) {
			return d.savedWhole(ctx)
		}
	}
	return false, nil
}

// savedWhole tells whether there is a whole snapshot anywhere.
func (d *Daemon) savedWhole(ctx context.Context) (bool, error) {
	whole, err := d.Store.Runs(ctx, "", BackupFull, KeptRuns)
	return slices.ContainsFunc(whole, func(r BackupRun) bool { return r.OK }), err
}
