// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import "slices"

// State is where a job stands.
type State string

// The states of a dispatched job (delivery, rides).
const (
	Placed    State = "placed"    // the customer has ordered; the shop hasn't answered
	Accepted  State = "accepted"  // the shop prepares it; a courier is looked for
	Assigned  State = "assigned"  // a courier goes to the shop
	PickedUp  State = "picked_up" // the courier has it
	Delivered State = "delivered" // the customer has it; the cash isn't counted yet
	Closed    State = "closed"    // paid; nothing is left to do
	Refused   State = "refused"   // the shop said no
	Cancelled State = "cancelled" // called off before pick-up
	Returned  State = "returned"  // it was on its way, but couldn't be handed over or wasn't paid
)

// Verb is what somebody does to a job.
type Verb string

// The verbs of a dispatched job.
const (
	VerbAccept  Verb = "accept"
	VerbRefuse  Verb = "refuse"
	VerbCancel  Verb = "cancel"
	VerbAssign  Verb = "assign"
	VerbPickUp  Verb = "pick_up"
	VerbDeliver Verb = "deliver"
	VerbCollect Verb = "collect"
	VerbReturn  Verb = "return"
)

// Party is the side of a job that a person is on.
type Party string

// The parties to a job.
const (
	AsCustomer Party = "customer"
	AsProvider Party = "provider"
	AsWorker   Party = "worker"
	AsAdmin    Party = "admin"
)

// Transition is one allowed step of a Flow.
type Transition struct {
	From State
	Verb Verb
	To   State
	By   []Party
}

// Flow is a vertical's state machine, as data: templates differ in their rows,
// not in code.
type Flow struct {
	Name        string
	Start       State
	Stops       []StopKind
	Transitions []Transition
}

// DeliveryFlow is a shop's order that a courier brings to the customer.
func DeliveryFlow() Flow {
	return Flow{
		Name:  "delivery",
		Start: Placed,
		Stops: []StopKind{StopPickup, StopDropoff},
		Transitions: []Transition{
			{Placed, VerbAccept, Accepted, []Party{AsProvider}},
			{Placed, VerbRefuse, Refused, []Party{AsProvider}},
			{Placed, VerbCancel, Cancelled, []Party{AsCustomer, AsAdmin}},
			{Accepted, VerbCancel, Cancelled, []Party{AsProvider, AsAdmin}},
			{Accepted, VerbAssign, Assigned, []Party{AsWorker}},
			{Assigned, VerbCancel, Cancelled, []Party{AsAdmin}},
			{Assigned, VerbPickUp, PickedUp, []Party{AsWorker}},
			{PickedUp, VerbDeliver, Delivered, []Party{AsWorker}},
			{PickedUp, VerbReturn, Returned, []Party{AsWorker, AsProvider, AsAdmin}},
			{Delivered, VerbCollect, Closed, []Party{AsWorker}},
			{Delivered, VerbReturn, Returned, []Party{AsAdmin}},
		},
	}
}

// Next returns the state that verb leads to from the given state when one of
// the parties does it. It is a Conflict when the state doesn't allow the verb
// and Forbidden when it does, but not to them.
func (f Flow) Next(from State, verb Verb, parties []Party) (State, error) {
	for _, t := range f.Transitions {
		if t.From != from || t.Verb != verb {
			continue
		}
		for _, p := range parties {
			if slices.Contains(t.By, p) {
				return t.To, nil
			}
		}
		return "", problem(Forbidden, "not_yours")
	}
	return "", problem(Conflict, "moved_on")
}

// Done reports whether verb has just led to this state, so that a form that is
// sent twice is answered as it was the first time.
func (f Flow) Done(now State, verb Verb) bool {
	return slices.ContainsFunc(f.Transitions, func(t Transition) bool { return t.Verb == verb && t.To == now })
}

// Over reports whether no transition leaves the state.
func (f Flow) Over(s State) bool {
	return !slices.ContainsFunc(f.Transitions, func(t Transition) bool { return t.From == s })
}

// Ahead reports whether verb can still come for a job in this state. A flow may
// lead back to where it was.
func (f Flow) Ahead(s State, verb Verb) bool {
	reached := []State{s}
	for i := 0; i < len(reached); i++ {
		for _, t := range f.Transitions {
			switch {
			case t.From != reached[i]:
			case t.Verb == verb:
				return true
			case !slices.Contains(reached, t.To):
				reached = append(reached, t.To)
			}
		}
	}
	return false
}

// Allows reports whether one of the parties may do verb in this state.
func (f Flow) Allows(s State, verb Verb, parties []Party) bool {
	_, err := f.Next(s, verb, parties)
	return err == nil
}
