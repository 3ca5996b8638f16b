// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"maps"
	"slices"
	"testing"

	"rochdale/stacks"
)

// TestMigratedDatabase is whose facts are measured with the migrations.
func TestMigratedDatabase(t *testing.T) {
	lite := map[string]stacks.Database{"main": {Engine: stacks.SQLite}, "queue": {Engine: stacks.SQLite}}
	mixed := map[string]stacks.Database{"main": {Engine: stacks.Postgres}, "queue": {Engine: stacks.SQLite}}
	facts := map[string]stacks.Fact{"orders": {Database: "main"}, "members": {Database: "main"}, "waiting": {Database: "queue"}}
	for name, v := range map[string]struct {
		databases  map[string]stacks.Database
		migrations stacks.Migrations
		want       string // "": none
		facts      []string
	}{
		"its migrations":           {lite, stacks.Migrations{Database: "queue", Dir: "migrations"}, "queue", []string{"waiting"}},
		"not that in the server":   {mixed, stacks.Migrations{Database: "queue", Dir: "migrations"}, "queue", []string{"waiting"}},
		"the server's, only there": {mixed, stacks.Migrations{}, "main", []string{"members", "orders"}},
		"none":                     {lite, stacks.Migrations{}, "", nil},
	} {
		c := &crew{bundle: Bundle{Stack: stacks.Stack{Manifest: stacks.Manifest{Databases: v.databases, Migrations: v.migrations, Facts: facts}}}}
		got, ok := c.migrated()
		if some := slices.Sorted(maps.Keys(factsIn(facts, got))); got != v.want || ok != (v.want != "") || !slices.Equal(some, v.facts) {
			t.Errorf("%s: %q, %v, facts %q", name, got, ok, some)
		}
	}
	if len(facts) != 3 {
		t.Error("the facts themselves became fewer")
	}
}
