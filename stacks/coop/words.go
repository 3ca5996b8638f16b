// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"slices"
	"time"
)

// Role is something a member may be besides a customer, which everybody is.
type Role string

// The roles that are granted.
const (
	RoleAdmin     Role = "admin"     // people, settings
	RoleTreasurer Role = "treasurer" // the ledger
	RoleMerchant  Role = "merchant"  // owns shops
	RoleCourier   Role = "courier"   // carries orders
)

// Roles lists all roles in the order in which pages show them.
func Roles() []Role { return []Role{RoleCourier, RoleMerchant, RoleTreasurer, RoleAdmin} }

// Member is a person with an account.
type Member struct {
	ID        string
	Email     string // lower case
	Name      string
	Password  string // encoded hash
	Lang      string // "en", "es" or "fr"
	CreatedAt time.Time
	Roles     []Role
}

// Is reports whether the member has the role.
func (m Member) Is(r Role) bool { return slices.Contains(m.Roles, r) }

// Grant is a role given to a member; taking it away ends it, nothing deletes it.
type Grant struct {
	ID        string
	MemberID  string
	Role      Role
	GrantedBy string // "" for a link made on the machine itself
	GrantedAt time.Time
}

// Session is one signed-in browser. Only the token's SHA-256 is kept.
type Session struct {
	TokenHash string
	MemberID  string
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Link works once: it makes an account with a role, or lets the member whose it
// is set a new password. Only the token's SHA-256 is kept.
type Link struct {
	TokenHash string
	Role      Role   // of the account that it makes; "" for a member's
	MemberID  string // whose password it sets; "" for a role's
	CreatedAt time.Time
	ExpiresAt time.Time
	UsedAt    time.Time // zero: not used
}

// Opening says whether a provider takes orders now.
type Opening string

// The openings.
const (
	Open   Opening = "open"
	Paused Opening = "paused"
)

// Provider is an organisation that sells: a shop.
type Provider struct {
	ID        string
	Kind      string // "shop"
	OwnerID   string
	Name      string
	Address   string
	Opening   Opening
	CreatedAt time.Time
}

// Offering is something a provider sells: an item of the menu.
type Offering struct {
	ID         string
	ProviderID string
	Name       string
	About      string
	Unit       string // currency
	Price      int64  // minor units
	Available  bool
	CreatedAt  time.Time
}

// Request is what a customer asks for, before a price is agreed.
type Request struct {
	ID         string
	CustomerID string
	ProviderID string
	Address    string
	Note       string
	CreatedAt  time.Time
	Lines      []Line
}

// Line is one offering and how many of it, with name and price as they were.
type Line struct {
	ID         string
	OfferingID string
	Name       string
	Price      int64 // minor units, each
	Quantity   int64
}

// Amount is the line's price times its quantity.
func (l Line) Amount() int64 { return l.Price * l.Quantity }

// Quote is a price for a request under one version of the settings. It's shown
// before the customer agrees, and it's what the money is split by afterwards.
type Quote struct {
	ID              string
	Request         Request
	SettingsVersion int64
	Unit            string
	Price           Price
	Shares          Shares
	CreatedAt       time.Time
	ExpiresAt       time.Time
}

// Job is an agreed quote that is being carried out.
type Job struct {
	ID         string
	Flow       string
	QuoteID    string
	CustomerID string
	ProviderID string
	WorkerID   string // "" until a courier took it
	State      State
	Payment    string // "cash"
	PIN        string // for the customer's eyes only
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Number is a short name for the job that people can read out.
func (j Job) Number() string {
	if len(j.ID) < 5 {
		return j.ID
	}
	return j.ID[len(j.ID)-5:]
}

// StopKind is what happens at a stop.
type StopKind string

// The kinds of stop.
const (
	StopPickup  StopKind = "pickup"
	StopDropoff StopKind = "dropoff"
)

// StopState is where a stop stands.
type StopState string

// The states of a stop.
const (
	StopTodo StopState = "todo"
	StopDone StopState = "done"
)

// Stop is a place that a worker goes to for a job.
type Stop struct {
	ID      string
	JobID   string
	Place   int64 // order within the job, from 1
	Kind    StopKind
	State   StopState
	Address string
	Note    string
	DoneAt  time.Time
}

// OfferState is where an offer stands.
type OfferState string

// The states of an offer.
const (
	Offered        OfferState = "offered"
	OfferAccepted  OfferState = "accepted"
	OfferDeclined  OfferState = "declined"
	OfferExpired   OfferState = "expired"
	OfferWithdrawn OfferState = "withdrawn"
)

// Offer is a job put to one worker, with the reason why it was put to them.
type Offer struct {
	ID        string
	JobID     string
	WorkerID  string
	Rule      string // name and version of the rule that chose
	Reason    Reason
	State     OfferState
	CreatedAt time.Time
	ExpiresAt time.Time
	DecidedAt time.Time
}

// Reason explains an offer in numbers that a page can put into words.
type Reason struct {
	IdleSeconds int64 `json:"idle_seconds"` // how long they had waited
	Candidates  int64 `json:"candidates"`   // how many could have been asked
	AskedBefore int64 `json:"asked_before"` // times they let this job's offer lapse
}

// Availability is whether a courier takes offers and since when they've waited.
type Availability struct {
	MemberID  string
	Online    bool
	IdleSince time.Time
}

// Proof shows that a stop was done; it belongs to one stop and one event.
type Proof struct {
	ID      string
	StopID  string
	EventID string
	Kind    string // "pin"
	Value   string // what was shown; never the secret itself
	At      time.Time
}
