// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"rochdale/appliance"
)

const releaseColumns = "stack, digest, version, generation, committed, stopped, settings"

// Release implements [appliance.Reader].
func (d *DB) Release(ctx context.Context, stack string) (appliance.Release, bool, error) {
	row := d.sql.QueryRowContext(ctx, "select "+releaseColumns+" from releases where stack = ?", stack)
	r, err := scanRelease(row)
	if errors.Is(err, sql.ErrNoRows) {
		return appliance.Release{}, false, nil
	}
	return r, err == nil, unusable(d.path, err)
}

// Releases implements [appliance.Reader].
func (d *DB) Releases(ctx context.Context) ([]appliance.Release, error) {
	rows, err := d.sql.QueryContext(ctx, "select "+releaseColumns+" from releases order by stack")
	return collect(d.path, rows, err, scanRelease)
}

// Commit implements [appliance.Store].
func (d *DB) Commit(ctx context.Context, r appliance.Release) error {
	if r.Stack == "" || r.Digest == "" || r.Generation < 1 || r.Committed.IsZero() {
		return fmt.Errorf("commit of an incomplete release: %+v", r)
	}
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "insert or replace into releases ("+releaseColumns+") values (?, ?, ?, ?, ?, ?, ?)",
			r.Stack, r.Digest, r.Version, r.Generation, r.Committed.UnixMilli(), r.Stopped, r.Settings)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `insert into generations (stack, number, digest, state) values (?, ?, ?, 'used')
			on conflict (stack, number) do update set state = 'used', digest = excluded.digest`, r.Stack, r.Generation, r.Digest)
		return err
	})
}

// Forget implements [appliance.Store].
func (d *DB) Forget(ctx context.Context, stack string) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from releases where stack = ?", stack)
		return err
	})
}

// ReserveGeneration implements [appliance.Store].
func (d *DB) ReserveGeneration(ctx context.Context, stack, digest string, floor int64) (n int64, err error) {
	err = d.change(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "select number from generations where stack = ? and digest = ? and state = 'reserved'", stack, digest).Scan(&n)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = tx.QueryRowContext(ctx, "select max(?, coalesce(max(number), 0)) + 1 from generations where stack = ?", floor, stack).Scan(&n)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "insert into generations (stack, number, digest, state) values (?, ?, ?, 'reserved')", stack, n, digest)
		return err
	})
	return n, err
}

// NextRoutesVersion implements [appliance.Store].
func (d *DB) NextRoutesVersion(ctx context.Context, atLeast uint64) (n uint64, err error) {
	least := int64(min(atLeast, math.MaxInt64))
	err = d.change(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `insert into counters (name, value) values ('routes', max(1, ?))
			on conflict (name) do update set value = max(value + 1, ?) returning value`, least, least).Scan(&n)
	})
	return n, err
}

// change runs do in one transaction that is on the disk when change returns nil.
func (d *DB) change(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return unusable(d.path, err)
	}
	if err := do(tx); err != nil {
		return errors.Join(unusable(d.path, err), tx.Rollback())
	}
	return unusable(d.path, tx.Commit())
}

type scanner interface{ Scan(...any) error }

func scanRelease(s scanner) (r appliance.Release, err error) {
	var at int64
	err = s.Scan(&r.Stack, &r.Digest, &r.Version, &r.Generation, &at, &r.Stopped, &r.Settings)
	r.Committed = time.UnixMilli(at).UTC()
	return r, err
}

// collect reads all rows.
func collect[T any](path string, rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, unusable(path, err)
	}
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, errors.Join(unusable(path, err), rows.Close())
		}
		all = append(all, one)
	}
	return all, unusable(path, errors.Join(rows.Err(), rows.Close()))
}
