// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rochdale/appliance/host"
)

// A stack that is stopped stays in every snapshot. Its files and its SQLite databases
// are read as those of any other stack; a database in a server can be dumped only
// while the server runs. So it is dumped once more before the server is stopped, and
// that dump is parked: it goes into each snapshot until the server runs again.

// parkedSchema is the version of [parked].
const parkedSchema = 1

// parked says what lies parked beside it. It is written last and removed first: while
// it is there the dump is whole, and nobody wrote to the server since.
type parked struct {
	Schema     int      `json:"schema"`
	Digest     string   `json:"digest"`
	Generation int64    `json:"generation"`
	Data       Snapshot `json:"data"`
}

// park dumps the databases of a stack with a server whose other services are stopped.
// A server that does not run is started for it, by itself: a removal that was
// interrupted, or a second one, finds it so.
func (d *Daemon) park(ctx context.Context, row Release) error {
	b, err := d.openBundle(ctx, row)
	if err != nil {
		return err
	}
	c := &crew{release: row, bundle: b, paths: d.Paths}
	place, err := d.serverPlace(ctx, c)
	if err != nil {
		return err
	}
	if err := d.unpark(row.Stack); err != nil {
		return err
	}
	if err := d.roomToStage(ctx, place, d.Paths.Backups()); err != nil {
		return err
	}
	dir, into := d.Paths.Parked(row.Stack), d.Paths.ParkedDatabases(row.Stack)
	if err := errors.Join(d.files.MkdirAll(dir, rootOnly()), d.files.MkdirAll(into, stackOnly(place.User))); err != nil {
		return err
	}
	data, err := d.Data.Snapshot(ctx, place, into, b.Stack.Manifest.Facts)
	if err == nil {
		err = d.writeParked(row, data)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	return nil
}

func (d *Daemon) writeParked(row Release, data Snapshot) error {
	body, err := json.Marshal(parked{Schema: parkedSchema, Digest: row.Digest, Generation: row.Generation, Data: data})
	if err != nil {
		return fmt.Errorf("write what is parked: %w", err)
	}
	if err := d.files.SyncAll(d.Paths.Parked(row.Stack)); err != nil {
		return err
	}
	return d.files.Write(d.Paths.ParkedRecord(row.Stack), body, host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
}

// serverPlace is where the data of a stack are, with its server running.
func (d *Daemon) serverPlace(ctx context.Context, c *crew) (DataPlace, error) {
	place, err := d.dataPlace(ctx, c)
	if !IsProblem(err, "daemon.database-gone") {
		return place, err
	}
	c, err = d.muster(ctx, c.release, c.bundle)
	if err != nil {
		return place, err
	}
	if err := d.ensure(ctx, c, isShared); err != nil {
		return place, err
	}
	return d.dataPlace(ctx, c)
}

// unpark forgets a dump, because the server is about to be written to.
func (d *Daemon) unpark(stack string) error {
	if err := d.files.Remove(d.Paths.ParkedRecord(stack)); err != nil {
		return err
	}
	if err := os.RemoveAll(d.Paths.Parked(stack)); err != nil {
		return fmt.Errorf("remove the parked databases of stack %s: %w", stack, err)
	}
	return nil
}

// readParked tells what is parked of a stack, for this release on these data.
func (d *Daemon) readParked(row Release) (p parked, err error) {
	missing := Problem("backup.not-parked", nil, "stack", row.Stack)
	body, err := os.ReadFile(d.Paths.ParkedRecord(row.Stack))
	if errors.Is(err, fs.ErrNotExist) {
		return p, missing
	}
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		return p, fmt.Errorf("look for the parked databases of stack %s: %w", row.Stack, err)
	}
	if p.Schema != parkedSchema || p.Digest != row.Digest || p.Generation != row.Generation {
		return p, missing
	}
	return p, nil
}

// stageParked brings what is parked into a snapshot's stage, under second names of
// the same files: a start of the stack takes nothing away from a snapshot that is
// being saved.
func (d *Daemon) stageParked(row Release, into string) (Snapshot, error) {
	p, err := d.readParked(row)
	if err != nil {
		return Snapshot{}, err
	}
	from := d.Paths.ParkedDatabases(row.Stack)
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		err = errors.Join(err, os.Link(filepath.Join(from, e.Name()), filepath.Join(into, e.Name())))
	}
	for _, file := range p.Data.Files {
		if _, missing := os.Lstat(filepath.Join(into, file)); missing != nil {
			err = errors.Join(err, missing)
		}
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("take the parked databases of stack %s: %w", row.Stack, err)
	}
	return p.Data, nil
}

// stoppedFindings tell of stacks that are stopped and whose data are in no new
// snapshot.
func (d *Daemon) stoppedFindings(ctx context.Context, rows []Release) (all []Finding) {
	var without map[string]Message
	for _, row := range rows {
		if !row.Stopped {
			continue
		}
		if without == nil {
			without = d.lastWithout(ctx)
		}
		why, missed := without[row.Stack]
		if err := d.mustBeParked(ctx, row); err != nil {
			why, missed = MessageOf(err), true
		}
		if missed {
			all = append(all, Finding{Severity: Warning, Message: Message{ID: "backup.stopped", Args: Args("stack", row.Stack)}}, Finding{Severity: Warning, Message: why})
		}
	}
	return all
}

// mustBeParked wants the dump of a stopped stack to be there, if it has a server.
func (d *Daemon) mustBeParked(ctx context.Context, row Release) error {
	b, err := d.openBundle(ctx, row)
	if err != nil || !(&crew{bundle: b}).postgres() {
		return nil //nolint:nilerr // the next backup tells of it
	}
	_, err = d.readParked(row)
	return err
}

// lastWithout is what the newest snapshot that worked is without, never nil.
func (d *Daemon) lastWithout(ctx context.Context) map[string]Message {
	var newest BackupRun
	for _, kind := range []BackupKind{BackupDump, BackupFull} {
		runs, err := d.Store.Runs(ctx, "", kind, KeptRuns)
		if err != nil {
			continue // the state being unreadable is another finding
		}
		for _, run := range runs {
			if run.OK && run.Began.After(newest.Began) {
				newest = run
			}
		}
	}
	if newest.Without == nil {
		return map[string]Message{}
	}
	return newest.Without
}
