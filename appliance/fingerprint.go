// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// dumped remembers what the databases looked like when they were last saved, so
// that nothing is dumped that did not change. It forgets with the process.
type dumped struct {
	mu     sync.Mutex
	prints map[string]string
}

func (d *dumped) remember(prints map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prints = maps.Clone(prints)
}

// same tells whether nothing changed since the last time. A print that says
// nothing is of a database that may have changed.
func (d *dumped) same(prints map[string]string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.prints != nil && maps.Equal(d.prints, prints) && !slices.Contains(slices.Collect(maps.Values(prints)), "")
}

// stoppedPrint is that of a stack that is stopped: nobody writes to it, but its
// databases may come to be parked.
func (d *Daemon) stoppedPrint(row Release) string {
	parked := int64(0)
	if info, err := os.Stat(d.Paths.ParkedRecord(row.Stack)); err == nil {
		parked = info.ModTime().UnixNano()
	}
	return fmt.Sprintf("stopped %s %d %d", row.Digest, row.Generation, parked)
}

// fingerprint changes whenever a database of the release did. It is empty for a
// stack with a database server: only the server could tell.
func fingerprint(row Release, at DataPlace) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d", row.Digest, row.Generation)
	for _, name := range slices.Sorted(maps.Keys(at.Databases)) {
		db := at.Databases[name]
		if db.Volume == "" {
			return ""
		}
		file := filepath.Join(at.Volumes[db.Volume], filepath.FromSlash(db.Path))
		for _, path := range []string{file, file + "-wal"} {
			if info, err := os.Lstat(path); err == nil {
				fmt.Fprintf(&b, " %d %d", info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}
