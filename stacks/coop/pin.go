// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// pinTries is how often a PIN may be tried wrongly in its whole life. Four digits
// and ten tries: one in a thousand.
const pinTries = 10

// What happens to PINs, as events of the job.
const (
	pinWrong = "job.pin_wrong"
	pinRenew = "job.pin_renew"
)

// newPIN returns four random digits.
func newPIN() (string, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(10_000))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%04d", n), nil
}

func samePIN(x, y string) bool { return subtle.ConstantTimeCompare([]byte(x), []byte(y)) == 1 }

// tryPIN refuses a wrong PIN and keeps that it was tried, also when the delivery
// itself comes to nothing. Whoever doesn't carry the order, and a job that isn't
// to be delivered now, are left to the flow: no PIN is looked at.
func (a *App) tryPIN(ctx context.Context, who Member, jobID, pin string) error {
	if who.ID == "" {
		return problem(SignIn, "sign_in")
	}
	var refused error
	err := a.store.Write(ctx, func(tx Tx) error {
		j, err := tx.Job(ctx, jobID)
		if err != nil || j.WorkerID != who.ID || !a.flow.Allows(j.State, VerbDeliver, []Party{AsWorker}) {
			return missingAs(err, "no_order")
		}
		spent, err := pinSpent(ctx, tx, jobID)
		if err != nil || spent {
			return orProblem(err, Conflict, "pin_spent")
		}
		if samePIN(pin, j.PIN) {
			return nil
		}
		refused = invalid("pin_wrong", "pin")
		return record(ctx, tx, note{"job/" + jobID, pinWrong, who.ID, time.Now()}, nil)
	})
	if err != nil {
		return err
	}
	return refused
}

// pinSpent reports whether the PIN was tried wrongly as often as it may be.
func pinSpent(ctx context.Context, tx Tx, jobID string) (bool, error) {
	e, err := tx.LastEvent(ctx, "job/"+jobID, pinRenew)
	if err != nil && !errors.Is(err, ErrMissing) {
		return false, err
	}
	wrong, err := tx.CountEvents(ctx, "job/"+jobID, pinWrong, e.Seq)
	return wrong >= pinTries, err
}

// RenewPIN gives the customer another PIN, whose tries begin anew. The old one is
// worth nothing from then on.
func (a *App) RenewPIN(ctx context.Context, who Member, jobID string) error {
	if who.ID == "" {
		return problem(SignIn, "sign_in")
	}
	pin, err := newPIN()
	if err != nil {
		return err
	}
	if err := limit(a.tries.renewal, who.ID); err != nil {
		return err
	}
	return a.store.Write(ctx, func(tx Tx) error {
		j, err := tx.Job(ctx, jobID)
		if err != nil || j.CustomerID != who.ID {
			return orProblem(missingAs(err, "no_order"), NotFound, "no_order")
		}
		if !a.flow.Ahead(j.State, VerbDeliver) {
			return problem(Conflict, "moved_on")
		}
		if err := tx.SetPIN(ctx, jobID, pin); err != nil {
			return err
		}
		return record(ctx, tx, note{"job/" + jobID, pinRenew, who.ID, time.Now()}, nil)
	})
}
