// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// listed is a snapshot as restic lists it.
type listed struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Tree     string    `json:"tree"`
	Hostname string    `json:"hostname"`
	Tags     []string  `json:"tags"`
	Paths    []string  `json:"paths"`
	Original string    `json:"original"` // the id that it had before its tags were changed
	Summary  struct {
		Bytes int64 `json:"total_bytes_processed"`
	} `json:"summary"`
}

// Snapshots lists what has all of these tags, the newest first. A snapshot
// whose own file is damaged is not among them; a check finds it. Nor is one that has
// an [Incomplete] copy: where nothing may be deleted, or the marking was interrupted,
// it is still there with the tags of a good one. It waits for nobody's lock.
func (d *Door) Snapshots(ctx context.Context, r Repository, tags ...string) ([]Snapshot, error) {
	list, _, err := d.snapshots(ctx, r, tags)
	return list, err
}

// snapshots also gives the ids of those that an incomplete copy stands for.
func (d *Door) snapshots(ctx context.Context, r Repository, tags []string) (list []Snapshot, replaced []string, err error) {
	args := append([]string{"snapshots", "--no-lock"}, only(tags)...)
	if len(tags) > 0 {
		args = append(args, only([]string{Incomplete})...) // these as well
	}
	o, err := d.run(ctx, r, args...)
	if err != nil {
		return nil, nil, err
	}
	var all []listed
	if err := json.Unmarshal(o.Stdout, &all); err != nil {
		return nil, nil, r.unclear(err)
	}
	copies := map[string][]listed{} // the incomplete ones, by the first id
	for _, s := range all {
		if s.Original != "" && s.has([]string{Incomplete}) {
			copies[s.Original] = append(copies[s.Original], s)
		}
	}
	for _, s := range all {
		switch {
		case !s.has(tags):
		case slices.ContainsFunc(copies[s.ID], s.sameAs):
			replaced = append(replaced, s.ID)
		default:
			list = append(list, Snapshot{ID: s.ID, Time: s.Time.UTC(), Host: s.Hostname, Tags: s.Tags, Paths: s.Paths, Bytes: s.Summary.Bytes})
		}
	}
	slices.SortStableFunc(list, func(a, b Snapshot) int { return b.Time.Compare(a.Time) })
	return list, replaced, nil
}

// has tells whether a snapshot has all of these tags.
func (s listed) has(tags []string) bool {
	return !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}

// sameAs tells whether another snapshot is this one under other tags. That it names this
// one's id is not enough: whoever may add to a repository can write so, and what has an
// incomplete copy is forgotten.
func (s listed) sameAs(other listed) bool {
	return s.Tree == other.Tree && s.Time.Equal(other.Time) && s.Hostname == other.Hostname && slices.Equal(s.Paths, other.Paths)
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
// Snapshots from the future stay, whatever k says, until a person removes them: the
// answer tells how. restic counts the ages of the others back from the newest one that
// is not from the future, but its number of the last ones counts all.
func (d *Door) Forget(ctx context.Context, r Repository, k Retention, tags ...string) (Forgotten, error) {
	if err := k.validate(); err != nil {
		return Forgotten{}, r.failed(err)
	}
	list, replaced, err := d.snapshots(ctx, r, tags)
	if err != nil {
		return Forgotten{}, err
	}
	if len(replaced) > 0 { // restic would count them, in place of good ones
		if _, err := d.run(ctx, r, append([]string{"forget", "--"}, replaced...)...); err != nil {
			return Forgotten{}, r.problem("backups.not-forgotten", err)
		}
	}
	ahead := slices.DeleteFunc(list, func(s Snapshot) bool { return !FromFuture(s.Time) })
	k.Last += len(ahead)
	args := append([]string{"forget", "--group-by=tags"}, k.args()...)
	o, err := d.run(ctx, r, append(args, only(tags)...)...)
	if o.Code == codeIncomplete {
		return Forgotten{}, r.problem("backups.not-forgotten", o.cause())
	}
	if err != nil {
		return Forgotten{}, err
	}
	f, err := r.forgotten(o)
	if len(ahead) > 0 {
		f.Ahead = d.tellAhead(r, ahead)
	}
	return f, err
}

// future is how far a clock may be wrong.
const future = 24 * time.Hour

// FromFuture tells whether a snapshot's time can not be true: this machine's clock is
// wrong, or was when it was made.
func FromFuture(t time.Time) bool { return time.Until(t) > future }

// tellAhead says how a person removes snapshots from the future.
func (d *Door) tellAhead(r Repository, ahead []Snapshot) *Problem {
	var ids []string
	for _, s := range ahead {
		ids = append(ids, s.ID[:8])
	}
	return r.problem("backups.future-snapshot", errors.New("a snapshot from the future"),
		"snapshot", few(ids), "time", ahead[0].Time.Format(time.DateTime), "command", d.byHand(r, "forget "+strings.Join(ids[:min(len(ids), 20)], " ")))
}

// inAddress is a password in the address of a repository.
var inAddress = regexp.MustCompile(`(//[^/:@]*):[^/@]*@`)

// byHand is a command of restic's as root types it on this machine. It is shown and kept,
// so what may be a password, in the address or in an option, is left to whoever types.
func (d *Door) byHand(r Repository, command string) string {
	words := []string{d.Program, "--repo=" + quoted(inAddress.ReplaceAllString(r.URL, "$1:...@")), "--password-file=" + r.PasswordFile}
	if r.EnvFile != "" {
		words = append([]string{"env $(cat " + r.EnvFile + ")"}, words...)
	}
	for _, o := range r.Options {
		name, _, _ := strings.Cut(o, "=")
		words = append(words, "--option="+quoted(name+"=..."))
	}
	return strings.Join(append(words, command), " ")
}

// quoted is a word as a shell takes it for one.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

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

func (k Retention) validate() error {
	if k.Last < 1 {
		return fmt.Errorf("the last %d snapshots are to be kept: at least 1", k.Last)
	}
	for _, rule := range k.ages() {
		if rule.time != 0 && rule.time < time.Hour {
			return fmt.Errorf("%s snapshots are to be kept for %s: less than an hour", rule.name, rule.time)
		}
	}
	return nil
}

func (k Retention) args() []string {
	args := []string{"--keep-last=" + strconv.Itoa(k.Last)}
	for _, rule := range k.ages() {
		if rule.time > 0 {
			args = append(args, fmt.Sprintf("--keep-within-%s=%dh", rule.name, int(rule.time.Hours())))
		}
	}
	return args
}

type ageRule struct {
	name string
	time time.Duration
}

func (k Retention) ages() []ageRule {
	return []ageRule{{"hourly", k.Hourly}, {"daily", k.Daily}, {"weekly", k.Weekly}, {"monthly", k.Monthly}}
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
