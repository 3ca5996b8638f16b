// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listed is a snapshot as restic lists it.
type listed struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Hostname string    `json:"hostname"`
	Tags     []string  `json:"tags"`
	Paths    []string  `json:"paths"`
	Summary  struct {
		Bytes int64 `json:"total_bytes_processed"`
	} `json:"summary"`
}

// Snapshots lists what has all of these tags, the newest first. A snapshot
// whose own file is damaged is not among them; a check finds it. It waits for
// nobody's lock.
func (d *Door) Snapshots(ctx context.Context, r Repository, tags ...string) ([]Snapshot, error) {
	o, err := d.run(ctx, r, append([]string{"snapshots", "--no-lock"}, only(tags)...)...)
	if err != nil {
		return nil, err
	}
	var all []listed
	if err := json.Unmarshal(o.Stdout, &all); err != nil {
		return nil, r.unclear(err)
	}
	var list []Snapshot
	for _, s := range all {
		list = append(list, Snapshot{ID: s.ID, Time: s.Time.UTC(), Host: s.Hostname, Tags: s.Tags, Paths: s.Paths, Bytes: s.Summary.Bytes})
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int { return b.Time.Compare(a.Time) })
	return list, nil
}

// only selects what has all of these tags.
func only(tags []string) []string {
	if len(tags) == 0 {
		return nil
	}
	return []string{"--tag=" + strings.Join(tags, ",")}
}

// Forget drops the snapshots that have all of these tags and that k does not
// keep; those with the same set of tags are counted together. Their bytes stay
// until [Door.Prune]. Whoever calls it has asked [Health.MayForget].
//
// The rules count back from the newest snapshot. One from the future would make
// all others old, so nothing is forgotten while there is one.
func (d *Door) Forget(ctx context.Context, r Repository, k Retention, tags ...string) (Forgotten, error) {
	rules, err := k.args()
	if err != nil {
		return Forgotten{}, r.failed(err)
	}
	if err := d.refuseFuture(ctx, r, tags); err != nil {
		return Forgotten{}, err
	}
	args := append([]string{"forget", "--group-by=tags"}, rules...)
	o, err := d.run(ctx, r, append(args, only(tags)...)...)
	if o.Code == codeIncomplete {
		return Forgotten{}, r.problem("backups.not-forgotten", o.cause())
	}
	if err != nil {
		return Forgotten{}, err
	}
	return r.forgotten(o)
}

// future is how far a clock may be wrong.
const future = 24 * time.Hour

func (d *Door) refuseFuture(ctx context.Context, r Repository, tags []string) error {
	list, err := d.Snapshots(ctx, r, tags...)
	if err != nil || len(list) == 0 || time.Until(list[0].Time) < future {
		return err
	}
	return r.problem("backups.future-snapshot", errors.New("a snapshot from the future"),
		"snapshot", list[0].ID[:8], "time", list[0].Time.Format(time.DateTime))
}

func (r Repository) forgotten(o output) (f Forgotten, err error) {
	if len(strings.TrimSpace(string(o.Stdout))) == 0 {
		return f, nil // there are no such snapshots
	}
	var groups []struct {
		Keep   []listed `json:"keep"`
		Remove []listed `json:"remove"`
	}
	if err := json.Unmarshal(o.Stdout, &groups); err != nil {
		return f, r.unclear(err)
	}
	for _, g := range groups {
		f.Kept += len(g.Keep)
		for _, s := range g.Remove {
			f.Removed = append(f.Removed, s.ID)
		}
	}
	return f, nil
}

func (k Retention) args() ([]string, error) {
	if k.Last < 1 {
		return nil, fmt.Errorf("the last %d snapshots are to be kept: at least 1", k.Last)
	}
	args := []string{"--keep-last=" + strconv.Itoa(k.Last)}
	for _, rule := range []struct {
		name string
		time time.Duration
	}{{"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}} {
		if rule.time != 0 && rule.time < time.Hour {
			return nil, fmt.Errorf("%s snapshots are to be kept for %s: less than an hour", rule.name, rule.time)
		}
		if rule.time > 0 {
			args = append(args, fmt.Sprintf("--keep-within-%s=%dh", rule.name, int(rule.time.Hours())))
		}
	}
	return args, nil
}

// Prune gives back the bytes that no snapshot needs. Whoever calls it has asked
// [Health.MayForget].
func (d *Door) Prune(ctx context.Context, r Repository) error {
	c := d.call(r, "prune")
	// Its memory grows with the repository; time is what there is at night.
	c.Env = append(c.Env, "GOGC=20")
	_, err := d.runCall(ctx, r, c)
	return err
}

// Stats tells how large the repository is.
func (d *Door) Stats(ctx context.Context, r Repository) (Size, error) {
	o, err := d.run(ctx, r, "stats", "--mode=raw-data")
	if err != nil {
		return Size{}, err
	}
	var s struct {
		Bytes     *int64 `json:"total_size"`
		Plain     int64  `json:"total_uncompressed_size"`
		Snapshots int64  `json:"snapshots_count"`
	}
	if err := json.Unmarshal(o.Stdout, &s); err != nil || s.Bytes == nil {
		return Size{}, r.unclear(err)
	}
	return Size{Bytes: *s.Bytes, Plain: s.Plain, Snapshots: s.Snapshots}, nil
}
