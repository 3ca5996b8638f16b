// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"crypto/rand"

	"github.com/oklog/ulid/v2"

	"rochdale/stacks/coop"
)

func newID() string { return ulid.MustNew(ulid.Now(), rand.Reader).String() }

func (t *tx) Post(ctx context.Context, x coop.Transaction) error {
	err := t.exec(ctx, "insert into transactions (id, kind, key, job_id, reverses, memo, actor_id, at) values (?, ?, ?, ?, ?, ?, ?, ?)",
		x.ID, x.Kind, x.Key, x.JobID, x.Reverses, x.Memo, x.ActorID, coop.Millis(x.At))
	if err != nil {
		return err
	}
	for i, p := range x.Postings {
		id, err := t.account(ctx, p.Account)
		if err != nil {
			return err
		}
		err = t.exec(ctx, "insert into postings (id, transaction_id, place, account_id, unit, amount) values (?, ?, ?, ?, ?, ?)",
			newID(), x.ID, i+1, id, p.Account.Unit, p.Amount)
		if err != nil {
			return err
		}
	}
	return nil
}

// account returns the id of the account, which it makes if there's none yet.
func (t *tx) account(ctx context.Context, a coop.Account) (string, error) {
	err := t.exec(ctx, "insert into accounts (id, kind, owner_id, unit) values (?, ?, ?, ?) on conflict (kind, owner_id, unit) do nothing",
		newID(), string(a.Kind), a.OwnerID, a.Unit)
	if err != nil {
		return "", err
	}
	return one(ctx, t, func(scan scanner) (id string, err error) {
		err = scan(&id)
		return id, err
	}, "select id from accounts where kind = ? and owner_id = ? and unit = ?", string(a.Kind), a.OwnerID, a.Unit)
}

const transactionCols = "select t.id, t.kind, t.key, t.job_id, t.reverses, t.memo, t.actor_id, t.at from transactions t "

func readTransaction(scan scanner) (x coop.Transaction, err error) {
	var at int64
	err = scan(&x.ID, &x.Kind, &x.Key, &x.JobID, &x.Reverses, &x.Memo, &x.ActorID, &at)
	x.At = coop.FromMillis(at)
	return x, err
}

func (t *tx) TransactionByKey(ctx context.Context, key string) (coop.Transaction, error) {
	x, err := one(ctx, t, readTransaction, transactionCols+"where t.key = ?", key)
	return t.withPostings(ctx, x, err)
}

func (t *tx) Transaction(ctx context.Context, id string) (coop.Transaction, error) {
	x, err := one(ctx, t, readTransaction, transactionCols+"where t.id = ?", id)
	return t.withPostings(ctx, x, err)
}

func (t *tx) withPostings(ctx context.Context, x coop.Transaction, err error) (coop.Transaction, error) {
	if err != nil {
		return x, err
	}
	x.Postings, err = many(ctx, t, func(scan scanner) (p coop.Posting, err error) {
		a := &p.Account
		err = scan(&a.ID, &a.Kind, &a.OwnerID, &a.Unit, &p.Amount)
		return p, err
	}, `select a.id, a.kind, a.owner_id, a.unit, p.amount from postings p join accounts a on a.id = p.account_id
		where p.transaction_id = ? order by p.place`, x.ID)
	return x, err
}

func (t *tx) Transactions(ctx context.Context, ownerID string, limit int) ([]coop.Transaction, error) {
	list, err := many(ctx, t, readTransaction, transactionCols+`where ? = '' or exists (
			select 1 from postings p join accounts a on a.id = p.account_id where p.transaction_id = t.id and a.owner_id = ?)
		order by t.at desc, t.id desc limit ?`, ownerID, ownerID, limit)
	for i := range list {
		if list[i], err = t.withPostings(ctx, list[i], err); err != nil {
			return nil, err
		}
	}
	return list, err
}

func (t *tx) Balances(ctx context.Context, ownerID string) ([]coop.Balance, error) {
	return many(ctx, t, func(scan scanner) (b coop.Balance, err error) {
		err = scan(&b.Kind, &b.Unit, &b.Amount)
		return b, err
	}, `select a.kind, a.unit, cast(sum(p.amount) as bigint) from postings p join accounts a on a.id = p.account_id
		where ? = '' or a.owner_id = ? group by a.kind, a.unit order by a.kind, a.unit`, ownerID, ownerID)
}

func (t *tx) Holdings(ctx context.Context, kind coop.AccountKind) ([]coop.Holding, error) {
	return many(ctx, t, func(scan scanner) (h coop.Holding, err error) {
		err = scan(&h.OwnerID, &h.Unit, &h.Amount)
		return h, err
	}, `select a.owner_id, a.unit, cast(sum(p.amount) as bigint) from postings p join accounts a on a.id = p.account_id
		where a.kind = ? group by a.owner_id, a.unit having sum(p.amount) <> 0 order by a.owner_id, a.unit`, string(kind))
}

func (t *tx) Unbalanced(ctx context.Context) (int64, error) {
	return one(ctx, t, number, `select count(*) from (
		select transaction_id from postings group by transaction_id, unit having sum(amount) <> 0) as wrong`)
}
