// SPDX-License-Identifier: AGPL-3.0-or-later

package coop

import (
	"context"
	"slices"
	"time"
)

// Members lists members for an admin; match filters by name or e-mail.
func (a *App) Members(ctx context.Context, who Member, match string) (list []Member, err error) {
	if err := need(who, RoleAdmin); err != nil {
		return nil, err
	}
	err = a.store.Read(ctx, func(tx Tx) error {
		list, err = tx.Members(ctx, match, 100)
		return err
	})
	return list, err
}

// Grant gives a member a role. Giving it twice changes nothing.
func (a *App) Grant(ctx context.Context, who Member, memberID string, role Role) error {
	return a.changeRole(ctx, who, memberID, role, func(tx Tx, m Member) error {
		if m.Is(role) {
			return nil
		}
		return grant(ctx, tx, Grant{ID: newID(), MemberID: m.ID, Role: role, GrantedBy: who.ID, GrantedAt: time.Now()})
	})
}

// Revoke takes a role away. The last admin keeps theirs.
func (a *App) Revoke(ctx context.Context, who Member, memberID string, role Role) error {
	return a.changeRole(ctx, who, memberID, role, func(tx Tx, m Member) error {
		if !m.Is(role) {
			return nil
		}
		if role == RoleAdmin {
			if n, err := tx.CountRole(ctx, RoleAdmin); err != nil || n <= 1 {
				return orProblem(err, Conflict, "last_admin")
			}
		}
		now := time.Now()
		if err := tx.EndGrant(ctx, m.ID, role, who.ID, now); err != nil {
			return err
		}
		return record(ctx, tx, note{"member/" + m.ID, "role.revoke", who.ID, now}, facts{"role": string(role)})
	})
}

func (a *App) changeRole(ctx context.Context, who Member, memberID string, role Role, change func(Tx, Member) error) error {
	if err := need(who, RoleAdmin); err != nil {
		return err
	}
	if !slices.Contains(Roles(), role) {
		return invalid("no_such_role", "role")
	}
	return a.store.Write(ctx, func(tx Tx) error {
		m, err := tx.Member(ctx, memberID)
		if err != nil {
			return missingAs(err, "no_member")
		}
		return change(tx, m)
	})
}

func grant(ctx context.Context, tx Tx, g Grant) error {
	if err := tx.AddGrant(ctx, g); err != nil {
		return err
	}
	return record(ctx, tx, note{"member/" + g.MemberID, "role.grant", g.GrantedBy, g.GrantedAt}, facts{"role": string(g.Role)})
}

// orProblem returns err, or the problem when there's no err.
func orProblem(err error, kind ProblemKind, key string) error {
	if err != nil {
		return err
	}
	return problem(kind, key)
}
