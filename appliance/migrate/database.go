// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"rochdale/stacks"
)

const dialTimeout = 15 * time.Second

// open opens the database and makes sure that it answers.
func (d database) open(ctx context.Context, readOnly bool) (*sql.DB, error) {
	db, err := d.connect(readOnly)
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

func (d database) connect(readOnly bool) (*sql.DB, error) {
	if d.Engine == stacks.Postgres {
		return d.postgres("rochdale-migrate")
	}
	if readOnly {
		return sql.Open("sqlite", sqliteName(d.File, "ro"))
	}
	if err := os.MkdirAll(filepath.Dir(d.File), 0o700); err != nil {
		return nil, err
	}
	return sql.Open("sqlite", sqliteName(d.File, "rwc", "journal_mode(WAL)")+"&_txlock=immediate")
}

// postgres fills in every field itself: nothing comes from the environment. The
// server is asked to end what it is at when the context ends. application is what
// the server knows the session by.
func (d database) postgres(application string) (*sql.DB, error) {
	address, port, err := net.SplitHostPort(d.Address)
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
	c.Host, c.Port, c.User, c.Database, c.Password = address, uint16(n), d.Role, d.Name, d.Password
	c.Fallbacks, c.ConnectTimeout = nil, dialTimeout
	c.RuntimeParams = map[string]string{"application_name": application}
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	return stdlib.OpenDB(*c), nil
}

// provider reads the migrations.
func (q request) provider(db *sql.DB) (*goose.Provider, error) {
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	dialect := goose.DialectSQLite3
	if q.Engine == stacks.Postgres {
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
// the file, and this the folder that names it. Servers do both by themselves.
func (d database) flush() error {
	if d.Engine != stacks.SQLite {
		return nil
	}
	return syncPath(filepath.Dir(d.File))
}

// absent tells whether the database was never made.
func (d database) absent(ctx context.Context) (bool, error) {
	if d.Engine == stacks.Postgres {
		there, err := d.there(ctx)
		return !there, err
	}
	_, err := os.Stat(d.File)
	return errors.Is(err, fs.ErrNotExist), nil
}

// syncPath writes a file or a folder to the disk.
func syncPath(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}
