// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rochdale/backups"
	"rochdale/backups/restictest"
)

// TestLife walks through a repository's life, as a box does.
func TestLife(t *testing.T) {
	t.Parallel()
	prepare(t)
	d, r := restictest.Door(t), restictest.Repository(t, "life")
	_, err := d.Identify(t.Context(), r)
	wants(t, err, "backups.no-repository")
	id, err := d.Init(t.Context(), r)
	if err != nil || id == "" {
		t.Fatal(id, err)
	}
	if again, err := d.Init(t.Context(), r); err != nil || again != id {
		t.Errorf("the second time: %s, %v, want %s", again, err, id)
	}
	at := time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC) // an hour that Paris does not have
	b := wholeBackup()
	b.Excludes, b.Time = []string{"file3"}, at
	saved := backup(t, d, r, b)
	if saved.FilesNew != 6 || saved.BytesProcessed != 2*700_001 || saved.BytesAdded < 1_400_000 || saved.Duration <= 0 {
		t.Errorf("saved %+v", saved)
	}
	list, err := d.Snapshots(t.Context(), r, "stack:delivery", "full")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	s := list[0]
	if s.ID != saved.SnapshotID || !s.Time.Equal(at) || s.Host != "box" || s.Bytes != saved.BytesProcessed || !slices.Equal(s.Paths, b.Paths) || !slices.Equal(s.Tags, b.Tags) {
		t.Errorf("listed %+v", s)
	}
	if list, err := d.Snapshots(t.Context(), r, "stack:delivery", "dump"); err != nil || len(list) > 0 {
		t.Errorf("with another tag: %v, %v", list, err)
	}
}

// TestRestore takes out all, a folder, and some of it.
func TestRestore(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	restoreIdentical(t, d, r, ready.second, source())
	a := filepath.Join(source(), "a")
	restoreIdentical(t, d, r, ready.first, a)
	target := filepath.Join(t.TempDir(), "out")
	got, err := d.Restore(t.Context(), r, backups.Restore{Snapshot: ready.second[:8], Target: target, Include: []string{a}})
	if err != nil || got.Bytes != 1_600_001 || got.Files < 5 || got.Duration <= 0 {
		t.Errorf("restored %+v, %v", got, err)
	}
	same(t, filepath.Join(target, a), a)
	if list := tree(t, filepath.Join(target, source())); list["b"] != "" {
		t.Error("b was restored too")
	}
	for _, id := range []string{"0123456789abcdef", strings.Repeat("0", 64)} {
		_, err = d.Restore(t.Context(), r, backups.Restore{Snapshot: id, Target: target})
		wants(t, err, "backups.not-in-snapshot")
	}
}

// TestForget keeps by age and by number, group by group, and gives the bytes back.
func TestForget(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	small := filepath.Join(source(), "a", "file1")
	now := time.Now().UTC().Truncate(24 * time.Hour).Add(-time.Minute)
	ids := map[time.Duration]string{}
	for _, age := range []time.Duration{0, 10 * time.Minute, 2 * time.Hour, 50 * time.Hour, 51 * time.Hour, 24 * 40 * time.Hour} {
		ids[age] = backup(t, d, r, backups.Backup{Paths: []string{small}, Tags: []string{"dump"}, Time: now.Add(-age)}).SnapshotID
	}
	k := backups.Retention{Hourly: 24 * time.Hour, Daily: 30 * 24 * time.Hour, Last: 1}
	f, err := d.Forget(t.Context(), r, k, "dump")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{ids[10*time.Minute], ids[51*time.Hour], ids[24*40*time.Hour]}
	slices.Sort(f.Removed)
	slices.Sort(want)
	if !slices.Equal(f.Removed, want) || f.Kept != 3 {
		t.Errorf("forgot %v of %v, kept %d", f.Removed, ids, f.Kept)
	}
	f, err = d.Forget(t.Context(), r, backups.Retention{Last: 1}, "stack:delivery")
	if err != nil || !slices.Equal(f.Removed, []string{ready.first}) {
		t.Errorf("forgot %+v, %v", f, err)
	}
	if f, err := d.Forget(t.Context(), r, backups.Retention{Last: 1}, "nobody"); err != nil || f.Kept != 0 || len(f.Removed) != 0 {
		t.Errorf("without snapshots: %+v, %v", f, err)
	}
	pruneGivesBack(t, d, r)
}

// TestForgetCountsEachSetOfTagsApart: however many snapshots without something come
// later, the last ones with it stay.
func TestForgetCountsEachSetOfTagsApart(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	small := filepath.Join(source(), "a", "file1")
	now := time.Now().UTC().Truncate(24 * time.Hour).Add(-time.Minute)
	made := func(days int, tags ...string) string {
		return backup(t, d, r, backups.Backup{Paths: []string{small}, Tags: tags, Time: now.Add(-time.Duration(days) * 24 * time.Hour)}).SnapshotID
	}
	old, last := made(403, "kind"), made(400, "kind")
	for days := range 3 {
		made(days, "kind", "without:rides")
	}
	f, err := d.Forget(t.Context(), r, backups.Retention{Daily: 2 * 24 * time.Hour, Last: 1}, "kind")
	if err != nil || slices.Contains(f.Removed, last) || !slices.Contains(f.Removed, old) {
		t.Errorf("forgot %v; %s should go and %s should stay; %v", f.Removed, old, last, err)
	}
}

