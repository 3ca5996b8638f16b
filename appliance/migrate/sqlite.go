// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

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
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteName is the file with what every connection to it needs: patience,
// foreign keys, and a flush at each commit. mode is ro, rw or rwc.
func sqliteName(file, mode string, pragmas ...string) string {
	v := url.Values{"mode": {mode}, "_pragma": append([]string{"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: file, RawQuery: v.Encode()}).String()
}

// reading opens a database to read it, with what a writer that was killed left in
// its log. Whoever has a rollback journal from there must roll it back first,
// which only a writer may.
func reading(ctx context.Context, file string, pragmas ...string) (*sql.DB, error) {
	if err := plainFile(file); err != nil {
		return nil, err
	}
	db, err := probed(ctx, sqliteName(file, "ro", pragmas...))
	if code, ok := sqliteCode(err); ok && code == sqlite3.SQLITE_READONLY_ROLLBACK {
		return probed(ctx, sqliteName(file, "rw", pragmas...))
	}
	return db, err
}

// probed opens a database and reads from it, by one connection.
func probed(ctx context.Context, name string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	var n int
	if err := db.QueryRowContext(ctx, "select count(*) from sqlite_master").Scan(&n); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// plainFile refuses a database that is a link or lies behind one.
func plainFile(file string) error {
	where, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if where != filepath.Clean(file) || !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file", filepath.Base(file))
	}
	return nil
}

// tempOf is where the next content of a file is made. The name is fixed, so that
// what a killed run left is found and made anew.
func tempOf(file string) string {
	return filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".rochdale-tmp")
}

// companions are the files that SQLite keeps beside a database.
func companions(file string) []string {
	return []string{file + "-journal", file + "-wal", file + "-shm"}
}

// discard removes files that may be there.
func discard(files ...string) error {
	for _, f := range files {
		if err := os.Remove(f); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

// vacuum writes what one moment's view of a database holds into a new file, in
// use or not. The copy has the journal mode of the original, which SQLite leaves
// out, and is not on the disk yet.
func vacuum(ctx context.Context, from, into string) (err error) {
	if err := discard(append(companions(into), into)...); err != nil {
		return err
	}
	db, err := reading(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var mode string
	if err := db.QueryRowContext(ctx, "pragma journal_mode").Scan(&mode); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "vacuum into ?", into); err != nil {
		return err
	}
	if mode == "wal" {
		if err := useLog(ctx, into); err != nil {
			return err
		}
	}
	return sameMode(from, into)
}

// useLog makes a database write ahead into a log from now on.
func useLog(ctx context.Context, file string) error {
	db, err := probed(ctx, sqliteName(file, "rw", "journal_mode(WAL)"))
	if err != nil {
		return err
	}
	return db.Close()
}

func sameMode(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.Chmod(to, info.Mode().Perm())
}

// settle puts a new database in the place of an old one, durably. The log of the
// old one goes first: SQLite would play it into the new one.
func settle(temp, file string) error {
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := discard(append(companions(file), companions(temp)...)...); err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := syncPath(dir); err != nil {
		return err
	}
	if info, err := os.Lstat(file); err == nil && info.IsDir() {
		if err := os.RemoveAll(file); err != nil {
			return err
		}
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	return syncPath(dir)
}

// sound tests a whole database; it is a copy, which nobody else has open.
func sound(ctx context.Context, file string) (err error) {
	db, err := probed(ctx, sqliteName(file, "rw"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var said string
	if err := db.QueryRowContext(ctx, "pragma quick_check(1)").Scan(&said); err != nil {
		return err
	}
	if said != "ok" {
		return errors.New(said)
	}
	return nil
}

// copySQLite makes to hold what from holds. A database that was never made is
// not there afterwards either.
func copySQLite(ctx context.Context, from, to string) (int64, error) {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return 0, discard(append(companions(to), to)...)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	temp := tempOf(to)
	if err := vacuum(ctx, from, temp); err != nil {
		return 0, errors.Join(err, discard(append(companions(temp), temp)...))
	}
	info, err := os.Stat(temp)
	if err != nil {
		return 0, err
	}
	return info.Size(), settle(temp, to)
}

// inside is a file's path from the place's root, the volume first.
func (p place) inside(file string) string {
	return strings.TrimPrefix(strings.TrimPrefix(file, p.Root), "/")
}
