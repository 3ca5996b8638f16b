// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"time"
)

// Store is where everything is kept. Write runs fn in one transaction that sees
// no other writer and commits all or nothing, durably; Read runs it on one
// consistent snapshot and must not write.
type Store interface {
	Write(ctx context.Context, fn func(Tx) error) error
	Read(ctx context.Context, fn func(Tx) error) error
	Ping(ctx context.Context) error
}

// Tx is one transaction. Getters return ErrMissing when there's no such row.
type Tx interface {
	People
	Doors
	Shelves
	Orders
	Fleet
	Books
	Log
	Rules
}

// People keeps members and their roles.
type People interface {
	AddMember(ctx context.Context, m Member) error
	Member(ctx context.Context, id string) (Member, error)
	MemberByEmail(ctx context.Context, email string) (Member, error)
	// Members lists those whose name or e-mail contains match, newest first.
	Members(ctx context.Context, match string, limit int) ([]Member, error)
	SetPassword(ctx context.Context, memberID, hash string) error
	AddGrant(ctx context.Context, g Grant) error
	EndGrant(ctx context.Context, memberID string, role Role, by string, at time.Time) error
	CountRole(ctx context.Context, role Role) (int64, error)
}

// Doors keeps the ways in: sessions and links.
type Doors interface {
	AddSession(ctx context.Context, s Session) error
	Session(ctx context.Context, tokenHash string) (Session, error)
	EndSession(ctx context.Context, tokenHash string) error
	// EndSessions ends all of a member's.
	EndSessions(ctx context.Context, memberID string) error
	// ReplaceLink adds the link and ends every unused one for the same role or member.
	ReplaceLink(ctx context.Context, l Link) error
	Link(ctx context.Context, tokenHash string) (Link, error)
	// UseLink marks an unused link as used, or returns ErrStale.
	UseLink(ctx context.Context, tokenHash string, at time.Time) error
	// Forget drops what expired: sessions and links.
	Forget(ctx context.Context, now time.Time) error
}

// Shelves keeps providers and what they offer.
type Shelves interface {
	AddProvider(ctx context.Context, p Provider) error
	Provider(ctx context.Context, id string) (Provider, error)
	// Providers lists an owner's, or everybody's when ownerID is "".
	Providers(ctx context.Context, ownerID string, limit int) ([]Provider, error)
	SetOpening(ctx context.Context, id string, o Opening) error
	AddOffering(ctx context.Context, o Offering) error
	Offerings(ctx context.Context, providerID string) ([]Offering, error)
	SetOffering(ctx context.Context, o Offering) error
}

// Orders keeps requests, quotes, jobs, their stops and proofs.
type Orders interface {
	// AddQuote adds the quote with its request and lines.
	AddQuote(ctx context.Context, q Quote) error
	Quote(ctx context.Context, id string) (Quote, error)
	AddJob(ctx context.Context, j Job, stops []Stop) error
	Job(ctx context.Context, id string) (Job, error)
	JobByQuote(ctx context.Context, quoteID string) (Job, error)
	Jobs(ctx context.Context, f JobFilter) ([]Job, error)
	// MoveJob writes state, worker and time, if the job is still in from; else ErrStale.
	MoveJob(ctx context.Context, j Job, from State) error
	// SetPIN changes a job's PIN.
	SetPIN(ctx context.Context, jobID, pin string) error
	Stops(ctx context.Context, jobID string) ([]Stop, error)
	FinishStop(ctx context.Context, id string, at time.Time) error
	AddProof(ctx context.Context, p Proof) error
}

// JobFilter selects jobs; empty fields select all. Newest first.
type JobFilter struct {
	CustomerID string
	ProviderID string
	WorkerID   string
	States     []State
	Limit      int
}

// Fleet keeps who is available and what they were offered.
type Fleet interface {
	SetAvailability(ctx context.Context, a Availability) error
	Availability(ctx context.Context, memberID string) (Availability, error)
	// Candidates lists online couriers without an open offer or a running job.
	Candidates(ctx context.Context) ([]Availability, error)
	AddOffer(ctx context.Context, o Offer) error
	Offer(ctx context.Context, id string) (Offer, error)
	OffersOf(ctx context.Context, jobID string) ([]Offer, error)
	OpenOffer(ctx context.Context, workerID string) (Offer, error)
	DueOffers(ctx context.Context, now time.Time, limit int) ([]Offer, error)
	// DecideOffer ends an open offer, or returns ErrStale.
	DecideOffer(ctx context.Context, id string, s OfferState, at time.Time) error
	// Unoffered lists accepted jobs that nobody is being asked about, oldest first.
	Unoffered(ctx context.Context, limit int) ([]Job, error)
}

// Books keeps the ledger. It has no way to change or remove anything.
type Books interface {
	// Post adds a transaction, its accounts as needed.
	Post(ctx context.Context, t Transaction) error
	TransactionByKey(ctx context.Context, key string) (Transaction, error)
	Transaction(ctx context.Context, id string) (Transaction, error)
	// Transactions lists newest first; an ownerID limits it to those that touch
	// the owner's accounts.
	Transactions(ctx context.Context, ownerID string, limit int) ([]Transaction, error)
	// Balances sums by account kind and unit, for one owner or ("") for all.
	Balances(ctx context.Context, ownerID string) ([]Balance, error)
	// Holdings lists who has a balance other than zero on accounts of the kind.
	Holdings(ctx context.Context, kind AccountKind) ([]Holding, error)
	// Unbalanced counts transactions whose postings don't sum to zero in a unit.
	Unbalanced(ctx context.Context) (int64, error)
}

// Log keeps the events. It has no way to change or remove anything.
type Log interface {
	// Append seals e after the last event and adds it; it returns what was added.
	Append(ctx context.Context, e Event) (Event, error)
	Events(ctx context.Context, after int64, limit int) ([]Event, error)
	// EventsOf lists the newest about a subject, oldest first.
	EventsOf(ctx context.Context, subject string, limit int) ([]Event, error)
	// LastEvent is the newest of one of the kinds about a subject.
	LastEvent(ctx context.Context, subject string, kinds ...string) (Event, error)
	// CountEvents counts those of a kind about a subject after the one numbered so.
	CountEvents(ctx context.Context, subject, kind string, after int64) (int64, error)
	// Head is the number and hash of the last event.
	Head(ctx context.Context) (int64, string, error)
}

// Rules keeps the versions of the settings.
type Rules interface {
	// Settings returns the newest version and its values; 0 and none at first.
	Settings(ctx context.Context) (int64, map[string]string, error)
	AddSettings(ctx context.Context, v SettingsVersion) error
	SettingsVersions(ctx context.Context, limit int) ([]SettingsVersion, error)
}