func pruneGivesBack(t *testing.T, d *backups.Door, r backups.Repository) {
	t.Helper()
	if _, err := d.Forget(t.Context(), r, backups.Retention{Last: 1}, "dump"); err != nil {
		t.Fatal(err)
	}
	before := sizeOf(t, r.URL)
	if err := d.Prune(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := sizeOf(t, r.URL); after >= before {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	restoreIdentical(t, d, r, ready.second, source())
}

// TestFutureStays: snapshots that a wrong clock made neither make the others old nor
// go by themselves, and the others are forgotten as ever.
func TestFutureStays(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	small := filepath.Join(source(), "a", "file1")
	now := time.Now().UTC().Truncate(24 * time.Hour).Add(-time.Minute)
	made := func(at time.Time) string {
		return backup(t, d, r, backups.Backup{Paths: []string{small}, Tags: []string{"dump"}, Time: at}).SnapshotID
	}
	years := now.Add(10 * 365 * 24 * time.Hour)
	stay := []string{made(years), made(years.Add(time.Minute)), made(now), made(now.Add(-50 * time.Hour)), made(now.Add(-80 * time.Hour))}
	gone := []string{made(now.Add(-50*time.Hour - time.Minute)), made(now.Add(-24 * 40 * time.Hour))}
	k := backups.Retention{Daily: 30 * 24 * time.Hour, Last: 1}
	f, err := d.Forget(t.Context(), r, k, "dump")
	if err != nil || f.Kept != len(stay) {
		t.Fatalf("%+v, %v", f, err)
	}
	slices.Sort(gone)
	slices.Sort(f.Removed)
	if !slices.Equal(f.Removed, gone) {
		t.Errorf("forgot %v, want %v", f.Removed, gone)
	}
	p := wants(t, f.Ahead, "backups.future-snapshot")
	args := strings.Fields(p.Args["command"])
	if !slices.Equal(args[3:], []string{"forget", stay[1][:8], stay[0][:8]}) {
		t.Errorf("args %v", p.Args)
	}
	if out, err := exec.Command("/bin/sh", "-c", p.Args["command"]).CombinedOutput(); err != nil {
		t.Errorf("%s: %s", err, out)
	}
	if f, err = d.Forget(t.Context(), r, k, "dump"); err != nil || f.Ahead != nil || f.Kept != len(stay)-2 {
		t.Errorf("when they are removed: %+v, %v", f, err)
	}
}

// TestIncomplete names what could not be saved, and makes no success of it.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	b := wholeBackup()
	b.Paths = append(b.Paths, "/no/such/place")
	saved, err := d.Backup(t.Context(), r, b)
	p := wants(t, err, "backups.incomplete")
	if p.Args["count"] != "1" || p.Args["sources"] != "/no/such/place" || saved.SnapshotID != "" {
		t.Errorf("args %v, saved %+v", p.Args, saved)
	}
	if all, err := d.Snapshots(t.Context(), r, backups.Incomplete); err != nil || len(all) != 1 || len(all[0].Tags) != 1 {
		t.Errorf("set aside: %+v, %v", all, err)
	}
	b.Paths = b.Paths[1:]
	saved, err = d.Backup(t.Context(), r, b)
	wants(t, err, "backups.nothing-to-save")
	if saved.SnapshotID != "" {
		t.Errorf("saved %+v", saved)
	}
}

// TestWordsThatAreRefused never reach restic.
func TestWordsThatAreRefused(t *testing.T) {
	t.Parallel()
	d, r := &backups.Door{}, restictest.Repository(t, "words")
	paths := []string{"/srv"}
	for name, b := range map[string]backups.Backup{
		"no paths":             {},
		"a relative path":      {Paths: []string{"srv"}},
		"an option as a path":  {Paths: []string{"--stdin"}},
		"two tags in one":      {Paths: paths, Tags: []string{"a,b"}},
		"an empty tag":         {Paths: paths, Tags: []string{""}},
		"a line as a hostname": {Paths: paths, Host: "a\nb"},
	} {
		if _, err := d.Backup(t.Context(), r, b); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, w := range map[string]backups.Restore{
		"no snapshot":       {Target: "/tmp/x"},
		"latest":            {Snapshot: "latest", Target: "/tmp/x"},
		"an option":         {Snapshot: "--target=/", Target: "/tmp/x"},
		"onto everything":   {Snapshot: "01234567", Target: "/"},
		"a relative target": {Snapshot: "01234567", Target: "x"},
	} {
		if _, err := d.Restore(t.Context(), r, w); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for name, k := range map[string]backups.Retention{"nothing": {}, "no last": {Daily: 48 * time.Hour}, "negative": {Last: 1, Daily: -time.Hour}, "minutes": {Last: 1, Hourly: time.Minute}} {
		if _, err := d.Forget(t.Context(), r, k); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, p := range []backups.Part{{N: 0, T: 3}, {N: 4, T: 3}, {N: 1, T: 300}, {N: 1}} {
		if _, err := d.Check(t.Context(), r, p); err == nil {
			t.Errorf("part %s was accepted", p)
		}
	}
}
