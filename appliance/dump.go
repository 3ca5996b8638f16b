// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import "context"

// dumpIfChanged saves the databases when one of them changed. A box that has no
// whole snapshot yet gets one first. While the box is being recovered none is made: the
// next quarter comes soon.
func (d *Daemon) dumpIfChanged(ctx context.Context) error {
	if d.recovering() {
		return nil
	}
	whole, err := d.savedWhole(ctx)
	if err != nil {
		return err
	}
	if !whole {
		return d.backupInTime(ctx, BackupFull)
	}
	prints, err := d.prints(ctx)
	if err != nil || d.dumped.same(prints) {
		return err
	}
	return d.backupInTime(ctx, BackupDump)
}

// backupInTime is a backup of the schedule. That a slow repository does not have it yet
// is no failure of it: there is a finding for that, and the next one comes by itself.
func (d *Daemon) backupInTime(ctx context.Context, kind BackupKind) error {
	if err := d.Backup(ctx, kind, "", nil); !IsProblem(err, "backup.on-its-way") {
		return err
	}
	return nil
}

// prints are those of all databases now.
func (d *Daemon) prints(ctx context.Context) (map[string]string, error) {
	rows, err := d.Store.Releases(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, row := range rows {
		if row.Stopped {
			all[row.Stack] = d.stoppedPrint(row)
			continue
		}
		b, err := d.openBundle(ctx, row)
		if err != nil {
			return nil, err
		}
		place, err := d.dataPlace(ctx, &crew{release: row, bundle: b, paths: d.Paths})
		if err != nil {
			return nil, err
		}
		all[row.Stack] = fingerprint(row, place)
	}
	return all, nil
}
