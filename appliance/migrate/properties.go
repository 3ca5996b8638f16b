// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// properties are what a server knows about a database and does not keep in it:
// neither a copy nor a dump has them.
type properties struct {
	Limit    int       `json:"limit"` // of connections; -1 is none
	Settings []setting `json:"settings,omitempty"`
	// Granted is true when the rights are not those that every database begins with.
	Granted bool    `json:"granted,omitempty"`
	Grants  []grant `json:"grants,omitempty"`
}

// setting is a variable that sessions in the database begin with.
type setting struct {
	Role  string `json:"role,omitempty"` // "": everybody's
	Name  string `json:"name"`
	Value string `json:"value"`
}

// grant is a right on the database.
type grant struct {
	To     string `json:"to,omitempty"` // "": everybody
	Right  string `json:"right"`
	Option bool   `json:"option,omitempty"` // may be passed on
}

const settingsQuery = `
select coalesce(r.rolname, ''), split_part(v.line, '=', 1), substr(v.line, strpos(v.line, '=') + 1)
from pg_db_role_setting s
join pg_database d on d.oid = s.setdatabase and d.datname = $1
left join pg_roles r on r.oid = s.setrole
cross join lateral unnest(s.setconfig) with ordinality as v(line, n)
order by 1, v.n`

const grantsQuery = `
select coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
from pg_database d
cross join lateral aclexplode(d.datacl) a
left join pg_roles r on r.oid = a.grantee
where d.datname = $1
order by 1, 2`

func readProperties(ctx context.Context, db querier, name string) (p properties, err error) {
	const query = "select datconnlimit, datacl is not null from pg_database where datname = $1"
	if err := db.QueryRowContext(ctx, query, name).Scan(&p.Limit, &p.Granted); err != nil {
		return p, err
	}
	err = each(ctx, db, settingsQuery, name, func(rows *sql.Rows) error {
		var s setting
		err := rows.Scan(&s.Role, &s.Name, &s.Value)
		p.Settings = append(p.Settings, s)
		return err
	})
	if err != nil {
		return p, err
	}
	err = each(ctx, db, grantsQuery, name, func(rows *sql.Rows) error {
		var g grant
		err := rows.Scan(&g.To, &g.Right, &g.Option)
		p.Grants = append(p.Grants, g)
		return err
	})
	return p, err
}

// querier is a database or a transaction in one.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// each calls back for every row of a query with one argument.
func each(ctx context.Context, db querier, query, arg string, row func(*sql.Rows) error) (err error) {
	rows, err := db.QueryContext(ctx, query, arg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// apply gives the properties to a database that has just been made.
func (p properties) apply(ctx context.Context, db *sql.DB, name string) error {
	if p.Limit >= 0 {
		if _, err := db.ExecContext(ctx, fmt.Sprintf("alter database %s connection limit %d", quoted(name), p.Limit)); err != nil {
			return err
		}
	}
	for _, s := range p.Settings {
		if err := s.apply(ctx, db, name); err != nil {
			return fmt.Errorf("set %s for the database: %w", s.Name, err)
		}
	}
	return p.grant(ctx, db, name)
}

// apply sets it for this transaction and lets the server take it from there: it
// alone knows which values are lists and how they are quoted.
func (s setting) apply(ctx context.Context, db *sql.DB, database string) (err error) {
	target := "database " + quoted(database)
	if s.Role != "" {
		target = "role " + quoted(s.Role) + " in " + target
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	if _, err := tx.ExecContext(ctx, "select set_config($1, $2, true)", s.Name, s.Value); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("alter %s set %s from current", target, quoted(s.Name))); err != nil {
		return err
	}
	return tx.Commit()
}

func (p properties) grant(ctx context.Context, db *sql.DB, name string) error {
	if !p.Granted {
		return nil
	}
	owner, err := ownerOf(ctx, db, name)
	if err != nil {
		return err
	}
	commands := []string{
		"revoke all on database " + quoted(name) + " from public",
		"revoke all on database " + quoted(name) + " from " + quoted(owner),
	}
	for _, g := range p.Grants {
		to, option := "public", ""
		if g.To != "" {
			to = quoted(g.To)
		}
		if g.Option {
			option = " with grant option"
		}
		right, ok := map[string]string{"CREATE": "create", "CONNECT": "connect", "TEMPORARY": "temporary"}[g.Right]
		if !ok {
			return fmt.Errorf("the right %q on the database is not known", g.Right)
		}
		commands = append(commands, fmt.Sprintf("grant %s on database %s to %s%s", right, quoted(name), to, option))
	}
	for _, c := range commands {
		if _, err := db.ExecContext(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
