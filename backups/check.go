// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Check holds the structure of the repository against itself, and reads all
// bytes of part p, none for the zero Part. When it finds errors the report says
// which, and the error is backups.repository-damaged; with any other error the
// check was not made, and the report says nothing.
func (d *Door) Check(ctx context.Context, r Repository, p Part) (CheckReport, error) {
	args := []string{"check"}
	if p != (Part{}) {
		if p.N < 1 || p.N > p.T || p.T > maxParts {
			return CheckReport{}, r.failed(fmt.Errorf("there is no part %s", p))
		}
		args = append(args, "--read-data-subset="+p.String())
	}
	o, err := d.run(ctx, r, args...)
	if err != nil && !o.foundDamage() {
		return CheckReport{}, err
	}
	report, known := o.report()
	report.Part = p
	switch {
	case !known:
		return CheckReport{}, r.unclear(nil)
	case report.Errors > 0 || err != nil:
		report.Errors = max(report.Errors, 1)
		return report, r.problem("backups.repository-damaged", o.cause(), "count", strconv.FormatInt(report.Errors, 10))
	default:
		return report, nil
	}
}

// foundDamage tells errors in the repository from a check that could not be
// made: restic counts a lost connection, or a lock in the way, as an error too.
func (o output) foundDamage() bool {
	if o.Code != codeFailed || !strings.Contains(o.exit, "repository contains errors") {
		return false
	}
	lost := false
	for _, e := range o.errors {
		network := hasAny(e.message, signsOfNetwork())
		if !network && !isAdvice(e.message) {
			return true
		}
		lost = lost || network
	}
	report, _ := o.report()
	return !lost || len(report.BrokenPacks) > 0
}

// isAdvice is what restic says after it has named the errors.
func isAdvice(message string) bool {
	return hasAny(message, []string{
		"The repository contains damaged pack files", "The repository is damaged", "The repository index is damaged",
		"restic repair packs", "Damaged pack files can be caused",
	})
}

func (o output) report() (report CheckReport, ok bool) {
	var s struct {
		Errors int64    `json:"num_errors"`
		Packs  []string `json:"broken_packs"`
		Index  bool     `json:"suggest_repair_index"`
		Prune  bool     `json:"suggest_prune"`
	}
	if json.Unmarshal(o.summary, &s) != nil {
		return report, false
	}
	report = CheckReport{Errors: s.Errors, BrokenPacks: s.Packs, SuggestRepairIndex: s.Index, SuggestPrune: s.Prune}
	const most = 10
	for _, e := range o.errors {
		if len(report.Details) < most && !isAdvice(e.message) {
			report.Details = append(report.Details, short(e.message, 300))
		}
	}
	return report, true
}
