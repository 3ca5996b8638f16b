// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// Config is what a co-op's operator decides outside the database.
type Config struct {
	Currency string // ISO 4217 code
}

// Hasher turns passwords into something that's safe to keep. Both calls may
// wait for room and give up with a Busy Problem.
type Hasher interface {
	Hash(ctx context.Context, password string) (string, error)
	Matches(ctx context.Context, password, encoded string) (bool, error)
}

// App is the platform's use cases over a store.
type App struct {
	store Store
	hash  Hasher
	cfg   Config
	flow  Flow
	tries doorkeeper
}

// New returns the platform on a store whose schema is in place.
func New(store Store, hash Hasher, cfg Config) *App {
	return &App{store: store, hash: hash, cfg: cfg, flow: DeliveryFlow(), tries: newDoorkeeper()}
}

// Currency is the unit of every price.
func (a *App) Currency() string { return a.cfg.Currency }

// Flow is the job flow of this platform's template.
func (a *App) Flow() Flow { return a.flow }

// Healthy reports whether the store answers.
func (a *App) Healthy(ctx context.Context) error { return a.store.Ping(ctx) }

// newID returns a ULID: sortable by time, unguessable in its random half.
func newID() string { return ulid.MustNew(ulid.Now(), rand.Reader).String() }

// newToken returns 256 random bits for a cookie or a link.
func newToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails: it ends the process first
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// fingerprint is the form in which a token is kept.
func fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// need refuses people who have none of the roles.
func need(who Member, roles ...Role) error {
	if who.ID == "" {
		return problem(SignIn, "sign_in")
	}
	if !slices.ContainsFunc(roles, who.Is) {
		return problem(Forbidden, "role")
	}
	return nil
}

// odd reports what no line that people write needs, and what could make a
// terminal, a log or a page show something else than is written: controls, line
// breaks of any kind and marks that turn the direction of writing round.
func odd(r rune) bool {
	switch {
	case unicode.IsControl(r), r == utf8.RuneError, unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
		return true
	}
	return unicode.Is(unicode.Bidi_Control, r) && r != '\u200e' && r != '\u200f' && r != '\u061c'
}

// text trims one line that a person wrote and checks its length in characters.
// Every form has only fields of one line.
func text(s, field string, least, most int) (string, error) {
	s = strings.TrimSpace(s)
	n := utf8.RuneCountInString(s)
	switch {
	case n == 0 && least > 0:
		return "", invalid("empty", field)
	case n < least:
		return "", invalid("too_short", field)
	case n > most:
		return "", invalid("too_long", field)
	case strings.ContainsFunc(s, odd):
		return "", invalid("odd_characters", field)
	}
	return s, nil
}

// facts is the data of an event.
type facts map[string]string

// note is who did what to what, and when.
type note struct {
	subject string
	kind    string
	actor   string
	at      time.Time
}

// record appends an event for n.
func record(ctx context.Context, tx Tx, n note, data facts) error {
	_, err := recorded(ctx, tx, n, data)
	return err
}

func recorded(ctx context.Context, tx Tx, n note, data facts) (Event, error) {
	if data == nil {
		data = facts{}
	}
	body, err := json.Marshal(data)
	if err != nil {
		return Event{}, err
	}
	return tx.Append(ctx, Event{ID: newID(), Subject: n.subject, Kind: n.kind, ActorID: n.actor, At: n.at, DeviceAt: n.at, Data: string(body)})
}
