// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"rochdale/stacks"
)

// snapshotFile is the name of a database's file in a snapshot.
func snapshotFile(name, engine string) string {
	if engine == stacks.Postgres {
		return name + ".dump"
	}
	return name + ".db"
}

// propertiesFile has what a dump leaves out.
func propertiesFile(name string) string { return name + ".properties.json" }

// snapshot writes the SQLite databases of a stack in use. Their facts are measured
// in the copies, which are the same view by construction.
func (q request) snapshot(ctx context.Context) (*outcome, error) {
	if err := wipeInside(q.Folder); err != nil {
		return nil, because(ctx, NoCopy, "", err)
	}
	done := &outcome{Facts: map[string]int64{}}
	return done, q.From.eachDatabase(func(name string, d database) error {
		if d.Engine == stacks.Postgres {
			return nil // our parent asks its server
		}
		file := snapshotFile(name, d.Engine)
		n, facts, err := snapshotSQLite(ctx, d.File, filepath.Join(q.Folder, file), of(q.Facts, name))
		if err != nil {
			return because(ctx, NoDatabase, name, err)
		}
		done.Bytes += n
		done.Files = append(done.Files, file)
		maps.Copy(done.Facts, facts)
		return nil
	})
}

// snapshotSQLite makes a copy that is whole, and that is not there otherwise.
func snapshotSQLite(ctx context.Context, from, to string, facts map[string]fact) (size int64, got map[string]int64, err error) {
	temp := tempOf(to)
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(append(companions(temp), temp)...))
		}
	}()
	if err := vacuum(ctx, from, temp); err != nil {
		return 0, nil, err
	}
	if err := sound(ctx, temp); err != nil {
		return 0, nil, because(ctx, Damaged, filepath.Base(to), err)
	}
	if got, err = (database{Engine: stacks.SQLite, File: temp}).facts(ctx, facts); err != nil {
		return 0, nil, err
	}
	info, err := os.Stat(temp)
	if err != nil {
		return 0, nil, err
	}
	return info.Size(), got, settle(temp, to)
}

// load brings the SQLite databases of a snapshot into their places, and makes
// those in a server anew, with nothing in them yet.
func (q request) load(ctx context.Context) (*outcome, error) {
	done := &outcome{}
	return done, q.To.eachDatabase(func(name string, d database) error {
		if d.Engine == stacks.Postgres {
			return because(ctx, NoDatabase, name, d.empty(ctx, q.Properties[name]))
		}
		n, err := loadSQLite(ctx, filepath.Join(q.Folder, snapshotFile(name, d.Engine)), d.File)
		done.Bytes += n
		return because(ctx, NoCopy, name, err)
	})
}

func loadSQLite(ctx context.Context, from, to string) (n int64, err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	temp := tempOf(to)
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(append(companions(temp), temp)...))
		}
	}()
	if err := discard(append(companions(temp), temp)...); err != nil {
		return 0, err
	}
	if n, err = copyPlain(ctx, from, temp); err != nil {
		return n, err
	}
	if err := sound(ctx, temp); err != nil {
		return n, because(ctx, Damaged, filepath.Base(from), err)
	}
	return n, settle(temp, to)
}

// copyPlain copies one file of a snapshot.
func copyPlain(ctx context.Context, from, to string) (n int64, err error) {
	err = plainFile(from)
	if gone(err) {
		return 0, &Failure{Reason: NoSnapshot, Name: filepath.Base(from), Detail: "it is not in the snapshot"}
	}
	if err != nil {
		return 0, err
	}
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	return copyContent(ctx, out, in, info.Size())
}

// hold opens one view of a database in a server, measures facts in it and keeps
// it open until its input ends: a dump is made of the same view meanwhile.
func (q request) hold(ctx context.Context, in io.Reader, out io.Writer) error {
	if len(q.From.Databases) != 1 {
		return fmt.Errorf("asked to hold %d databases", len(q.From.Databases))
	}
	err := q.From.eachDatabase(func(name string, d database) (err error) {
		db, err := d.looking(ctx)
		if err != nil {
			return because(ctx, NoDatabase, name, err)
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		_, err = inView(ctx, db, func(tx *sql.Tx) (done outcome, err error) {
			if done, err = export(ctx, tx, d, of(q.Facts, name)); err != nil {
				return done, err
			}
			if err := json.NewEncoder(out).Encode(report{Schema: wireSchema, Done: &done}); err != nil {
				return done, fmt.Errorf("print the report: %w", err)
			}
			return done, untilEnd(ctx, in)
		})
		return because(ctx, NoDatabase, name, err)
	})
	var f *Failure
	if errors.As(err, &f) {
		return json.NewEncoder(out).Encode(report{Schema: wireSchema, Failure: f})
	}
	return err
}

// export makes the view of the transaction known by a name, and measures in it.
func export(ctx context.Context, tx *sql.Tx, d database, facts map[string]fact) (done outcome, err error) {
	if _, err := tx.ExecContext(ctx, "set local idle_in_transaction_session_timeout = 0"); err != nil {
		return done, err
	}
	if err := tx.QueryRowContext(ctx, "select pg_export_snapshot()").Scan(&done.Exported); err != nil {
		return done, err
	}
	if done.Facts, err = measure(ctx, tx, facts); err != nil {
		return done, err
	}
	p, err := readProperties(ctx, tx, d.Name)
	done.Properties = &p
	return done, err
}

// untilEnd waits until nothing more comes in.
func untilEnd(ctx context.Context, in io.Reader) error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-ended:
		return err
	}
}
