// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"strconv"

	"rochdale/stacks"
)

// DataPlace is where one generation of a stack's data is.
type DataPlace struct {
	Stack string
	User  int // uid and gid that all work on it is done with
	// Databases are those of the release's manifest.
	Databases map[string]stacks.Database
	// Volumes are the generation's own folders on this machine by name: neither
	// those of a database server nor immutable ones, which all generations share.
	Volumes    map[string]string
	Generation int64
	// Address ("address:port") and PasswordFile are for databases in a server.
	Address      string
	PasswordFile string
}

// DatabaseName is the name that a generation of a database has in its server.
func DatabaseName(db stacks.Database, generation int64) string {
	return db.Name + "_g" + strconv.FormatInt(generation, 10)
}

// Snapshot is what a snapshot of databases holds.
type Snapshot struct {
	// Files are the files in the folder, by database: "main.db" or "main.dump".
	Files map[string]string `json:"files"`
	Bytes int64             `json:"bytes"`
	// Facts were measured in the same view of the data, by name.
	Facts map[string]int64 `json:"facts"`
}

// Copied is what a copy brought over.
type Copied struct {
	Bytes int64
	// Facts are those of what was copied, by name: all that were asked for.
	Facts map[string]int64
}

// Mended is what came of mending a volume, in files.
type Mended struct {
	Back  int // that the snapshot gave back
	Aside int // that were there, differed, and were put aside
}

// Data copies and measures the data of stacks. The work is done with the stack's
// uid, by a child that sees nothing else.
type Data interface {
	// Copy makes to hold what from holds: databases copied by their own means,
	// all other files as they are. What to held before is replaced, and all of it
	// is on the disk when Copy returns nil. Nobody may write to from meanwhile, so
	// that the facts, which are measured in from before, are those of the copy too.
	Copy(ctx context.Context, from, to DataPlace, facts map[string]stacks.Fact) (Copied, error)
	// CopyFiles brings plain files of from that to does not have yet, while from
	// is in use: a first pass that makes Copy short.
	CopyFiles(ctx context.Context, from, to DataPlace) (bytes int64, err error)
	// Size is how many bytes a copy of it would take.
	Size(ctx context.Context, at DataPlace) (int64, error)
	// Facts measures facts, each database in one consistent view. Without any it
	// starts no child.
	Facts(ctx context.Context, at DataPlace, facts map[string]stacks.Fact) (map[string]int64, error)
	// Snapshot writes a consistent copy of every database into the folder into,
	// which it empties first, while the stack is in use.
	Snapshot(ctx context.Context, at DataPlace, into string, facts map[string]stacks.Fact) (Snapshot, error)
	// Load makes the databases at hold what a Snapshot in the folder from holds.
	Load(ctx context.Context, from string, at DataPlace) error
	// Mend brings files of a snapshot in the folder from back to the only volume of
	// at, which may be in use: what is missing, and what has another size or time
	// there, after a copy of that was put into the folder aside. Files that the
	// snapshot does not have stay, and so does what is aside already. Each file comes
	// whole, wherever it is interrupted; then it may be called again.
	Mend(ctx context.Context, from string, at DataPlace, aside string) (Mended, error)
	// Drop removes the generation's databases from their server. Folders are not
	// its business. What is not there is no error.
	Drop(ctx context.Context, at DataPlace) error
	// Halt ends every child that works on the stack's data, migrations too, and
	// returns when none does any more: before a failed change is put back.
	Halt(ctx context.Context, stack string) error
}
