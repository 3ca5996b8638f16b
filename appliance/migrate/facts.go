// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"rochdale/stacks"
)

// factLimit is how long one fact may take.
const factLimit = 30 * time.Second

// of are the facts of one database.
func of(facts map[string]fact, name string) map[string]fact {
	some := map[string]fact{}
	for k, f := range facts {
		if f.Database == name {
			some[k] = f
		}
	}
	return some
}

// facts measures all facts of a place, each database in one view.
func (q request) facts(ctx context.Context) (*outcome, error) {
	done := &outcome{Facts: map[string]int64{}}
	for name, f := range q.Facts {
		if _, ok := q.From.Databases[f.Database]; !ok {
			return nil, &Failure{Reason: BadFact, Name: name, Detail: "there is no database " + f.Database}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.From.Databases)) {
		if mine := of(q.Facts, name); len(mine) > 0 {
			got, err := q.From.Databases[name].facts(ctx, mine)
			if err != nil {
				return nil, because(ctx, NoDatabase, name, err)
			}
			maps.Copy(done.Facts, got)
		}
	}
	return done, nil
}

func (d database) facts(ctx context.Context, facts map[string]fact) (got map[string]int64, err error) {
	if len(facts) == 0 {
		return nil, nil
	}
	db, err := d.looking(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return inView(ctx, db, func(tx *sql.Tx) (map[string]int64, error) { return measure(ctx, tx, facts) })
}

// looking opens a database that is in use, for looking only.
func (d database) looking(ctx context.Context) (*sql.DB, error) {
	if d.Engine != stacks.Postgres {
		return reading(ctx, d.File, "query_only(1)")
	}
	db, err := d.postgres("rochdale-facts")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// inView does something in one transaction that sees one moment and changes
// nothing. SQLite has no levels; its transactions are all of this kind.
func inView[T any](ctx context.Context, db *sql.DB, do func(*sql.Tx) (T, error)) (got T, err error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return got, err
	}
	defer func() {
		if left := tx.Rollback(); !errors.Is(left, sql.ErrTxDone) {
			err = errors.Join(err, left)
		}
	}()
	return do(tx)
}

func measure(ctx context.Context, tx *sql.Tx, facts map[string]fact) (map[string]int64, error) {
	got := make(map[string]int64, len(facts))
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		n, err := facts[name].measure(ctx, tx)
		if err != nil {
			return nil, because(ctx, BadFact, name, err)
		}
		got[name] = n
	}
	return got, nil
}

var errSlowFact = fmt.Errorf("it took longer than %v", factLimit)

// measure wants one row with one whole number.
func (f fact) measure(ctx context.Context, tx *sql.Tx) (n int64, err error) {
	bounded, cancel := context.WithTimeoutCause(ctx, factLimit, errSlowFact)
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() == nil && bounded.Err() != nil {
			err = errSlowFact
		}
	}()
	rows, err := tx.QueryContext(bounded, f.SQL)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	if len(columns) != 1 {
		return 0, fmt.Errorf("it gives %d columns, and should give 1", len(columns))
	}
	if !rows.Next() {
		return 0, cmp.Or(rows.Err(), errors.New("it gives no row"))
	}
	var value any
	if err := rows.Scan(&value); err != nil {
		return 0, err
	}
	if rows.Next() {
		return 0, errors.New("it gives more than one row")
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	return whole(value)
}

// whole takes a whole number and nothing that only looks like one. A server sums
// whole numbers up to a numeric, which comes as text.
func whole(value any) (int64, error) {
	switch v := value.(type) {
	case int64:
		return v, nil
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n, nil
		}
	case nil:
		return 0, errors.New("it gives null, and should give a number")
	}
	return 0, fmt.Errorf("it gives %.100q, which is not a whole number", fmt.Sprint(value))
}
