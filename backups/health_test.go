// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"encoding/json"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"rochdale/backups"
)

// TestEveryPartHasItsTurn: wherever the rotation stands, t runs read all t parts.
func TestEveryPartHasItsTurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 256).Draw(t, "t")
		last := backups.Part{N: rapid.IntRange(-1, 300).Draw(t, "last"), T: rapid.SampledFrom([]int{0, n, n + 1}).Draw(t, "of")}
		seen := map[backups.Part]bool{}
		for range n {
			last = backups.NextPart(last, n)
			if last.T != n || last.N < 1 || last.N > n || seen[last] {
				t.Fatalf("part %s after %v", last, seen)
			}
			seen[last] = true
		}
	})
}

func report(errors int64, p backups.Part) backups.CheckReport {
	return backups.CheckReport{Part: p, Errors: errors}
}

func TestHealth(t *testing.T) {
	structure, whole := backups.Part{}, backups.Part{N: 1, T: 1}
	second, third := backups.Part{N: 2, T: 3}, backups.Part{N: 3, T: 3}
	for name, c := range map[string]struct {
		reports []backups.CheckReport
		failed  []backups.Part
		next    backups.Part
	}{
		"never checked":           {nil, nil, backups.Part{N: 1, T: 3}},
		"well":                    {[]backups.CheckReport{report(0, backups.Part{N: 1, T: 3})}, nil, second},
		"around":                  {[]backups.CheckReport{report(0, backups.Part{N: 1, T: 3}), report(0, second), report(0, third)}, nil, backups.Part{N: 1, T: 3}},
		"a part fails":            {[]backups.CheckReport{report(2, second)}, []backups.Part{second}, second},
		"another one passes":      {[]backups.CheckReport{report(2, second), report(0, third)}, []backups.Part{second}, second},
		"the structure passes":    {[]backups.CheckReport{report(2, second), report(0, structure)}, []backups.Part{second}, second},
		"it passes":               {[]backups.CheckReport{report(2, second), report(0, second)}, nil, backups.Part{N: 1, T: 3}},
		"all of it passes":        {[]backups.CheckReport{report(2, second), report(1, third), report(0, whole)}, nil, backups.Part{N: 1, T: 3}},
		"fails twice":             {[]backups.CheckReport{report(2, second), report(1, second)}, []backups.Part{second}, second},
		"the structure fails":     {[]backups.CheckReport{report(1, structure)}, []backups.Part{structure}, structure},
		"and any part passes":     {[]backups.CheckReport{report(1, structure), report(0, third)}, nil, backups.Part{N: 1, T: 3}},
		"a retry keeps the place": {[]backups.CheckReport{report(0, backups.Part{N: 1, T: 3}), report(1, second), report(0, second)}, nil, third},
	} {
		var h backups.Health
		for _, r := range c.reports {
			h = h.After(r)
		}
		if !slices.Equal(h.Failed, c.failed) || h.MayForget() != (len(c.failed) == 0) || h.Next(3) != c.next {
			t.Errorf("%s: %+v, next %s, want %v, %s", name, h, h.Next(3), c.failed, c.next)
		}
		var kept backups.Health
		if data, err := json.Marshal(h); err != nil || json.Unmarshal(data, &kept) != nil || !slices.Equal(kept.Failed, h.Failed) || kept.Last != h.Last {
			t.Errorf("%s: kept %+v, %v", name, kept, err)
		}
	}
}

// TestHealthKeepsWhatItWasGiven: a value that somebody else holds does not change.
func TestHealthKeepsWhatItWasGiven(t *testing.T) {
	first := backups.Health{}.After(report(1, backups.Part{N: 1, T: 3})).After(report(1, backups.Part{N: 2, T: 3}))
	before := slices.Clone(first.Failed)
	first.After(report(0, backups.Part{N: 1, T: 3}))
	first.After(report(1, backups.Part{N: 3, T: 3}))
	if !slices.Equal(first.Failed, before) {
		t.Errorf("changed to %v, was %v", first.Failed, before)
	}
}
