// SPDX-License-Identifier: AGPL-3.0-or-later

package migrate

import (
	"encoding/json"
	"fmt"
	"io"

	"rochdale/appliance"
	"rochdale/stacks"
)

// wireSchema is the version of what parent and child say to each other. They
// are the same binary, but an update may replace it between two runs.
const wireSchema = 1

const (
	maxRequest = 256 << 10
	maxReport  = 1 << 20
)

// What a child can do. The first two are about the migrations of one database,
// the others about the data of a stack.
const (
	verbUp       = "up" // and facts after
	verbStatus   = "status"
	verbCopy     = "copy"     // everything, while nobody writes, and facts before
	verbFiles    = "files"    // plain files, while the stack is in use
	verbSize     = "size"     // of everything
	verbFacts    = "facts"    // of everything
	verbSnapshot = "snapshot" // SQLite databases into a folder
	verbHold     = "hold"     // one view of a database in a server, for a dump
	verbLoad     = "load"     // SQLite databases from a folder, empty ones in a server
	verbMend     = "mend"     // a volume in use, with what a snapshot has of it
	verbDrop     = "drop"     // databases in a server
)

// dataVerbs are those about the data of a stack.
func dataVerbs() []string {
	return []string{verbCopy, verbFiles, verbSize, verbFacts, verbSnapshot, verbHold, verbLoad, verbMend, verbDrop}
}

// request is what the child reads. It comes through a pipe, since it may hold a
// password.
type request struct {
	Schema     int    `json:"schema"`
	Verb       string `json:"verb"`
	User       int    `json:"user"` // uid and gid
	database          // that is migrated
	Migrations string `json:"migrations,omitempty"` // folder
	// From and To are where data comes from and where it goes.
	From place `json:"from,omitzero"`
	To   place `json:"to,omitzero"`
	// Folder is where snapshots are.
	Folder string `json:"folder,omitempty"`
	// Aside is where files go that make way.
	Aside string `json:"aside,omitempty"`
	// Facts are of the database that is migrated, or else of those in From.
	Facts map[string]fact `json:"facts,omitempty"`
	// Properties are those of the databases that a snapshot was made of.
	Properties map[string]properties `json:"properties,omitempty"`
}

// database is a file, or one in a server.
type database struct {
	Engine   string `json:"engine,omitempty"`
	File     string `json:"file,omitempty"`     // sqlite
	Address  string `json:"address,omitempty"`  // postgres
	Role     string `json:"role,omitempty"`     // postgres
	Name     string `json:"name,omitempty"`     // postgres: in the server
	Password string `json:"password,omitempty"` // postgres
}

// place is the data of one generation as the child sees it: a folder that has
// the volumes, and databases, those in files inside of it.
type place struct {
	Root      string              `json:"root"`
	Volumes   []string            `json:"volumes,omitempty"`
	Databases map[string]database `json:"databases,omitempty"`
}

// fact is a number to measure.
type fact struct {
	Database string `json:"database"`
	SQL      string `json:"sql"`
}

func factsOf(facts map[string]stacks.Fact) map[string]fact {
	some := make(map[string]fact, len(facts))
	for name, f := range facts {
		some[name] = fact{f.Database, f.SQL}
	}
	return some
}

// report is what the child prints.
type report struct {
	Schema   int                     `json:"schema"`
	Migrated *appliance.Migrated     `json:"migrated,omitempty"`
	Status   *appliance.SchemaStatus `json:"status,omitempty"`
	Done     *outcome                `json:"done,omitempty"`
	Failure  *Failure                `json:"failure,omitempty"`
}

// outcome is what came of work on data.
type outcome struct {
	Bytes int64 `json:"bytes"`
	// Skipped are the first of the sockets, pipes and devices that were not
	// copied, and Skips how many there are.
	Skipped []string `json:"skipped,omitempty"`
	Skips   int      `json:"skips,omitempty"`
	Files   []string `json:"files,omitempty"` // snapshots that were made
	// Back and Aside are how many files a snapshot gave back, and how many that were
	// there made way for them.
	Back  int              `json:"back,omitempty"`
	Aside int              `json:"aside,omitempty"`
	Facts map[string]int64 `json:"facts,omitempty"`
	// Exported is the name of the view that a child holds, and Properties are
	// those of its database.
	Exported   string      `json:"exported,omitempty"`
	Properties *properties `json:"properties,omitempty"`
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
