// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// sale is what a delivered order does to the books: the customer owes the total,
// and shop, courier, co-op and fund are owed their shares.
func sale(j Job, q Quote, actor string, at time.Time) Transaction {
	s := q.Shares
	return Transaction{
		ID: newID(), Kind: "sale", Key: saleKey(j.ID), JobID: j.ID, ActorID: actor, At: at,
		Postings: entries(q.Unit,
			entry{CustomerReceivable, j.CustomerID, q.Price.Total()},
			entry{ProviderPayable, j.ProviderID, -s.Provider},
			entry{WorkerPayable, j.WorkerID, -s.Worker},
			entry{CoopRevenue, "", -s.Coop},
			entry{HardshipFund, "", -s.Fund}),
	}
}

// saleKey names the one sale of a job.
func saleKey(jobID string) string { return "sale/" + jobID }

// cash is what collecting at the door does: the customer owes nothing any more,
// and the courier holds the co-op's cash.
func cash(j Job, q Quote, actor string, at time.Time) Transaction {
	return Transaction{
		ID: newID(), Kind: "cash", Key: "cash/" + j.ID, JobID: j.ID, ActorID: actor, At: at,
		Postings: entries(q.Unit,
			entry{WorkerCash, j.WorkerID, q.Price.Total()},
			entry{CustomerReceivable, j.CustomerID, -q.Price.Total()}),
	}
}

type entry struct {
	kind   AccountKind
	owner  string
	amount int64
}

// entries leaves out what is zero.
func entries(unit string, list ...entry) (out []Posting) {
	for _, e := range list {
		if e.amount != 0 {
			out = append(out, Posting{Account{Kind: e.kind, OwnerID: e.owner, Unit: unit}, e.amount})
		}
	}
	return out
}

// balanced checks that the postings sum to zero in every unit.
func balanced(list []Posting) error {
	sums := map[string]int64{}
	for _, p := range list {
		sums[p.Account.Unit] += p.Amount
	}
	for unit, sum := range sums {
		if sum != 0 {
			return fmt.Errorf("coop: a transaction is off balance by %d %s", sum, unit)
		}
	}
	return nil
}

// post writes a transaction and its event. A key that is in the books already
// changes nothing: the same event was reported again.
func post(ctx context.Context, tx Tx, t Transaction) error {
	if err := balanced(t.Postings); err != nil {
		return err
	}
	if len(t.Postings) == 0 { // a free order moves no money
		return nil
	}
	switch _, err := tx.TransactionByKey(ctx, t.Key); {
	case err == nil:
		return nil
	case !errors.Is(err, ErrMissing):
		return err
	}
	if err := tx.Post(ctx, t); err != nil {
		return err
	}
	data := facts{"key": t.Key, "kind": t.Kind, "reverses": t.Reverses}
	for i, p := range t.Postings {
		data[strconv.Itoa(i)] = fmt.Sprintf("%s %s %d %s", p.Account.Kind, p.Account.OwnerID, p.Amount, p.Account.Unit)
	}
	return record(ctx, tx, note{"transaction/" + t.ID, "ledger.post", t.ActorID, t.At}, data)
}

// Ledger is the books as the treasurer sees them.
type Ledger struct {
	Balances     []Balance
	Sums         map[string]int64 // by unit; zero when all is well
	Unbalanced   int64            // transactions that don't sum to zero; counted for the treasurer only
	Transactions []Transaction    // newest first
	Names        map[string]string
	Holders      []Holding // couriers with the co-op's cash; for the treasurer only
}

// Ledger returns balances and the newest transactions.
func (a *App) Ledger(ctx context.Context, who Member) (l Ledger, err error) {
	if err := need(who, RoleAdmin, RoleTreasurer); err != nil {
		return l, err
	}
	if l, err = a.books(ctx, "", 100); err != nil {
		return l, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		if l.Unbalanced, err = tx.Unbalanced(ctx); err != nil {
			return err
		}
		if l.Holders, err = tx.Holdings(ctx, WorkerCash); err != nil {
			return err
		}
		for i := range l.Holders {
			m, err := tx.Member(ctx, l.Holders[i].OwnerID)
			if err != nil {
				return err
			}
			l.Holders[i].Name = m.Name
		}
		return nil
	})
	return l, err
}

// Earnings returns a courier's own accounts.
func (a *App) Earnings(ctx context.Context, who Member) (Ledger, error) {
	if err := need(who, RoleCourier); err != nil {
		return Ledger{}, err
	}
	return a.books(ctx, who.ID, 100)
}

