// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"encoding/json"
	"time"

	"rochdale/stacks/coop"
)

func (t *tx) SetAvailability(ctx context.Context, a coop.Availability) error {
	return t.exec(ctx, `insert into availability (member_id, online, idle_since) values (?, ?, ?)
		on conflict (member_id) do update set online = excluded.online, idle_since = excluded.idle_since`,
		a.MemberID, flag(a.Online), coop.Millis(a.IdleSince))
}

func readAvailability(scan scanner) (a coop.Availability, err error) {
	var online, since int64
	err = scan(&a.MemberID, &online, &since)
	a.Online, a.IdleSince = online == 1, coop.FromMillis(since)
	return a, err
}

func (t *tx) Availability(ctx context.Context, memberID string) (coop.Availability, error) {
	return one(ctx, t, readAvailability, "select member_id, online, idle_since from availability where member_id = ?", memberID)
}

func (t *tx) Candidates(ctx context.Context) ([]coop.Availability, error) {
	r := coop.Running()
	return many(ctx, t, readAvailability, `select a.member_id, a.online, a.idle_since from availability a
		join grants g on g.member_id = a.member_id and g.role = ? and g.revoked_at = 0
		where a.online = 1
			and not exists (select 1 from offers o where o.worker_id = a.member_id and o.state = ?)
			and not exists (select 1 from jobs j where j.worker_id = a.member_id and j.state in (?, ?, ?))
		order by a.idle_since, a.member_id`,
		string(coop.RoleCourier), string(coop.Offered), string(r[0]), string(r[1]), string(r[2]))
}

func (t *tx) AddOffer(ctx context.Context, o coop.Offer) error {
	reason, err := json.Marshal(o.Reason)
	if err != nil {
		return err
	}
	return t.exec(ctx, "insert into offers (id, job_id, worker_id, rule, reason, state, created_at, expires_at, decided_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		o.ID, o.JobID, o.WorkerID, o.Rule, string(reason), string(o.State), coop.Millis(o.CreatedAt), coop.Millis(o.ExpiresAt), coop.Millis(o.DecidedAt))
}

const offerCols = "select id, job_id, worker_id, rule, reason, state, created_at, expires_at, decided_at from offers "

func readOffer(scan scanner) (o coop.Offer, err error) {
	var made, ends, decided int64
	var reason string
	if err = scan(&o.ID, &o.JobID, &o.WorkerID, &o.Rule, &reason, &o.State, &made, &ends, &decided); err != nil {
		return o, err
	}
	o.CreatedAt, o.ExpiresAt, o.DecidedAt = coop.FromMillis(made), coop.FromMillis(ends), coop.FromMillis(decided)
	return o, json.Unmarshal([]byte(reason), &o.Reason)
}

func (t *tx) Offer(ctx context.Context, id string) (coop.Offer, error) {
	return one(ctx, t, readOffer, offerCols+"where id = ?", id)
}

func (t *tx) OffersOf(ctx context.Context, jobID string) ([]coop.Offer, error) {
	return many(ctx, t, readOffer, offerCols+"where job_id = ? order by created_at, id", jobID)
}

func (t *tx) OpenOffer(ctx context.Context, workerID string) (coop.Offer, error) {
	return one(ctx, t, readOffer, offerCols+"where worker_id = ? and state = ?", workerID, string(coop.Offered))
}

func (t *tx) DueOffers(ctx context.Context, now time.Time, limit int) ([]coop.Offer, error) {
	return many(ctx, t, readOffer, offerCols+"where state = ? and expires_at <= ? order by expires_at, id limit ?", string(coop.Offered), coop.Millis(now), limit)
}

func (t *tx) DecideOffer(ctx context.Context, id string, s coop.OfferState, at time.Time) error {
	return t.change(ctx, coop.ErrStale, "update offers set state = ?, decided_at = ? where id = ? and state = ?",
		string(s), coop.Millis(at), id, string(coop.Offered))
}

func (t *tx) Unoffered(ctx context.Context, limit int) ([]coop.Job, error) {
	return many(ctx, t, readJob, jobCols+`where state = ?
		and not exists (select 1 from offers o where o.job_id = jobs.id and o.state = ?) order by id limit ?`,
		string(coop.Accepted), string(coop.Offered), limit)
}
