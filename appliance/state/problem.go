// SPDX-License-Identifier: AGPL-3.0-or-later

package state

import (
	"errors"
	"io/fs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"rochdale/appliance"
)

// unusable turns what went wrong with the file into an error for a person.
func unusable(path string, err error) error {
	var known *appliance.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return appliance.Problem("daemon.state-missing", err, "path", path).WithCode(appliance.ExitNotThere)
	case errors.Is(err, fs.ErrPermission):
		return appliance.Problem("daemon.state-permission", err, "path", path)
	}
	switch primaryCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return damaged(path, err)
	case sqlite3.SQLITE_FULL:
		return appliance.Problem("daemon.state-full", err, "path", path)
	case sqlite3.SQLITE_BUSY:
		return appliance.Problem("daemon.state-busy", err, "path", path).WithCode(appliance.ExitLocked)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN:
		return appliance.Problem("daemon.state-permission", err, "path", path)
	default:
		return appliance.Problem("daemon.state-failed", err, "path", path, "detail", err)
	}
}

func damaged(path string, err error) error {
	return appliance.Problem("daemon.state-damaged", err, "path", path, "detail", err)
}

// primaryCode is SQLite's result code without its extension, 0 for other errors.
func primaryCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}
