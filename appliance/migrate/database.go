// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

const dialTimeout = 15 * time.Second

// open opens the database of the request and makes sure that it answers.
func (q request) open(ctx context.Context, readOnly bool) (*sql.DB, error) {
	db, err := q.connect(readOnly)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := db.PingContext(bounded); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (q request) connect(readOnly bool) (*sql.DB, error) {
	if q.Engine == "postgres" {
		return q.postgres()
	}
	if !readOnly {
		if err := os.MkdirAll(filepath.Dir(q.File), 0o700); err != nil {
			return nil, err
		}
	}
	return sql.Open("sqlite", sqliteName(q.File, readOnly))
}

// sqliteName is the file with what every connection to it needs: a write-ahead
// log, a flush at each commit, foreign keys, and patience.
func sqliteName(file string, readOnly bool) string {
	v := url.Values{"_pragma": {"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"}}
	if readOnly {
		v.Set("mode", "ro")
	} else {
		v.Add("_pragma", "journal_mode(WAL)")
		v.Set("_txlock", "immediate")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: v.Encode()}).String()
}

// postgres fills in every field itself: nothing comes from the environment.
func (q request) postgres() (*sql.DB, error) {
	address, port, err := net.SplitHostPort(q.Address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", port, err)
	}
	c, err := pgx.ParseConfig("sslmode=disable") // a bridge of this machine
	if err != nil {
		return nil, err
	}
	c.Host, c.Port, c.User, c.Database, c.Password = address, uint16(n), q.Name, q.Name, q.Password
	c.Fallbacks, c.ConnectTimeout = nil, dialTimeout
	c.RuntimeParams = map[string]string{"application_name": "rochdale-migrate"}
	return stdlib.OpenDB(*c), nil
}

// provider reads the migrations.
func (q request) provider(db *sql.DB) (*goose.Provider, error) {
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	dialect := goose.DialectSQLite3
	if q.Engine == "postgres" {
		dialect = goose.DialectPostgres
		// A run that was killed keeps its session until the server notices.
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300), lock.WithUnlockTimeout(1, 10))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(dialect, db, os.DirFS(q.Migrations), options...)
}

// flush makes a database that was just made survive a power cut: SQLite flushes
// the file, and this the folder that names it.
func (q request) flush() (err error) {
	if q.Engine != "sqlite" {
		return nil
	}
	dir, err := os.Open(filepath.Dir(q.File))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return dir.Sync()
}

// absent tells whether the database was never made.
func (q request) absent() bool {
	if q.Engine != "sqlite" {
		return false
	}
	_, err := os.Stat(q.File)
	return errors.Is(err, fs.ErrNotExist)
}
