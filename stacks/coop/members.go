// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"net/mail"
	"strings"
	"time"
	"unicode/utf8"
)

// SessionFor is how long a browser stays signed in.
const SessionFor = 30 * 24 * time.Hour

// SignUp is what a new member tells.
type SignUp struct {
	Name     string
	Email    string
	Password string
	Lang     string
	From     string // the client's prefix, for rate limits
}

// SignUp makes a member and signs them in. It returns the session's token.
func (a *App) SignUp(ctx context.Context, in SignUp) (string, error) {
	if err := limit(a.tries.signUp, in.From); err != nil {
		return "", err
	}
	m, err := a.newMember(ctx, in)
	if err != nil {
		return "", err
	}
	token := newToken()
	err = a.store.Write(ctx, func(tx Tx) error {
		if err := enrol(ctx, tx, m); err != nil {
			return err
		}
		return tx.AddSession(ctx, newSession(token, m.ID))
	})
	return token, err
}

// newMember checks and hashes what somebody wrote, outside any transaction,
// since hashing takes long on purpose.
func (a *App) newMember(ctx context.Context, in SignUp) (Member, error) {
	name, err := text(in.Name, "name", 1, 80)
	if err != nil {
		return Member{}, err
	}
	email, ok := cleanEmail(in.Email)
	if !ok {
		return Member{}, invalid("email", "email")
	}
	hash, err := a.newPassword(ctx, in.Password)
	if err != nil {
		return Member{}, err
	}
	return Member{ID: newID(), Name: name, Email: email, Password: hash, Lang: in.Lang, CreatedAt: time.Now()}, nil
}

func (a *App) newPassword(ctx context.Context, password string) (string, error) {
	switch n := utf8.RuneCountInString(password); {
	case n < 10:
		return "", invalid("password_short", "password")
	case n > 200:
		return "", invalid("too_long", "password")
	}
	return a.hash.Hash(ctx, password)
}

func cleanEmail(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	addr, err := mail.ParseAddress(s)
	if err != nil || addr.Address != s || len(s) > 254 || strings.ContainsFunc(s, odd) {
		return "", false
	}
	return s, true
}

func enrol(ctx context.Context, tx Tx, m Member) error {
	switch _, err := tx.MemberByEmail(ctx, m.Email); {
	case err == nil:
		return &Problem{Kind: Conflict, Key: "email_taken", Field: "email"}
	case !errors.Is(err, ErrMissing):
		return err
	}
	if err := tx.AddMember(ctx, m); err != nil {
		return err
	}
	return record(ctx, tx, note{"member/" + m.ID, "member.join", m.ID, m.CreatedAt}, nil)
}

func newSession(token, memberID string) Session {
	now := time.Now()
	return Session{TokenHash: fingerprint(token), MemberID: memberID, CreatedAt: now, ExpiresAt: now.Add(SessionFor)}
}

// SignIn returns a new session's token. A wrong address and a wrong password
// take the same time and get the same answer.
func (a *App) SignIn(ctx context.Context, email, password string, from Client) (string, error) {
	email, _ = cleanEmail(email)
	var m Member
	err := a.store.Read(ctx, func(tx Tx) (err error) {
		m, err = tx.MemberByEmail(ctx, email)
		return err
	})
	if err != nil && !errors.Is(err, ErrMissing) {
		return "", err
	}
	if err := a.tries.admit(ctx, m, email, from); err != nil {
		return "", err
	}
	ok, err := a.hash.Matches(ctx, password, m.Password)
	if err != nil {
		return "", err
	}
	if !ok || m.ID == "" {
		return "", invalid("sign_in_wrong", "password")
	}
	token := newToken()
	err = a.store.Write(ctx, func(tx Tx) error {
		now, err := tx.Member(ctx, m.ID)
		if err != nil || now.Password != m.Password { // it was changed while this was checked
			return orInvalid(err, "sign_in_wrong", "password")
		}
		return tx.AddSession(ctx, newSession(token, m.ID))
	})
	return token, err
}

// SignOut ends the session of the token.
func (a *App) SignOut(ctx context.Context, token string) error {
	return a.store.Write(ctx, func(tx Tx) error { return tx.EndSession(ctx, fingerprint(token)) })
}

// Who returns the member whose session the token is. It's a SignIn Problem when
// there's none or it has ended.
func (a *App) Who(ctx context.Context, token string) (Member, error) {
	var m Member
	err := a.store.Read(ctx, func(tx Tx) error {
		s, err := tx.Session(ctx, fingerprint(token))
		if err != nil {
			return err
		}
		if !time.Now().Before(s.ExpiresAt) {
			return ErrMissing
		}
		m, err = tx.Member(ctx, s.MemberID)
		return err
	})
	if errors.Is(err, ErrMissing) {
		return Member{}, problem(SignIn, "sign_in")
	}
	return m, err
}
