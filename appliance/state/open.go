// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"rochdale/appliance"
	"rochdale/appliance/host"
)

// Schema is the oldest binary that may use what this one writes. Migrations
// only add, so it rises when an older binary would misread the file, and then
// that binary refuses the file by name.
const Schema = 1

// application marks the file as ours ("Roch"), so that another program's
// database under our name is not migrated.
const application = 0x526f6368

// DB is the box's memory. It is safe for use by several goroutines, and two
// processes (the installer and the daemon) may have it open at once.
type DB struct {
	sql  *sql.DB
	path string
}

var _ appliance.Store = (*DB)(nil)

// Open opens the memory for writing, making the file (mode 0600) and bringing
// it to this binary's form when needed. A file that is damaged, or that a newer
// Rochdale wrote, is refused with an [appliance.Error] and left as it is.
func Open(ctx context.Context, path string) (*DB, error) {
	if err := makeFile(path); err != nil {
		return nil, unusable(path, err)
	}
	db, err := connect(path, url.Values{
		"_txlock": {"immediate"},
		"_pragma": {"busy_timeout(15000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "cache_size(-512)"},
	})
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.CloseFile())
	}
	return db, nil
}

// OpenReadOnly opens the memory to look at it, whether the daemon runs, is
// dead, or was killed. It changes nothing and makes no file. A missing file is
// an [appliance.Error] with [appliance.ExitNotThere].
func OpenReadOnly(ctx context.Context, path string) (*DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, unusable(path, err)
	}
	q, err := readOnlyQuery(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	q.Add("_pragma", "busy_timeout(5000)")
	db, err := connect(path, q)
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := db.checkSchema(ctx); err != nil {
		return nil, errors.Join(err, db.CloseFile())
	}
	return db, nil
}

// readOnlyQuery looks at what lies beside the file. Without a write-ahead log
// nobody has it open and the file is complete; with one, its index is there too
// and SQLite reads both as they are.
func readOnlyQuery(path string) (url.Values, error) {
	wal, err := exists(path + "-wal")
	if err != nil || wal {
		return url.Values{"mode": {"ro"}}, err
	}
	return url.Values{"mode": {"ro"}, "immutable": {"1"}}, nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makeFile makes an empty file that only we may read, and its folder; SQLite
// gives its log and index the same mode. The folder stays open to look through:
// the edge and the stacks have their own folders in it.
func makeFile(path string) error {
	owner := host.Attr{Mode: 0o755, UID: os.Geteuid(), GID: os.Getegid()}
	if err := host.NewFiles().MkdirAll(filepath.Dir(path), owner); err != nil {
		return err
	}
	disk := host.OS{}
	err := disk.Create(path, strings.NewReader(""), host.Attr{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid()})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

// connect keeps one connection: there is one writer, and memory is short.
func connect(path string, query url.Values) (*DB, error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	conn, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	conn.SetMaxOpenConns(1)
	return &DB{sql: conn, path: path}, nil
}

// CloseFile closes the file. Closing it twice is harmless. ([DB.Close] ends a job.)
func (d *DB) CloseFile() error { return d.sql.Close() }

// prepare makes the first connection and migrates, one process at a time: a new
// file becomes one with a write-ahead log at the first connection, and SQLite
// refuses that switch at once, without waiting, while another one looks.
func (d *DB) prepare(ctx context.Context) (err error) {
	unlock, err := turn(ctx, d.path+".lock")
	if err != nil {
		return unusable(d.path, err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := d.checkFile(ctx); err != nil {
		return err
	}
	if err := d.checkSchema(ctx); err != nil {
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return unusable(d.path, err)
	}
	return nil
}

// checkFile reads the whole file once: it is small, and a damaged one must be
// noticed before anything is written to it.
func (d *DB) checkFile(ctx context.Context) error {
	var answer string
	if err := d.sql.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&answer); err != nil {
		return unusable(d.path, err)
	}
	if answer != "ok" {
		return damaged(d.path, errors.New(answer))
	}
	return nil
}

func (d *DB) checkSchema(ctx context.Context) error {
	var app, schema int
	if err := d.sql.QueryRowContext(ctx, "pragma application_id").Scan(&app); err != nil {
		return unusable(d.path, err)
	}
	if err := d.sql.QueryRowContext(ctx, "pragma user_version").Scan(&schema); err != nil {
		return unusable(d.path, err)
	}
	if app != 0 && app != application {
		return damaged(d.path, fmt.Errorf("application id is %#x", app))
	}
	if schema > Schema {
		return appliance.Problem("daemon.state-newer", nil, "path", d.path, "schema", schema, "known", Schema)
	}
	return nil
}
