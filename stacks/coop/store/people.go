// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"time"

	"rochdale/stacks/coop"
)

func (t *tx) AddMember(ctx context.Context, m coop.Member) error {
	return t.exec(ctx, "insert into members (id, email, name, password, lang, created_at) values (?, ?, ?, ?, ?, ?)",
		m.ID, m.Email, m.Name, m.Password, m.Lang, coop.Millis(m.CreatedAt))
}

const memberCols = "select id, email, name, password, lang, created_at from members "

func readMember(scan scanner) (m coop.Member, err error) {
	var at int64
	err = scan(&m.ID, &m.Email, &m.Name, &m.Password, &m.Lang, &at)
	m.CreatedAt = coop.FromMillis(at)
	return m, err
}

func (t *tx) Member(ctx context.Context, id string) (coop.Member, error) {
	m, err := one(ctx, t, readMember, memberCols+"where id = ?", id)
	return t.withRoles(ctx, m, err)
}

func (t *tx) MemberByEmail(ctx context.Context, email string) (coop.Member, error) {
	m, err := one(ctx, t, readMember, memberCols+"where email = ?", email)
	return t.withRoles(ctx, m, err)
}

func (t *tx) withRoles(ctx context.Context, m coop.Member, err error) (coop.Member, error) {
	if err != nil {
		return m, err
	}
	m.Roles, err = many(ctx, t, func(scan scanner) (r coop.Role, err error) {
		err = scan(&r)
		return r, err
	}, "select role from grants where member_id = ? and revoked_at = 0 order by role", m.ID)
	return m, err
}

func (t *tx) Members(ctx context.Context, match string, limit int) ([]coop.Member, error) {
	list, err := many(ctx, t, readMember,
		memberCols+"where email like ? escape '!' or lower(name) like ? escape '!' order by created_at desc, id desc limit ?",
		like(match), like(match), limit)
	for i := range list {
		if list[i], err = t.withRoles(ctx, list[i], err); err != nil {
			return nil, err
		}
	}
	return list, err
}

func (t *tx) SetPassword(ctx context.Context, memberID, hash string) error {
	return t.change(ctx, coop.ErrMissing, "update members set password = ? where id = ?", hash, memberID)
}

func (t *tx) AddGrant(ctx context.Context, g coop.Grant) error {
	return t.exec(ctx, "insert into grants (id, member_id, role, granted_by, granted_at, revoked_by, revoked_at) values (?, ?, ?, ?, ?, '', 0)",
		g.ID, g.MemberID, string(g.Role), g.GrantedBy, coop.Millis(g.GrantedAt))
}

func (t *tx) EndGrant(ctx context.Context, memberID string, role coop.Role, by string, at time.Time) error {
	return t.change(ctx, coop.ErrStale, "update grants set revoked_by = ?, revoked_at = ? where member_id = ? and role = ? and revoked_at = 0",
		by, coop.Millis(at), memberID, string(role))
}

func (t *tx) CountRole(ctx context.Context, role coop.Role) (int64, error) {
	return one(ctx, t, number, "select count(*) from grants where role = ? and revoked_at = 0", string(role))
}

func (t *tx) AddSession(ctx context.Context, s coop.Session) error {
	return t.exec(ctx, "insert into sessions (token_hash, member_id, created_at, expires_at) values (?, ?, ?, ?)",
		s.TokenHash, s.MemberID, coop.Millis(s.CreatedAt), coop.Millis(s.ExpiresAt))
}

func (t *tx) Session(ctx context.Context, tokenHash string) (coop.Session, error) {
	return one(ctx, t, func(scan scanner) (s coop.Session, err error) {
		var from, to int64
		err = scan(&s.TokenHash, &s.MemberID, &from, &to)
		s.CreatedAt, s.ExpiresAt = coop.FromMillis(from), coop.FromMillis(to)
		return s, err
	}, "select token_hash, member_id, created_at, expires_at from sessions where token_hash = ?", tokenHash)
}

func (t *tx) EndSession(ctx context.Context, tokenHash string) error {
	return t.exec(ctx, "delete from sessions where token_hash = ?", tokenHash)
}

func (t *tx) EndSessions(ctx context.Context, memberID string) error {
	return t.exec(ctx, "delete from sessions where member_id = ?", memberID)
}

func (t *tx) ReplaceLink(ctx context.Context, l coop.Link) error {
	if err := t.exec(ctx, "delete from links where role = ? and coalesce(member_id, '') = ? and used_at = 0", string(l.Role), l.MemberID); err != nil {
		return err
	}
	return t.exec(ctx, "insert into links (token_hash, role, member_id, created_at, expires_at, used_at) values (?, ?, ?, ?, ?, 0)",
		l.TokenHash, string(l.Role), nullable(l.MemberID), coop.Millis(l.CreatedAt), coop.Millis(l.ExpiresAt))
}

func (t *tx) Link(ctx context.Context, tokenHash string) (coop.Link, error) {
	return one(ctx, t, func(scan scanner) (l coop.Link, err error) {
		var from, to, used int64
		var member sql.NullString
		err = scan(&l.TokenHash, &l.Role, &member, &from, &to, &used)
		l.MemberID = member.String
		l.CreatedAt, l.ExpiresAt, l.UsedAt = coop.FromMillis(from), coop.FromMillis(to), coop.FromMillis(used)
		return l, err
	}, "select token_hash, role, member_id, created_at, expires_at, used_at from links where token_hash = ?", tokenHash)
}

func (t *tx) UseLink(ctx context.Context, tokenHash string, at time.Time) error {
	return t.change(ctx, coop.ErrStale, "update links set used_at = ? where token_hash = ? and used_at = 0", coop.Millis(at), tokenHash)
}

func (t *tx) Forget(ctx context.Context, now time.Time) error {
	for _, q := range []string{
		"delete from sessions where expires_at <= ?",
		"delete from links where expires_at <= ?",
	} {
		if err := t.exec(ctx, q, coop.Millis(now)); err != nil {
			return err
		}
	}
	return nil
}