// Statement returns a shop's accounts to its owner.
func (a *App) Statement(ctx context.Context, who Member, shopID string) (Provider, Ledger, error) {
	s, err := a.Shop(ctx, shopID)
	if err != nil {
		return Provider{}, Ledger{}, err
	}
	if who.ID == "" || s.OwnerID != who.ID {
		return Provider{}, Ledger{}, problem(NotFound, "no_shop")
	}
	l, err := a.books(ctx, shopID, 100)
	return s.Provider, l, err
}

func (a *App) books(ctx context.Context, owner string, limit int) (l Ledger, err error) {
	l.Sums, l.Names = map[string]int64{}, map[string]string{}
	err = a.store.Read(ctx, func(tx Tx) error {
		if l.Balances, err = tx.Balances(ctx, owner); err != nil {
			return err
		}
		for _, b := range l.Balances {
			l.Sums[b.Unit] += b.Amount
		}
		if l.Transactions, err = tx.Transactions(ctx, owner, limit); err != nil {
			return err
		}
		return nameOwners(ctx, tx, l)
	})
	return l, err
}

func nameOwners(ctx context.Context, tx Tx, l Ledger) error {
	for _, t := range l.Transactions {
		for _, p := range t.Postings {
			id := p.Account.OwnerID
			if _, known := l.Names[id]; known || id == "" {
				continue
			}
			name, err := ownerName(ctx, tx, p.Account)
			if err != nil {
				return err
			}
			l.Names[id] = name
		}
	}
	return nil
}

func ownerName(ctx context.Context, tx Tx, acc Account) (string, error) {
	if acc.Kind == ProviderPayable {
		p, err := tx.Provider(ctx, acc.OwnerID)
		return p.Name, err
	}
	m, err := tx.Member(ctx, acc.OwnerID)
	return m.Name, err
}

// TransactionOf returns one transaction to the treasurer.
func (a *App) TransactionOf(ctx context.Context, who Member, id string) (t Transaction, err error) {
	if err := need(who, RoleAdmin, RoleTreasurer); err != nil {
		return t, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		t, err = tx.Transaction(ctx, id)
		return missingAs(err, "no_transaction")
	})
	return t, err
}

// Reverse undoes a transaction by posting its opposite, once. A reversal can't
// itself be reversed.
func (a *App) Reverse(ctx context.Context, who Member, id, why string) error {
	if err := need(who, RoleTreasurer, RoleAdmin); err != nil {
		return err
	}
	why, err := text(why, "reason", 3, 300)
	if err != nil {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		t, err := tx.Transaction(ctx, id)
		if err != nil {
			return missingAs(err, "no_transaction")
		}
		if t.Reverses != "" {
			return problem(Conflict, "is_reversal")
		}
		return post(ctx, tx, reversal(t, why, who.ID, time.Now()))
	})
}

// reversal is the opposite of t. Its key makes sure that there's only one.
func reversal(t Transaction, why, actor string, at time.Time) Transaction {
	r := Transaction{ID: newID(), Kind: "reversal", Key: "reversal/" + t.ID, JobID: t.JobID, Reverses: t.ID, Memo: why, ActorID: actor, At: at}
	for _, p := range t.Postings {
		r.Postings = append(r.Postings, Posting{p.Account, -p.Amount})
	}
	return r
}

// HandIn records cash that a courier handed to the co-op, counted by the
// treasurer. key makes one form one transaction, however often it's sent.
func (a *App) HandIn(ctx context.Context, who Member, courierID, amount, key string) error {
	if err := need(who, RoleTreasurer, RoleAdmin); err != nil {
		return err
	}
	n, ok := ParseMoney(amount, a.cfg.Currency)
	if !ok || n == 0 || len(key) < 10 || len(key) > 64 {
		return invalid("price", "amount")
	}
	return a.store.Write(ctx, func(tx Tx) error {
		if _, err := tx.Member(ctx, courierID); err != nil {
			return missingAs(err, "no_member")
		}
		held, err := balanceOf(ctx, tx, courierID, WorkerCash, a.cfg.Currency)
		if err != nil {
			return err
		}
		if _, err := tx.TransactionByKey(ctx, "hand-in/"+key); errors.Is(err, ErrMissing) && n > held {
			return invalid("more_than_held", "amount")
		}
		return post(ctx, tx, Transaction{
			ID: newID(), Kind: "hand_in", Key: "hand-in/" + key, ActorID: who.ID, At: time.Now(),
			Postings: entries(a.cfg.Currency, entry{CoopCash, "", n}, entry{WorkerCash, courierID, -n}),
		})
	})
}

func balanceOf(ctx context.Context, tx Tx, owner string, kind AccountKind, unit string) (int64, error) {
	list, err := tx.Balances(ctx, owner)
	for _, b := range list {
		if b.Kind == kind && b.Unit == unit {
			return b.Amount, err
		}
	}
	return 0, err
}

// NewKey returns an idempotency key for a form.
func NewKey() string { return newID() }
