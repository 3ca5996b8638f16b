// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"
)

// How often things may be tried.
const (
	tryWindow        = 15 * time.Minute
	signInsPerPlace  = 60  // from one client prefix
	signInsPerTarget = 10  // to one account from one client prefix
	signInsPerDevice = 10  // from a browser that has signed in to the account before
	signInsPerMember = 100 // to one account by strangers from everywhere; then they queue
	signUpsPerPlace  = 60
	joinsPerPlace    = 20
	changesPerMember = 60 // of a kind that costs a write and that nobody needs often

	// Strangers in the queue of one account come through every 2 seconds; 5 may wait.
	queueLength = 5
	queueWindow = 10 * time.Second
)

// Client is where a try comes from.
type Client struct {
	Place  string // address prefix: an IPv4 address, or the /64 of an IPv6 one
	Device string // what Mark gave this browser, or ""
}

// doorkeeper counts tries. Nothing of it is written to the database.
type doorkeeper struct {
	place, target, device, account, queue *allowance // of signing in
	signUp, join, quote, renewal          *allowance
}

func newDoorkeeper() doorkeeper {
	per := func(n int) *allowance { return newAllowance(n, tryWindow) }
	return doorkeeper{
		place: per(signInsPerPlace), target: per(signInsPerTarget), device: per(signInsPerDevice), account: per(signInsPerMember),
		queue:  newAllowance(queueLength, queueWindow),
		signUp: per(signUpsPerPlace), join: per(joinsPerPlace), quote: per(changesPerMember), renewal: per(changesPerMember),
	}
}

// limit refuses a key that has no try left.
func limit(a *allowance, key string) error {
	if !a.take(key) {
		return problem(TooMany, "too_many")
	}
	return nil
}

// admit lets somebody try a password for m, whose address may not be a member's.
// Browsers that have signed in to the account before have an allowance of their
// own, which nobody else can use up. Strangers are counted by address, and when
// very many try one account, they wait for each other; nobody locks it.
func (k doorkeeper) admit(ctx context.Context, m Member, email string, from Client) error {
	if nonce, ok := known(m, from.Device); ok {
		return limit(k.device, nonce)
	}
	if err := limit(k.place, from.Place); err != nil {
		return err
	}
	if err := limit(k.target, from.Place+"|"+email); err != nil {
		return err
	}
	if k.account.take(email) {
		return nil
	}
	wait, ok := k.queue.turn(email)
	if !ok {
		return problem(Busy, "busy")
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Mark returns what the browser of the session keeps beyond the session, to be
// known again when it signs in. It gives no access. It's bound to the password:
// a new password makes every older mark worthless.
func (a *App) Mark(ctx context.Context, session string) (string, error) {
	m, err := a.Who(ctx, session)
	if err != nil {
		return "", err
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand never fails: it ends the process first
	n := base64.RawURLEncoding.EncodeToString(nonce[:])
	return n + "." + signature(m, n), nil
}

// known reports whether the mark was made for m, and which one it is.
func known(m Member, mark string) (nonce string, ok bool) {
	nonce, sum, cut := strings.Cut(mark, ".")
	return nonce, cut && m.ID != "" && hmac.Equal([]byte(sum), []byte(signature(m, nonce)))
}

// signature is keyed with the password's hash, which never leaves the database.
func signature(m Member, nonce string) string {
	h := hmac.New(sha256.New, []byte(m.Password))
	h.Write([]byte("coop.mark/1|" + m.ID + "|" + nonce))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
