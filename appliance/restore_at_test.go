// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"strings"
	"testing"
	"time"
)

// TestChosen: --at takes what a person means who reads the list of snapshots.
func TestChosen(t *testing.T) {
	now := time.Date(2026, 11, 28, 23, 0, 0, 0, time.UTC)
	at := func(day, hour, minute, second int) time.Time {
		return time.Date(2026, 11, day, hour, minute, second, 5, time.UTC)
	}
	snapshot := func(id string, made time.Time) Restorable {
		return Restorable{Snapshot: id + strings.Repeat("0", 64-len(id)), Made: made}
	}
	all := []Restorable{
		snapshot("abcd11", at(28, 22, 39, 41)), snapshot("abcd22", at(28, 22, 33, 7)), snapshot("20261128", at(27, 23, 59, 59)), snapshot("1f2e", at(26, 8, 0, 0)),
	}
	for in, want := range map[string]string{
		"": "abcd11", "2026-11-28 22:39": "abcd11", "2026-11-28 22:39 UTC": "abcd11", "2026-11-28T22:39": "abcd11", "2026-11-28 22:38": "abcd22",
		"2026-11-28 22:39:41": "abcd11", "2026-11-28 22:39:40 UTC": "abcd22", "2026-11-28T22:39:41Z": "abcd11", "2026-11-28T23:39:40+01:00": "abcd22",
		"2026-11-28": "abcd11", "2026-11-27": "20261128", "2026-11-26 UTC": "1f2e", " 2026-11-27 ": "20261128",
		"abcd1": "abcd11", "ABCD2": "abcd22", "1f2e": "1f2e", "2026": "20261128",
	} {
		one, ok, err := chosen(all, in, now)
		if err != nil || !ok || !strings.HasPrefix(one.Snapshot, want) {
			t.Errorf("%q takes %.8s, %v, %v; want %s", in, one.Snapshot, ok, err, want)
		}
	}
	for in, want := range map[string]string{
		"abcd": "restore.ambiguous", "1": "restore.short-id", "abc": "restore.short-id",
		"22:39": "restore.form", "yesterday": "restore.form", "28.11.2026 22:37": "restore.form", "2026-11-28 25:99": "restore.form", "latest": "restore.form", "UTC": "restore.form",
		"2026-11-28 23:01": "restore.future", "2027-01-01": "restore.future", "2026-11-29T00:30:00+01:00": "restore.future",
	} {
		if _, _, err := chosen(all, in, now); !IsProblem(err, want) || ExitCode(err) != ExitUsage {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	for _, in := range []string{"2026-11-25", "ffff"} {
		if one, ok, err := chosen(all, in, now); ok || err != nil {
			t.Errorf("%q: %+v, %v", in, one, err)
		}
	}
	_, _, err := chosen(all, "abcd", now)
	if m := MessageOf(err); m.Args["count"] != "2" || !strings.Contains(m.Args["candidates"], "abcd11000000 (2026-11-28 22:39 UTC), abcd22") {
		t.Errorf("candidates %v", m.Args)
	}
}
