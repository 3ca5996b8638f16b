// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"errors"
	"time"
)

// LinkFor is how long a link works.
const LinkFor = 24 * time.Hour

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

// LinkWorks says whether the link of the token still makes an account.
func (a *App) LinkWorks(ctx context.Context, token, from string) error {
	if err := limit(a.tries.join, from); err != nil {
		return err
	}
	return a.store.Read(ctx, func(tx Tx) error {
		_, err := usableRole(ctx, tx, token)
		return err
	})
}

func usableRole(ctx context.Context, tx Tx, token string) (Link, error) {
	l, err := usable(ctx, tx, token)
	if err == nil && l.Role == "" {
		err = problem(NotFound, "link")
	}
	return l, err
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
		l, err := usableRole(ctx, tx, token)
		if err != nil {
			return err
		}
		now := time.Now()
		if err := spend(ctx, tx, l, now); err != nil {
			return err
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

// spend uses a link up.
func spend(ctx context.Context, tx Tx, l Link, now time.Time) error {
	err := tx.UseLink(ctx, l.TokenHash, now)
	if errors.Is(err, ErrStale) {
		return problem(NotFound, "link")
	}
	return err
}
