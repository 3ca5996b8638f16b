// SPDX-License-Identifier: AGPL-3.0-or-later

package state_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"rochdale/appliance"
)

func TestChangesAreKept(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	began := time.UnixMilli(1_700_000_000_000).UTC()
	c := appliance.Change{ID: "01A", Stack: "delivery", Kind: appliance.KindUpdate, From: release(1), To: release(2), Began: began}
	if err := db.KeepChange(ctx, c); err != nil {
		t.Fatal(err)
	}
	c.Outcome, c.Ended, c.Facts = appliance.PutBack, began.Add(time.Second), map[string]int64{"orders": 12}
	c.Reason, c.Log = &appliance.Message{ID: "update.fact", Args: map[string]string{"fact": "orders"}}, strings.Repeat("x", 10_000)
	if err := db.KeepChange(ctx, c); err != nil {
		t.Fatal(err)
	}
	got, ok, err := db.Change(ctx, "01A")
	if err != nil || !ok || len(got.Log) > 5000 {
		t.Fatal(len(got.Log), ok, err)
	}
	got.Log = c.Log
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v, want %+v", got, c)
	}
	if _, ok, err := db.Change(ctx, "01B"); ok || err != nil {
		t.Error(ok, err)
	}
	if err := db.KeepChange(ctx, appliance.Change{ID: "01C"}); err == nil {
		t.Error("an incomplete change was taken")
	}
}

func TestChangesAreBoundedByStack(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	keep := func(stack string, n int) {
		t.Helper()
		c := appliance.Change{ID: fmt.Sprintf("%s-%05d", stack, n), Stack: stack, Began: time.UnixMilli(int64(n) + 1)}
		if err := db.KeepChange(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	keep("other", 1)
	for n := range appliance.KeptChanges + 3 {
		keep("delivery", n)
	}
	all, err := db.Changes(ctx, "delivery", 1000)
	if err != nil || len(all) != appliance.KeptChanges || all[0].ID != fmt.Sprintf("delivery-%05d", appliance.KeptChanges+2) {
		t.Fatalf("%d changes, %v", len(all), err)
	}
	if all, err = db.Changes(ctx, "", 1000); err != nil || len(all) != appliance.KeptChanges+1 {
		t.Fatalf("%d changes of all stacks, %v", len(all), err)
	}
	if all, err = db.Changes(ctx, "delivery", 2); err != nil || len(all) != 2 {
		t.Fatalf("%d changes, %v", len(all), err)
	}
}

func TestBackupRunsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, ctx := open(t, path), t.Context()
	for n := range appliance.KeptRuns + 2 {
		// The newest is the one that was kept last, whatever its id.
		r := appliance.BackupRun{ID: fmt.Sprintf("%05d", 9999-n), Repository: "box", Kind: appliance.BackupDump, Bytes: int64(n)}
		if err := db.KeepRun(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.KeepRun(ctx, appliance.BackupRun{ID: "x", Repository: "offsite", Kind: appliance.BackupFull, OK: true}); err != nil {
		t.Fatal(err)
	}
	if err := db.KeepRun(ctx, appliance.BackupRun{ID: "y"}); err == nil {
		t.Error("an incomplete run was taken")
	}
	for _, c := range []struct {
		repository string
		kind       appliance.BackupKind
		want       int
	}{{"box", appliance.BackupDump, appliance.KeptRuns}, {"", "", appliance.KeptRuns + 1}, {"offsite", "", 1}, {"", appliance.BackupCheck, 0}} {
		if got, err := db.Runs(ctx, c.repository, c.kind, 10_000); err != nil || len(got) != c.want {
			t.Errorf("%s %s: %d runs, %v", c.repository, c.kind, len(got), err)
		}
	}
	if got, err := db.Runs(ctx, "box", appliance.BackupDump, 1); err != nil || got[0].Bytes != appliance.KeptRuns+1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestLastGoodRunIsKept: that a repository had a snapshot is known however long it
// fails afterwards.
func TestLastGoodRunIsKept(t *testing.T) {
	db, ctx := open(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	for n := range appliance.KeptRuns + 5 {
		r := appliance.BackupRun{ID: fmt.Sprintf("%05d", n), Repository: "disk", Kind: appliance.BackupDump, OK: n < 2}
		if err := db.KeepRun(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := db.Runs(ctx, "disk", appliance.BackupDump, appliance.KeptRuns+1)
	if err != nil || len(all) != appliance.KeptRuns+1 || !all[appliance.KeptRuns].OK || all[appliance.KeptRuns].ID != "00001" {
		t.Errorf("%d runs, %v", len(all), err)
	}
}

func TestCopyTo(t *testing.T) {
	dir := t.TempDir()
	db, ctx := open(t, filepath.Join(dir, "state.db")), t.Context()
	if err := db.Commit(ctx, release(1)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "copy.db")
	if err := db.CopyTo(ctx, path); err != nil {
		t.Fatal(err)
	}
	if r, ok, err := open(t, path).Release(ctx, "delivery"); !ok || err != nil || r != release(1) {
		t.Errorf("the copy has %+v, %v", r, err)
	}
	if err := db.CopyTo(ctx, path); err == nil {
		t.Error("a file that was there is written over")
	}
}
