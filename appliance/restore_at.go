// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A snapshot is chosen by the beginning of its id, or by a time as a person reads it in
// a list: "18:00" is all of that minute, and a date all of that day.

// snapshotID is the beginning of an id; what is shorter may be anything.
var snapshotID = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// shortID is one that may be meant as an id.
var shortID = regexp.MustCompile(`^[0-9a-f]{1,3}$`)

// momentForm is a form in which a person may write a time, and how much of it is meant.
type momentForm struct {
	form  string
	whole time.Duration
}

func momentForms() []momentForm {
	return []momentForm{
		{time.RFC3339, time.Second},
		{time.DateTime, time.Second},
		{"2006-01-02T15:04:05", time.Second},
		{"2006-01-02 15:04", time.Minute},
		{"2006-01-02T15:04", time.Minute},
		{time.DateOnly, 24 * time.Hour},
	}
}

// moment reads a time; without a zone it is in UTC. What is meant ends before until.
func moment(at string) (from, until time.Time, ok bool) {
	plain := strings.TrimSpace(strings.TrimSuffix(at, "UTC"))
	for _, f := range momentForms() {
		if t, err := time.Parse(f.form, plain); err == nil {
			return t, t.Add(f.whole), true
		}
	}
	return from, until, false
}

// chosen is the one of the snapshots, as [Daemon.restorables] gives them, that a
// person means. ok is false when none fits.
func chosen(all []Restorable, at string, now time.Time) (one Restorable, ok bool, err error) {
	at = strings.TrimSpace(at)
	from, until, isMoment := moment(at)
	id := strings.ToLower(at)
	switch {
	case isMoment && from.After(now):
		return one, false, Problem("restore.future", nil, "at", at, "now", now.UTC().Format(ToTheMinute)).WithCode(ExitUsage)
	case isMoment:
		one, ok = first(all, func(s Restorable) bool { return s.Made.Before(until) })
		return one, ok, nil
	case at == "":
		one, ok = first(all, func(Restorable) bool { return true })
		return one, ok, nil
	case shortID.MatchString(id):
		return one, false, Problem("restore.short-id", nil, "at", at).WithCode(ExitUsage)
	case snapshotID.MatchString(id):
		return byID(all, id)
	default:
		return one, false, Problem("restore.form", nil, "at", at).WithCode(ExitUsage)
	}
}

func first(all []Restorable, fits func(Restorable) bool) (Restorable, bool) {
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i], true
	}
	return Restorable{}, false
}

// maxCandidates bounds how many snapshots are named that an id may mean.
const maxCandidates = 6

// byID finds the one snapshot whose id begins so.
func byID(all []Restorable, id string) (one Restorable, ok bool, err error) {
	var names []string
	for _, s := range all {
		if !strings.HasPrefix(s.Snapshot, id) {
			continue
		}
		one, ok = s, true
		names = append(names, fmt.Sprintf("%.12s (%s)", s.Snapshot, s.Made.Format(ToTheMinute)))
	}
	if len(names) > 1 {
		few := strings.Join(names[:min(len(names), maxCandidates)], ", ")
		return Restorable{}, false, Problem("restore.ambiguous", nil, "at", id, "count", len(names), "candidates", few).WithCode(ExitUsage)
	}
	return one, ok, nil
}
