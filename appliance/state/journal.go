// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"rochdale/appliance"
	"rochdale/appliance/step"
)

// Bounds of the journal.
const (
	KeptJobs  = 500
	maxEvents = 5000
	maxText   = 4 << 10 // bytes of a note or an error
)

// Open implements [step.Journal].
func (d *DB) Open(ctx context.Context, plan, key string, at time.Time) (job string, resumed bool, err error) {
	err = d.change(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, "select id from jobs where plan = ? and key = ? and closed is null", plan, key).Scan(&job)
		if !errors.Is(err, sql.ErrNoRows) {
			resumed = err == nil
			return err
		}
		id, err := ulid.New(ulid.Timestamp(at), rand.Reader)
		if err != nil {
			return fmt.Errorf("make a job id: %w", err)
		}
		job = id.String()
		_, err = tx.ExecContext(ctx, "insert into jobs (id, plan, key, opened) values (?, ?, ?, ?)", job, plan, key, at.UnixMilli())
		return errors.Join(err, prune(ctx, tx))
	})
	return job, resumed, err
}

// prune forgets the oldest finished jobs.
func prune(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `delete from jobs where closed is not null
		and id not in (select id from jobs order by opened desc, id desc limit ?)`, KeptJobs)
	return err
}

// Record implements [step.Journal]. Long texts are cut, and notes beyond some
// thousands in one job are dropped: a journal must not fill the disk.
func (d *DB) Record(ctx context.Context, e step.Event) error {
	e.Note, e.Error = cut(e.Note), cut(e.Error)
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	return d.change(ctx, func(tx *sql.Tx) error {
		if e.Kind == step.Noted {
			full, err := isFull(ctx, tx, e.Job)
			if err != nil || full {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "insert into events (job, event) values (?, ?) on conflict do nothing", e.Job, string(data))
		return err
	})
}

func isFull(ctx context.Context, tx *sql.Tx, job string) (bool, error) {
	var n int
	err := tx.QueryRowContext(ctx, "select count(*) from events where job = ?", job).Scan(&n)
	return n >= maxEvents, err
}

// cut keeps the end, where programs say what went wrong.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return "..." + s[len(s)-maxText:]
}

// Close ends a job; it implements [step.Journal]. [DB.CloseFile] closes the file.
func (d *DB) Close(ctx context.Context, job string, outcome step.Outcome, at time.Time) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "update jobs set outcome = ?, closed = ? where id = ? and closed is null", string(outcome), at.UnixMilli(), job)
		return err
	})
}

// Jobs implements [appliance.Reader].
func (d *DB) Jobs(ctx context.Context, limit int) ([]appliance.Job, error) {
	rows, err := d.sql.QueryContext(ctx, "select id, plan, key, opened, closed, outcome from jobs order by opened desc, id desc limit ?", limit)
	return collect(d.path, rows, err, scanJob)
}

func scanJob(s scanner) (j appliance.Job, err error) {
	var opened int64
	var closed sql.NullInt64
	var outcome sql.NullString
	err = s.Scan(&j.ID, &j.Plan, &j.Key, &opened, &closed, &outcome)
	j.Opened, j.Outcome = time.UnixMilli(opened).UTC(), step.Outcome(outcome.String)
	if closed.Valid {
		j.Closed = time.UnixMilli(closed.Int64).UTC()
	}
	return j, err
}

// Events implements [appliance.Reader].
func (d *DB) Events(ctx context.Context, job string) ([]step.Event, error) {
	rows, err := d.sql.QueryContext(ctx, "select event from events where job = ? order by number", job)
	return collect(d.path, rows, err, func(s scanner) (e step.Event, err error) {
		var text string
		if err := s.Scan(&text); err != nil {
			return e, err
		}
		return e, json.Unmarshal([]byte(text), &e)
	})
}

// KeepRequest implements [appliance.Store].
func (d *DB) KeepRequest(ctx context.Context, r appliance.Request) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "insert or replace into requests (plan, key, body) values (?, ?, ?)", r.Plan, r.Key, string(r.Body))
		return err
	})
}

// DropRequest implements [appliance.Store].
func (d *DB) DropRequest(ctx context.Context, plan, key string) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "delete from requests where plan = ? and key = ?", plan, key)
		return err
	})
}

// Requests implements [appliance.Reader].
func (d *DB) Requests(ctx context.Context) ([]appliance.Request, error) {
	rows, err := d.sql.QueryContext(ctx, "select plan, key, body from requests order by plan, key")
	return collect(d.path, rows, err, func(s scanner) (r appliance.Request, err error) {
		var body string
		err = s.Scan(&r.Plan, &r.Key, &body)
		r.Body = json.RawMessage(body)
		return r, err
	})
}

// Ran implements [appliance.Store].
func (d *DB) Ran(ctx context.Context, task string, at time.Time) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "insert or replace into runs (task, at) values (?, ?)", task, at.UnixMilli())
		return err
	})
}

// LastRun implements [appliance.Reader].
func (d *DB) LastRun(ctx context.Context, task string) (time.Time, bool, error) {
	var at int64
	err := d.sql.QueryRowContext(ctx, "select at from runs where task = ?", task).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, false, nil
	}
	return time.UnixMilli(at).UTC(), err == nil, unusable(d.path, err)
}
