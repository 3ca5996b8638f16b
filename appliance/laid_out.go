// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"rochdale/backups"
)

// layout says what of a repository is wanted where.
type layout struct {
	Snapshot string // of the databases
	Files    string // of the plain files; may be the same, or empty for none
	Stack    string
	Into     string
	NoRoom   string // the problem that the disk has no room for it
}

// laidOutFiles ends the name of the folder beside [layout.Into] in which the
// snapshot of the plain files is looked into.
const laidOutFiles = ".files"

// layOut restores the parts of a snapshot that belong to one stack. Everything
// lies below Into under the path that it had.
func (d *Daemon) layOut(ctx context.Context, r backups.Repository, l layout) (StackBackup, error) {
	if err := errors.Join(os.RemoveAll(l.Into), d.files.MkdirAll(l.Into, rootOnly())); err != nil {
		return StackBackup{}, err
	}
	if err := d.roomFor(ctx, r, l); err != nil {
		return StackBackup{}, err
	}
	stages := d.Paths.Stages()
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Snapshot, Target: l.Into, Include: []string{stages}}); err != nil {
		return StackBackup{}, readable(err)
	}
	m, err := readManifest(l.Into, stages)
	if err != nil {
		return StackBackup{}, err
	}
	one, ok := m.Stacks[l.Stack]
	if !ok {
		return one, Problem("restore.no-stack", nil, "stack", l.Stack, "made", m.Made.Format(time.RFC3339))
	}
	if err := one.plain(l.Stack); err != nil {
		return one, err
	}
	if _, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Snapshot, Target: l.Into, Include: []string{one.Bundle}}); err != nil {
		return one, readable(err)
	}
	return one, d.layOutFiles(ctx, r, l, &one)
}

// layOutFiles restores the plain files of a stack from the whole snapshot, which
// says where they were then.
func (d *Daemon) layOutFiles(ctx context.Context, r backups.Repository, l layout, one *StackBackup) error {
	if l.Files == "" {
		return nil
	}
	if l.Files != l.Snapshot {
		var err error
		if l.Files, err = d.filesWith(ctx, r, l); err != nil || l.Files == "" {
			return err
		}
		m, err := d.manifestOf(ctx, r, l.Files, l.Into+laidOutFiles)
		if err != nil {
			return err
		}
		one.Volumes = m.Stacks[l.Stack].Volumes
		if err := one.plain(l.Stack); err != nil {
			return err
		}
	}
	include := slices.Sorted(maps.Values(one.Volumes))
	if len(include) == 0 {
		return nil
	}
	_, err := d.Vault.Restore(ctx, r, backups.Restore{Snapshot: l.Files, Target: l.Into, Include: include})
	return readable(err)
}

// filesWith is the whole snapshot that the plain files of the stack come from: of those
// that are not younger than the one that was chosen, the newest that is not without it.
func (d *Daemon) filesWith(ctx context.Context, r backups.Repository, l layout) (string, error) {
	all, err := d.Vault.Snapshots(ctx, r, kindTag(BackupFull))
	if err != nil {
		return "", readable(err)
	}
	i := slices.IndexFunc(all, func(s backups.Snapshot) bool { return s.ID == l.Files })
	if i < 0 {
		return l.Files, nil // asking for it says what is wrong
	}
	for _, s := range all[i:] {
		if !slices.Contains(s.Tags, withoutTag(l.Stack)) {
			return s.ID, nil
		}
	}
	return "", nil
}
