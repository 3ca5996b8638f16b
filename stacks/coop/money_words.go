// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import "time"

// AccountKind is what an account holds.
type AccountKind string

// The chart of accounts. A positive balance is what the owner owes the co-op or
// what the co-op holds (debit); a negative one is what the co-op owes (credit).
const (
	CustomerReceivable AccountKind = "customer_receivable"
	ProviderPayable    AccountKind = "provider_payable"
	WorkerPayable      AccountKind = "worker_payable"
	WorkerCash         AccountKind = "worker_cash"
	CoopRevenue        AccountKind = "coop_revenue"
	HardshipFund       AccountKind = "hardship_fund"
	CoopCash           AccountKind = "coop_cash"
)

// AccountKinds lists the chart in the order in which pages show it.
func AccountKinds() []AccountKind {
	return []AccountKind{CustomerReceivable, WorkerCash, CoopCash, ProviderPayable, WorkerPayable, CoopRevenue, HardshipFund}
}

// Account is one line of the chart for one owner and unit.
type Account struct {
	ID      string
	Kind    AccountKind
	OwnerID string // member or provider; "" for the co-op's own
	Unit    string
}

// Transaction is a balanced set of postings. It is never changed; a mistake is
// undone by another transaction that reverses it.
type Transaction struct {
	ID       string
	Kind     string // "sale", "cash", "reversal"
	Key      string // idempotency key: one transaction for one event, however often it's reported
	JobID    string // "" when it isn't about a job
	Reverses string // id of the transaction it undoes, or ""
	Memo     string
	ActorID  string
	At       time.Time
	Postings []Posting
}

// Posting is one side of a transaction, in minor units: positive is debit.
type Posting struct {
	Account Account
	Amount  int64
}

// Balance is the sum of an account kind's postings in one unit.
type Balance struct {
	Kind   AccountKind
	Unit   string
	Amount int64
}

// Holding is one owner's balance on accounts of one kind.
type Holding struct {
	OwnerID string
	Name    string // filled by the use case
	Unit    string
	Amount  int64
}
