// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"maps"
	"slices"
	"strconv"

	"rochdale/stacks"
)

// factsFor are the facts of a release that are compared at an "update" or a "drill".
func factsFor(c *crew, when string) map[string]stacks.Fact {
	some := map[string]stacks.Fact{}
	for name, f := range c.bundle.Stack.Manifest.Facts {
		if slices.Contains(f.Check, when) {
			some[name] = f
		}
	}
	return some
}

// factsIn are those of one database.
func factsIn(facts map[string]stacks.Fact, database string) map[string]stacks.Fact {
	some := maps.Clone(facts)
	maps.DeleteFunc(some, func(_ string, f stacks.Fact) bool { return f.Database != database })
	return some
}

// differing is the first fact, by name, that is not what it must be: what the
// stack's makers say, or else what it was before. A fact that only one side knows
// says nothing.
func differing(facts map[string]stacks.Fact, before, after map[string]int64) (name, want, got string, differs bool) {
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		now, measured := after[name]
		was, known := before[name]
		if must := facts[name].Must; must != nil {
			was, known = *must, true
		}
		if measured && known && now != was {
			return name, strconv.FormatInt(was, 10), strconv.FormatInt(now, 10), true
		}
	}
	return "", "", "", false
}

// asMeasured are the facts without what the stack's makers say they must be. Data
// that come back have to be those that were saved: if something was wrong with them
// then, people need them all the same.
func asMeasured(facts map[string]stacks.Fact) map[string]stacks.Fact {
	plain := maps.Clone(facts)
	for name, f := range plain {
		f.Must = nil
		plain[name] = f
	}
	return plain
}

func (t *transition) judgeFacts(facts map[string]stacks.Fact, after map[string]int64) error {
	name, want, got, differs := differing(facts, t.before, after)
	if !differs {
		return nil
	}
	return Problem("update.fact", nil, "stack", t.Stack, "fact", name, "want", want, "got", got)
}
