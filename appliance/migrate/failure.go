// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"rochdale/appliance"
)

// Reason is why a child failed.
type Reason string

// The reasons.
const (
	Failed     Reason = "failed"       // one migration
	Newer      Reason = "newer"        // the database is newer than the migrations
	OutOfOrder Reason = "out-of-order" // an older migration was never applied
	Unreadable Reason = "unreadable"   // the migrations themselves
	NoDatabase Reason = "no-database"  // it can not be opened
	DiskFull   Reason = "disk-full"    // of the machine, or of a quota
	NoCopy     Reason = "no-copy"      // data can not be read or written
	BadFact    Reason = "bad-fact"     // it is not one whole number
	Damaged    Reason = "damaged"      // a database does not pass its own test
	NoSnapshot Reason = "no-snapshot"  // a file of it is missing
)

// Failure says what a child could not do, and for migrations which one failed,
// what was applied before it and what was not. It is the cause of the
// [*appliance.Error] that a [Migrator] or a [Data] returns.
type Failure struct {
	Reason  Reason                `json:"reason"`
	Detail  string                `json:"detail,omitempty"`
	Name    string                `json:"name,omitempty"` // of the database or the fact
	File    string                `json:"file,omitempty"` // the migration
	Current int64                 `json:"current"`        // version of the database now
	Newest  int64                 `json:"newest"`         // version of the newest migration
	Applied []appliance.Migration `json:"applied,omitempty"`
	Pending []string              `json:"pending,omitempty"` // files, the failed one among them
}

// Error implements error.
func (f *Failure) Error() string {
	s := strings.TrimSpace(f.Name + " " + string(f.Reason))
	if f.File != "" || f.Newest > 0 {
		s = fmt.Sprintf("migrations %s: database at %d, newest %d", f.Reason, f.Current, f.Newest)
	}
	if f.File != "" {
		s += ", " + f.File
	}
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}

// problem is the failure as an error for people.
func (f *Failure) problem(stack string) *appliance.Error {
	switch f.Reason {
	case Failed:
		return appliance.Problem("migrate.failed", f, "stack", stack, "file", f.File, "detail", f.Detail,
			"applied", len(f.Applied), "pending", len(f.Pending))
	case Newer:
		return appliance.Problem("migrate.newer", f, "stack", stack, "current", f.Current, "newest", f.Newest)
	case OutOfOrder:
		return appliance.Problem("migrate.out-of-order", f, "stack", stack, "current", f.Current, "file", f.File)
	case Unreadable:
		return appliance.Problem("migrate.unreadable", f, "stack", stack, "detail", f.Detail)
	case DiskFull:
		return appliance.Problem("migrate.disk-full", f, "stack", stack, "detail", f.Detail)
	case NoCopy:
		return appliance.Problem("migrate.copy-failed", f, "stack", stack, "detail", f.Detail)
	case BadFact:
		return appliance.Problem("migrate.fact-failed", f, "stack", stack, "fact", f.Name, "detail", f.Detail)
	case Damaged:
		return appliance.Problem("migrate.damaged", f, "stack", stack, "database", f.Name, "detail", f.Detail)
	case NoSnapshot:
		return appliance.Problem("migrate.no-snapshot", f, "stack", stack, "database", f.Name, "detail", f.Detail)
	default:
		return appliance.Problem("migrate.no-database", f, "stack", stack, "detail", f.Detail)
	}
}

// because makes a failure of an error, unless it is one or the work was called
// off. A full disk is always told as one.
func because(ctx context.Context, reason Reason, name string, err error) error {
	var f *Failure
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case noRoom(err):
		reason = DiskFull
	}
	return &Failure{Reason: reason, Name: name, Detail: words(err)}
}

// noRoom tells whether a disk is full, whoever says so.
func noRoom(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	if code, ok := sqliteCode(err); ok && code&0xff == sqlite3.SQLITE_FULL {
		return true
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "53100" // disk_full
}

// sqliteCode is SQLite's extended result code.
func sqliteCode(err error) (code int, ok bool) {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return 0, false
	}
	return lite.Code(), true
}

// gone tells whether a file is not there (any more).
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
