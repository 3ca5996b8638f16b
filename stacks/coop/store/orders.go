// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"rochdale/stacks/coop"
)

func (t *tx) AddQuote(ctx context.Context, q coop.Quote) error {
	r := q.Request
	err := t.exec(ctx, "insert into requests (id, customer_id, provider_id, address, note, created_at) values (?, ?, ?, ?, ?, ?)",
		r.ID, r.CustomerID, r.ProviderID, r.Address, r.Note, coop.Millis(r.CreatedAt))
	if err != nil {
		return err
	}
	for _, l := range r.Lines {
		err := t.exec(ctx, "insert into request_lines (id, request_id, offering_id, name, price, quantity) values (?, ?, ?, ?, ?, ?)",
			l.ID, r.ID, l.OfferingID, l.Name, l.Price, l.Quantity)
		if err != nil {
			return err
		}
	}
	return t.exec(ctx, `insert into quotes (id, request_id, settings_version, unit, goods, delivery, tip,
			provider_share, worker_share, commission, fund, created_at, expires_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		q.ID, r.ID, q.SettingsVersion, q.Unit, q.Price.Goods, q.Price.Delivery, q.Price.Tip,
		q.Shares.Provider, q.Shares.Worker, q.Shares.Coop, q.Shares.Fund, coop.Millis(q.CreatedAt), coop.Millis(q.ExpiresAt))
}

func readQuote(scan scanner) (q coop.Quote, err error) {
	var asked, from, to int64
	r, p, s := &q.Request, &q.Price, &q.Shares
	err = scan(&q.ID, &q.SettingsVersion, &q.Unit, &p.Goods, &p.Delivery, &p.Tip, &s.Provider, &s.Worker, &s.Coop, &s.Fund, &from, &to,
		&r.ID, &r.CustomerID, &r.ProviderID, &r.Address, &r.Note, &asked)
	q.CreatedAt, q.ExpiresAt, r.CreatedAt = coop.FromMillis(from), coop.FromMillis(to), coop.FromMillis(asked)
	return q, err
}

func (t *tx) Quote(ctx context.Context, id string) (coop.Quote, error) {
	q, err := one(ctx, t, readQuote, `select q.id, q.settings_version, q.unit, q.goods, q.delivery, q.tip,
			q.provider_share, q.worker_share, q.commission, q.fund, q.created_at, q.expires_at,
			r.id, r.customer_id, r.provider_id, r.address, r.note, r.created_at
		from quotes q join requests r on r.id = q.request_id where q.id = ?`, id)
	if err != nil {
		return q, err
	}
	q.Request.Lines, err = many(ctx, t, func(scan scanner) (l coop.Line, err error) {
		err = scan(&l.ID, &l.OfferingID, &l.Name, &l.Price, &l.Quantity)
		return l, err
	}, "select id, offering_id, name, price, quantity from request_lines where request_id = ? order by id", q.Request.ID)
	return q, err
}

func (t *tx) AddJob(ctx context.Context, j coop.Job, stops []coop.Stop) error {
	err := t.exec(ctx, `insert into jobs (id, flow, quote_id, customer_id, provider_id, worker_id, state, payment, pin, created_at, updated_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.ID, j.Flow, j.QuoteID, j.CustomerID, j.ProviderID, nullable(j.WorkerID), string(j.State), j.Payment, j.PIN,
		coop.Millis(j.CreatedAt), coop.Millis(j.UpdatedAt))
	if err != nil {
		return err
	}
	for _, s := range stops {
		err := t.exec(ctx, "insert into stops (id, job_id, place, kind, state, address, note, done_at) values (?, ?, ?, ?, ?, ?, ?, ?)",
			s.ID, s.JobID, s.Place, string(s.Kind), string(s.State), s.Address, s.Note, coop.Millis(s.DoneAt))
		if err != nil {
			return err
		}
	}
	return nil
}

func nullable(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func (t *tx) SetPIN(ctx context.Context, jobID, pin string) error {
	return t.change(ctx, coop.ErrMissing, "update jobs set pin = ? where id = ?", pin, jobID)
}

const jobCols = "select id, flow, quote_id, customer_id, provider_id, worker_id, state, payment, pin, created_at, updated_at from jobs "

func readJob(scan scanner) (j coop.Job, err error) {
	var from, to int64
	var worker sql.NullString
	err = scan(&j.ID, &j.Flow, &j.QuoteID, &j.CustomerID, &j.ProviderID, &worker, &j.State, &j.Payment, &j.PIN, &from, &to)
	j.WorkerID, j.CreatedAt, j.UpdatedAt = worker.String, coop.FromMillis(from), coop.FromMillis(to)
	return j, err
}

func (t *tx) Job(ctx context.Context, id string) (coop.Job, error) {
	return one(ctx, t, readJob, jobCols+"where id = ?", id)
}

func (t *tx) JobByQuote(ctx context.Context, quoteID string) (coop.Job, error) {
	return one(ctx, t, readJob, jobCols+"where quote_id = ?", quoteID)
}

func (t *tx) Jobs(ctx context.Context, f coop.JobFilter) ([]coop.Job, error) {
	where, args := []string{"1 = 1"}, []any{}
	for col, id := range map[string]string{"customer_id": f.CustomerID, "provider_id": f.ProviderID, "worker_id": f.WorkerID} {
		if id != "" {
			where, args = append(where, col+" = ?"), append(args, id)
		}
	}
	if len(f.States) > 0 {
		where = append(where, "state in (?"+strings.Repeat(", ?", len(f.States)-1)+")")
		for _, s := range f.States {
			args = append(args, string(s))
		}
	}
	return many(ctx, t, readJob, jobCols+"where "+strings.Join(where, " and ")+" order by id desc limit ?", append(args, f.Limit)...)
}

func (t *tx) MoveJob(ctx context.Context, j coop.Job, from coop.State) error {
	return t.change(ctx, coop.ErrStale, "update jobs set state = ?, worker_id = ?, updated_at = ? where id = ? and state = ?",
		string(j.State), nullable(j.WorkerID), coop.Millis(j.UpdatedAt), j.ID, string(from))
}

func (t *tx) Stops(ctx context.Context, jobID string) ([]coop.Stop, error) {
	return many(ctx, t, func(scan scanner) (s coop.Stop, err error) {
		var at int64
		err = scan(&s.ID, &s.JobID, &s.Place, &s.Kind, &s.State, &s.Address, &s.Note, &at)
		s.DoneAt = coop.FromMillis(at)
		return s, err
	}, "select id, job_id, place, kind, state, address, note, done_at from stops where job_id = ? order by place", jobID)
}

func (t *tx) FinishStop(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, coop.ErrStale, "update stops set state = ?, done_at = ? where id = ? and state = ?",
		string(coop.StopDone), coop.Millis(at), id, string(coop.StopTodo))
}

func (t *tx) AddProof(ctx context.Context, p coop.Proof) error {
	return t.exec(ctx, "insert into proofs (id, stop_id, event_id, kind, value, at) values (?, ?, ?, ?, ?, ?)",
		p.ID, p.StopID, p.EventID, p.Kind, p.Value, coop.Millis(p.At))
}
