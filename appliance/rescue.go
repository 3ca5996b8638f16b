// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// RescuePoint is what a lost machine is recovered from.
type RescuePoint struct {
	Repository string    `json:"repository"`
	Snapshot   string    `json:"snapshot"`
	Files      string    `json:"files,omitempty"` // the whole snapshot that plain files come from
	Made       time.Time `json:"made"`
}

// Rescue reads what a lost machine left in its repositories, on a machine that has
// no daemon yet. It writes to none of them.
type Rescue struct {
	daemon *Daemon
	all    []backups.Repository
}

// NewRescue joins the repositories of a kit to the way to them.
func NewRescue(p Paths, v Vault, all []backups.Repository) Rescue {
	return Rescue{&Daemon{Parts: Parts{Paths: p, Vault: v}, files: host.NewFiles()}, all}
}

// Find tells of the newest snapshot in any repository; one from the future is taken
// only when there is no other. A repository that does not answer may
// have a newer one, so that it has to be left out by name: without.
func (r Rescue) Find(ctx context.Context, without ...string) (RescuePoint, error) {
	var best RescuePoint
	var found Restorable
	var failed error
	silent := ""
	asked, disks := 0, []string{}
	for _, repository := range r.all {
		if slices.Contains(without, repository.Name) {
			continue
		}
		if repository.Kind() == backups.Local && !isFile(filepath.Join(repository.URL, "config")) {
			if repository.Name != BoxRepository { // that was lost with the machine
				disks = append(disks, repository.URL)
			}
			continue
		}
		asked++
		one, err := r.daemon.choose(ctx, repository, "", "")
		if ctx.Err() != nil {
			return best, context.Cause(ctx)
		}
		if err != nil {
			failed, silent = errors.Join(failed, err), repository.Name
			continue
		}
		if first := lateLast(one, found); found.Snapshot == "" || first < 0 || first == 0 && one.Made.After(found.Made) {
			found, best = one, RescuePoint{Repository: one.Repository, Snapshot: one.Snapshot, Files: one.Files, Made: one.Made}
		}
	}
	if best.Snapshot == "" {
		if len(disks) > 0 {
			return best, Problem("recover.no-disk", failed, "count", asked+len(disks), "paths", strings.Join(disks, ", "))
		}
		return best, Problem("recover.no-snapshot", failed, "count", asked)
	}
	if silent != "" {
		return RescuePoint{}, Problem("recover.silent", failed, "repository", silent, "made", best.Made.Format(time.RFC3339), "other", best.Repository)
	}
	return best, nil
}

// Fetch lays out what a snapshot has of the box itself: configuration, certificates,
// its memory, and what the snapshot says of itself. Everything lies below into under
// the path that it had.
func (r Rescue) Fetch(ctx context.Context, p RescuePoint, into string) error {
	if err := errors.Join(os.RemoveAll(into), r.daemon.files.MkdirAll(into, host.Attr{Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid()})); err != nil {
		return err
	}
	for _, repository := range r.all {
		if repository.Name != p.Repository {
			continue
		}
		paths := r.daemon.Paths
		include := []string{paths.ConfigDir(), paths.Edge()}
		for n := range maxStages {
			for _, kind := range []BackupKind{BackupDump, BackupFull} {
				stage := paths.StageNumber(kind, n+1)
				include = append(include, filepath.Join(stage, manifestName), filepath.Join(stage, stateName))
			}
		}
		if _, err := r.daemon.Vault.Restore(ctx, repository, backups.Restore{Snapshot: p.Snapshot, Target: into, Include: include}); err != nil {
			return readable(err)
		}
		_, _, err := Rescued(paths, into)
		return err
	}
	return Problem("backup.no-repository", nil, "repository", p.Repository)
}

// stateName is the copy of the box's memory in a snapshot's stage.
const stateName = "state.db"

// Rescued reads what was laid out: what the snapshot holds, and where the memory of
// the lost box lies.
func Rescued(p Paths, into string) (m BackupManifest, state string, err error) {
	m, stage, err := findManifest(into, p.Stages())
	if err != nil {
		return m, "", err
	}
	return m, filepath.Join(stage, stateName), nil
}
