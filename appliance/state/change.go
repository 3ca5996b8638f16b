// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"rochdale/appliance"
)

// KeepChange implements [appliance.Store].
func (d *DB) KeepChange(ctx context.Context, c appliance.Change) error {
	if c.ID == "" || c.Stack == "" || c.Began.IsZero() {
		return fmt.Errorf("keep an incomplete change: %+v", c)
	}
	c.Log = cut(c.Log)
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode a change: %w", err)
	}
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "insert into changes (id, stack, began, body) values (?, ?, ?, ?) on conflict (id) do update set body = excluded.body",
			c.ID, c.Stack, c.Began.UnixMilli(), string(body))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `delete from changes where stack = ?
			and id not in (select id from changes where stack = ? order by rowid desc limit ?)`, c.Stack, c.Stack, appliance.KeptChanges)
		return err
	})
}

// Changes implements [appliance.Reader].
func (d *DB) Changes(ctx context.Context, stack string, limit int) ([]appliance.Change, error) {
	rows, err := d.sql.QueryContext(ctx, "select body from changes where stack = ? or ? = '' order by rowid desc limit ?", stack, stack, limit)
	return collect(d.path, rows, err, scanChange)
}

// Change implements [appliance.Reader].
func (d *DB) Change(ctx context.Context, id string) (appliance.Change, bool, error) {
	c, err := scanChange(d.sql.QueryRowContext(ctx, "select body from changes where id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return appliance.Change{}, false, nil
	}
	return c, err == nil, unusable(d.path, err)
}

func scanChange(s scanner) (c appliance.Change, err error) {
	var body string
	if err := s.Scan(&body); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(body), &c)
}
