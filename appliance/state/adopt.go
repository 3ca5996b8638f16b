// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"rochdale/appliance"
)

// Adopt takes over what the memory of a lost box says that is still true here: the
// history of its stacks, which numbers its generations had, and how its runs on
// repositories elsewhere ended. What runs, what was asked for and when tasks ran is
// this machine's own. It may be run again.
func (d *DB) Adopt(ctx context.Context, path string) (err error) {
	old, err := OpenReadOnly(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.CloseFile()) }()
	return d.change(ctx, func(tx *sql.Tx) error {
		for _, t := range []struct {
			read, write string
			columns     int
			args        []any
		}{
			{"select id, stack, began, body from changes order by rowid", "insert or ignore into changes (id, stack, began, body) values (?, ?, ?, ?)", 4, nil},
			{"select id, repository, kind, body from backup_runs where repository <> ? order by rowid",
				"insert or ignore into backup_runs (id, repository, kind, body) values (?, ?, ?, ?)", 4, []any{appliance.BoxRepository}},
			{"select stack, number, digest, 'used' from generations", "insert or ignore into generations (stack, number, digest, state) values (?, ?, ?, ?)", 4, nil},
		} {
			rows, err := old.sql.QueryContext(ctx, t.read, t.args...)
			if err != nil {
				return fmt.Errorf("read the memory of the lost box: %w", err)
			}
			if err := copyRows(ctx, tx, rows, t.write, t.columns); err != nil {
				return err
			}
		}
		return nil
	})
}

func copyRows(ctx context.Context, tx *sql.Tx, rows *sql.Rows, write string, columns int) (err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		values, into := make([]any, columns), make([]any, columns)
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, write, values...); err != nil {
			return err
		}
	}
	return rows.Err()
}
