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

// How long things last.
const (
	SessionFor = 30 * 24 * time.Hour
	LinkFor    = 24 * time.Hour
)

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
	switch n := utf8.RuneCountInString(in.Password); {
	case n < 10:
		return Member{}, invalid("password_short", "password")
	case n > 200:
		return Member{}, invalid("too_long", "password")
	}
	hash, err := a.hash.Hash(ctx, in.Password)
	if err != nil {
		return Member{}, err
	}
	return Member{ID: newID(), Name: name, Email: email, Password: hash, Lang: in.Lang, CreatedAt: time.Now()}, nil
}

func cleanEmail(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	addr, err := mail.ParseAddress(s)
	if err != nil || addr.Address != s || len(s) > 254 {
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
	err = a.store.Write(ctx, func(tx Tx) error { return tx.AddSession(ctx, newSession(token, m.ID)) })
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

// NewAdminLink makes a one-time link token for an admin and ends earlier unused
// ones. Unless again is set, it's refused once there is an admin.
func (a *App) NewAdminLink(ctx context.Context, again bool) (string, error) {
	token := newToken()
	err := a.store.Write(ctx, func(tx Tx) error {
		n, err := tx.CountRole(ctx, RoleAdmin)
		if err != nil {
			return err
		}
		if n > 0 && !again {
			return problem(Conflict, "has_admin")
		}
		now := time.Now()
		l := Link{TokenHash: fingerprint(token), Role: RoleAdmin, CreatedAt: now, ExpiresAt: now.Add(LinkFor)}
		if err := tx.ReplaceLink(ctx, l); err != nil {
			return err
		}
		return record(ctx, tx, note{"link", "link.make", "", now}, facts{"role": string(RoleAdmin)})
	})
	return token, err
}

// LinkWorks says whether the link of the token can still be used.
func (a *App) LinkWorks(ctx context.Context, token, from string) error {
	if err := limit(a.tries.join, from); err != nil {
		return err
	}
	return a.store.Read(ctx, func(tx Tx) error {
		_, err := usable(ctx, tx, token)
		return err
	})
}

func usable(ctx context.Context, tx Tx, token string) (Link, error) {
	l, err := tx.Link(ctx, fingerprint(token))
	if err != nil {
		return l, missingAs(err, "link")
	}
	if !l.UsedAt.IsZero() || !time.Now().Before(l.ExpiresAt) {
		return l, problem(NotFound, "link")
	}
	return l, nil
}

// Join makes a member by a one-time link, with the link's role, and signs them
// in. The link is spent in the same transaction.
func (a *App) Join(ctx context.Context, token string, in SignUp) (string, error) {
	if err := a.LinkWorks(ctx, token, in.From); err != nil {
		return "", err
	}
	m, err := a.newMember(ctx, in)
	if err != nil {
		return "", err
	}
	session := newToken()
	err = a.store.Write(ctx, func(tx Tx) error {
		l, err := usable(ctx, tx, token)
		if err != nil {
			return err
		}
		now := time.Now()
		if err := tx.UseLink(ctx, l.TokenHash, now); err != nil {
			return problem(NotFound, "link")
		}
		if err := enrol(ctx, tx, m); err != nil {
			return err
		}
		if err := grant(ctx, tx, Grant{ID: newID(), MemberID: m.ID, Role: l.Role, GrantedAt: now}); err != nil {
			return err
		}
		return tx.AddSession(ctx, newSession(session, m.ID))
	})
	return session, err
}
