// SPDX-License-Identifier: AGPL-3.0-or-later

package store

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"

	"rochdale/stacks/coop"
)

// tx is one transaction.
type tx struct {
	sql    *sql.Tx
	dollar bool
}

var _ coop.Tx = (*tx)(nil)

// bind writes ? as $1, $2, … where the database wants that. No statement here
// has a ? of its own.
func (t *tx) bind(q string) string {
	if !t.dollar {
		return q
	}
	var b strings.Builder
	n := 0
	for _, r := range q {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

func (t *tx) exec(ctx context.Context, q string, args ...any) error {
	_, err := t.sql.ExecContext(ctx, t.bind(q), args...)
	return err
}

// change is exec for statements that must touch a row.
func (t *tx) change(ctx context.Context, none error, q string, args ...any) error {
	res, err := t.sql.ExecContext(ctx, t.bind(q), args...)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}

// scanner reads one row.
type scanner func(dest ...any) error

// many runs a query and turns each row into a T.
func many[T any](ctx context.Context, t *tx, read func(scanner) (T, error), q string, args ...any) ([]T, error) {
	rows, err := t.sql.QueryContext(ctx, t.bind(q), args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []T
	for rows.Next() {
		v, err := read(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// one is many for a query that has at most one row.
func one[T any](ctx context.Context, t *tx, read func(scanner) (T, error), q string, args ...any) (T, error) {
	v, err := read(t.sql.QueryRowContext(ctx, t.bind(q), args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return v, coop.ErrMissing
	}
	return v, err
}

func number(scan scanner) (n int64, err error) {
	err = scan(&n)
	return n, err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// like makes a pattern that finds s anywhere, its wildcards escaped with !.
func like(s string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(s)) + "%"
}
