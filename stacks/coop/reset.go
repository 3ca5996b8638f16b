// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"time"
)

// NewResetLink makes a one-time link token with which a member sets a new
// password, and ends earlier unused ones of theirs. An admin passes it on by a
// way that reaches that member only. Who made it for whom is in the record.
func (a *App) NewResetLink(ctx context.Context, who Member, memberID string) (Member, string, error) {
	if err := need(who, RoleAdmin); err != nil {
		return Member{}, "", err
	}
	if err := limit(a.tries.renewal, who.ID); err != nil {
		return Member{}, "", err
	}
	return a.resetLink(ctx, who.ID, func(tx Tx) (Member, error) { return tx.Member(ctx, memberID) })
}

// NewResetLinkFor is NewResetLink for whoever has the machine itself.
func (a *App) NewResetLinkFor(ctx context.Context, email string) (Member, string, error) {
	email, _ = cleanEmail(email)
	return a.resetLink(ctx, "", func(tx Tx) (Member, error) { return tx.MemberByEmail(ctx, email) })
}

func (a *App) resetLink(ctx context.Context, by string, find func(Tx) (Member, error)) (m Member, token string, err error) {
	token = newToken()
	err = a.store.Write(ctx, func(tx Tx) error {
		if m, err = find(tx); err != nil {
			return missingAs(err, "no_member")
		}
		now := time.Now()
		l := Link{TokenHash: fingerprint(token), MemberID: m.ID, CreatedAt: now, ExpiresAt: now.Add(LinkFor)}
		if err := tx.ReplaceLink(ctx, l); err != nil {
			return err
		}
		return record(ctx, tx, note{"member/" + m.ID, "member.reset_link", by, now}, nil)
	})
	if err != nil {
		return Member{}, "", err
	}
	return m, token, nil
}

// ResetWorks returns the member whose password the link of the token can set.
func (a *App) ResetWorks(ctx context.Context, token, from string) (m Member, err error) {
	if err := limit(a.tries.join, from); err != nil {
		return m, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		_, m, err = usableReset(ctx, tx, token)
		return err
	})
	return m, err
}

func usableReset(ctx context.Context, tx Tx, token string) (l Link, m Member, err error) {
	if l, err = usable(ctx, tx, token); err != nil {
		return l, m, err
	}
	if l.MemberID == "" {
		return l, m, problem(NotFound, "link")
	}
	m, err = tx.Member(ctx, l.MemberID)
	return l, m, err
}

// Reset sets a member's password by a one-time link. The link is spent, every
// session of theirs ends, and a new one begins, whose token is returned.
func (a *App) Reset(ctx context.Context, token, password, from string) (string, error) {
	if _, err := a.ResetWorks(ctx, token, from); err != nil {
		return "", err
	}
	hash, err := a.newPassword(ctx, password)
	if err != nil {
		return "", err
	}
	session := newToken()
	err = a.store.Write(ctx, func(tx Tx) error {
		l, m, err := usableReset(ctx, tx, token)
		if err != nil {
			return err
		}
		now := time.Now()
		if err := spend(ctx, tx, l, now); err != nil {
			return err
		}
		if err := tx.SetPassword(ctx, m.ID, hash); err != nil {
			return err
		}
		if err := tx.EndSessions(ctx, m.ID); err != nil {
			return err
		}
		if err := record(ctx, tx, note{"member/" + m.ID, "member.password", m.ID, now}, nil); err != nil {
			return err
		}
		return tx.AddSession(ctx, newSession(session, m.ID))
	})
	return session, err
}
