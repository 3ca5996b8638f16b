// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"encoding/json"
	"fmt"
	"io"

	"rochdale/appliance"
)

// wireSchema is the version of what parent and child say to each other. They
// are the same binary, but an update may replace it between two runs.
const wireSchema = 1

const (
	maxRequest = 64 << 10
	maxReport  = 1 << 20
)

// The two things that a child can do.
const (
	verbUp     = "up"
	verbStatus = "status"
)

// request is what the child reads. It comes through a pipe, since it may hold a
// password.
type request struct {
	Schema     int    `json:"schema"`
	Verb       string `json:"verb"`
	User       int    `json:"user"` // uid and gid
	Engine     string `json:"engine"`
	File       string `json:"file,omitempty"`       // sqlite
	Address    string `json:"address,omitempty"`    // postgres
	Name       string `json:"name,omitempty"`       // postgres: database and role
	Password   string `json:"password,omitempty"`   // postgres
	Migrations string `json:"migrations,omitempty"` // folder
}

// report is what the child prints.
type report struct {
	Schema   int                     `json:"schema"`
	Migrated *appliance.Migrated     `json:"migrated,omitempty"`
	Status   *appliance.SchemaStatus `json:"status,omitempty"`
	Failure  *Failure                `json:"failure,omitempty"`
}

// Reason is why migrations failed.
type Reason string

// The reasons.
const (
	Failed     Reason = "failed"       // one migration
	Newer      Reason = "newer"        // the database is newer than the migrations
	OutOfOrder Reason = "out-of-order" // an older migration was never applied
	Unreadable Reason = "unreadable"   // the migrations themselves
	NoDatabase Reason = "no-database"  // it can not be opened
)

// Failure says which migration failed, what was applied before it and what was
// not. It is the cause of the [*appliance.Error] that a [Migrator] returns.
type Failure struct {
	Reason  Reason                `json:"reason"`
	Detail  string                `json:"detail,omitempty"`
	File    string                `json:"file,omitempty"` // the migration
	Current int64                 `json:"current"`        // version of the database now
	Newest  int64                 `json:"newest"`         // version of the newest migration
	Applied []appliance.Migration `json:"applied,omitempty"`
	Pending []string              `json:"pending,omitempty"` // files, the failed one among them
}

// Error implements error.
func (f *Failure) Error() string {
	s := fmt.Sprintf("migrations %s: database at %d, newest %d", f.Reason, f.Current, f.Newest)
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
	default:
		return appliance.Problem("migrate.no-database", f, "stack", stack, "detail", f.Detail)
	}
}

// decode reads one JSON document of at most limit bytes.
func decode[T any](r io.Reader, limit int64) (T, error) {
	var v T
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return v, err
	}
	if int64(len(data)) > limit {
		return v, fmt.Errorf("it is longer than %d bytes", limit)
	}
	return v, json.Unmarshal(data, &v)
}
