// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"rochdale/appliance"
)

// KeepRun implements [appliance.Store].
func (d *DB) KeepRun(ctx context.Context, r appliance.BackupRun) error {
	if r.ID == "" || r.Repository == "" || r.Kind == "" {
		return fmt.Errorf("keep an incomplete run: %+v", r)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a run: %w", err)
	}
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "insert into backup_runs (id, repository, kind, body) values (?, ?, ?, ?) on conflict (id) do update set body = excluded.body",
			r.ID, r.Repository, string(r.Kind), string(body))
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `delete from backup_runs where repository = ? and kind = ? and id not in
			(select id from backup_runs where repository = ? and kind = ? order by rowid desc limit ?) and id not in
			(select id from backup_runs where repository = ? and kind = ? and json_extract(body, '$.ok') order by rowid desc limit 1)`,
			r.Repository, string(r.Kind), r.Repository, string(r.Kind), appliance.KeptRuns, r.Repository, string(r.Kind))
		return err
	})
}

// Runs implements [appliance.Reader].
func (d *DB) Runs(ctx context.Context, repository string, kind appliance.BackupKind, limit int) ([]appliance.BackupRun, error) {
	rows, err := d.sql.QueryContext(ctx, `select body from backup_runs where (repository = ? or ? = '') and (kind = ? or ? = '')
		order by rowid desc limit ?`, repository, repository, string(kind), string(kind), limit)
	return collect(d.path, rows, err, func(s scanner) (r appliance.BackupRun, err error) {
		var body string
		if err := s.Scan(&body); err != nil {
			return r, err
		}
		return r, json.Unmarshal([]byte(body), &r)
	})
}

// KeepRepositories implements [appliance.Store].
func (d *DB) KeepRepositories(ctx context.Context, all []appliance.KnownRepository) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from repositories")
		for _, r := range all {
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "insert into repositories (name, url, since) values (?, ?, ?)", r.Name, r.URL, r.Since.UnixMilli())
		}
		return err
	})
}

// KnownRepositories implements [appliance.Store].
func (d *DB) KnownRepositories(ctx context.Context) ([]appliance.KnownRepository, error) {
	rows, err := d.sql.QueryContext(ctx, "select name, url, since from repositories order by name")
	return collect(d.path, rows, err, func(s scanner) (r appliance.KnownRepository, err error) {
		var since int64
		err = s.Scan(&r.Name, &r.URL, &since)
		r.Since = time.UnixMilli(since).UTC()
		return r, err
	})
}

// CopyTo implements [appliance.Store]. SQLite flushes nothing of such a copy, so
// that is done here.
func (d *DB) CopyTo(ctx context.Context, path string) (err error) {
	if _, err := d.sql.ExecContext(ctx, "vacuum into ?", path); err != nil {
		return unusable(d.path, fmt.Errorf("copy it to %s: %w", path, err))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return errors.Join(flush(path), flush(filepath.Dir(path)))
}

func flush(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
