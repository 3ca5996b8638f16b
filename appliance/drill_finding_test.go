// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"testing"
	"time"
)

func TestDrillFinding(t *testing.T) {
	now := time.Now()
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	run := func(days int, ok bool, stack string) BackupRun {
		r := BackupRun{Repository: "box", Ended: ago(days), OK: ok, Drill: &Drill{Stack: stack}}
		if !ok {
			r.Error = &Message{ID: "drill.fact"}
		}
		return r
	}
	away := func(days int) BackupRun {
		r := run(days, false, "delivery")
		r.Error = &Message{ID: "backup.gone"}
		return r
	}
	elsewhere := func(r BackupRun) BackupRun {
		r.Repository = "offsite"
		return r
	}
	for name, c := range map[string]struct {
		began int // days ago
		runs  []BackupRun
		want  string
	}{
		"the first days":                           {began: 2},
		"never drilled":                            {began: 9, want: "drill.overdue"},
		"last night":                               {began: 9, runs: []BackupRun{run(1, true, "delivery")}},
		"only another stack":                       {began: 9, runs: []BackupRun{run(1, true, "care")}, want: "drill.overdue"},
		"long ago":                                 {began: 9, runs: []BackupRun{run(5, true, "delivery")}, want: "drill.overdue"},
		"the newest failed":                        {began: 9, runs: []BackupRun{run(0, false, "delivery"), run(1, true, "delivery")}, want: "drill.failed"},
		"one failed and the next one not":          {began: 9, runs: []BackupRun{run(0, true, "delivery"), run(1, false, "delivery")}},
		"a failure does not make it overdue":       {began: 9, runs: []BackupRun{run(1, false, "delivery"), run(5, true, "delivery")}, want: "drill.failed"},
		"out of reach, and the one before failed":  {began: 9, runs: []BackupRun{away(0), run(1, false, "delivery"), run(2, true, "delivery")}, want: "drill.failed"},
		"out of reach, and the one before did not": {began: 9, runs: []BackupRun{away(0), run(1, true, "delivery")}},
		"out of reach for days":                    {began: 9, runs: []BackupRun{away(0), away(1), run(5, true, "delivery")}, want: "drill.overdue"},
		"proven here, and failed elsewhere":        {began: 9, runs: []BackupRun{run(0, true, "delivery"), elsewhere(run(20, false, "delivery"))}, want: "drill.failed"},
		"proven elsewhere alone":                   {began: 9, runs: []BackupRun{elsewhere(run(1, true, "delivery"))}},
		"another stack's is not this one's":        {began: 2, runs: []BackupRun{run(0, false, "care")}},
	} {
		f := drillFinding(Release{Stack: "delivery", Committed: ago(c.began)}, c.runs)
		var got string
		if len(f) > 0 {
			got = f[0].ID
		}
		if failed := got == "drill.failed"; failed != (len(f) == 2) || failed && (f[1].ID != "drill.fact" || f[0].Args["detail"] != "") {
			t.Errorf("%s: the reason does not stand beside it: %v", name, f)
		}
		if got != c.want {
			t.Errorf("%s: %q is told, want %q", name, got, c.want)
		}
	}
}
