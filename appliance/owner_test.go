// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
	"rochdale/appliance/host"
	"rochdale/backups"
)

func ownerBeside(t *testing.T, b *bench, repository string) appliance.Owner {
	t.Helper()
	var o appliance.Owner
	if err := json.Unmarshal([]byte(b.shelf.get(repository+"/"+appliance.OwnerName)), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

const stranger = `{"schema":1,"box":"another","epoch":2,"since":"2026-11-20T08:00:00Z"}`

// TestOwner: a repository belongs to the machine that made it, and says so.
func TestOwnerIsWhoSavesThere(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		for range 2 {
			if err := backup(d, appliance.BackupFull); err != nil {
				t.Fatal(err)
			}
		}
		if names := b.shelf.names(); !slices.Equal(names, []string{"box/rochdale-owner.json", "offsite/rochdale-owner.json"}) || b.shelf.puts != 2 {
			t.Errorf("%v after %d writes", names, b.shelf.puts)
		}
		mine, err := appliance.ThisBox(b.paths, host.NewFiles())
		if o := ownerBeside(t, b, "offsite"); err != nil || o != mine || o.Epoch != 1 || o.Box == "" {
			t.Errorf("%+v, %+v, %v", o, mine, err)
		}
		if info, err := os.Stat(b.paths.Owner()); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info, err)
		}
	})
}

// TestReplaced: whoever was replaced writes no more, in no way, and can still read.
func TestReplacedMachineWritesNoMore(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		b.shelf.set("offsite/"+appliance.OwnerName, stranger)
		mark := len(b.vault.heard(0))
		err := d.Backup(t.Context(), appliance.BackupFull, "offsite", nil)
		var e *appliance.Error
		if !errors.As(err, &e) || e.ID != "backup.replaced" || e.Args["date"] != "2026-11-20" {
			t.Fatal(err)
		}
		if err := d.Upkeep(t.Context(), appliance.BackupPrune, nil); !appliance.IsProblem(err, "backup.replaced") {
			t.Error(err)
		}
		b.vault.bad = 1
		if err := d.Upkeep(t.Context(), appliance.BackupCheck, nil); err == nil {
			t.Error("a damage is not told")
		}
		for _, heard := range b.vault.heard(mark) {
			verb, _, _ := strings.Cut(heard, " ")
			if strings.HasSuffix(heard, "offsite") && !slices.Contains([]string{"init", "identify", "check", "list", "restore"}, verb) {
				t.Errorf("the repository was written to: %s", heard)
			}
		}
		if b.shelf.get("offsite/"+appliance.OwnerName) != stranger {
			t.Error("the owner was replaced")
		}
		if !slices.Contains(b.findings(), "failure backup.replaced") {
			t.Errorf("findings %v", b.findings())
		}
		if all, err := d.Snapshots(t.Context(), "offsite"); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		b.data.set(2, map[string]int64{"orders": 12})
		if _, err := d.Restore(t.Context(), appliance.RestoreRequest{Stack: "delivery", Repository: "offsite"}, nil); err != nil {
			t.Error("it may not read any more:", err)
		}
	})
}

// TestOwners are met by a machine of epoch 1.
func TestOwnersThatAreMet(t *testing.T) {
	for name, c := range map[string]struct {
		there string
		down  error
		want  string // problem; empty: it is saved
		kept  bool   // the file stays as it is
	}{
		"nobody":                {},
		"damaged":               {there: "{"},
		"no place for files":    {down: &backups.Problem{ID: "kit.shelf-none"}, kept: true},
		"unreachable":           {down: &backups.Problem{ID: "kit.shelf-unreachable"}, want: "kit.shelf-unreachable", kept: true},
		"a later one":           {there: stranger, want: "backup.replaced", kept: true},
		"one of the same epoch": {there: strings.Replace(stranger, `"epoch":2`, `"epoch":1`, 1), want: "backup.owned", kept: true},
		"of a newer program":    {there: strings.Replace(stranger, `"schema":1`, `"schema":2`, 1), want: "backup.owner-newer", kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if c.there != "" {
					b.shelf.set("box/"+appliance.OwnerName, c.there)
				}
				b.shelf.fail("box", c.down)
				err := backup(d, appliance.BackupDump)
				if c.want == "" && err != nil || c.want != "" && !appliance.IsProblem(err, c.want) {
					t.Error(err)
				}
				if now := b.shelf.get("box/" + appliance.OwnerName); (now == c.there) != c.kept {
					t.Errorf("the owner is now %s", now)
				}
				if saved := b.vault.count("box"); (saved == 1) != (c.want == "") {
					t.Errorf("%d snapshots", saved)
				}
			})
		})
	}
}

// TestTakeOver raises the epoch above all that is known, once.
func TestTakeOver(t *testing.T) {
	b := newBench(t)
	all := []backups.Repository{{Name: "offsite"}, {Name: "second"}, {Name: "gone"}, {Name: "rest"}}
	b.shelf.set("offsite/"+appliance.OwnerName, stranger)
	b.shelf.fail("gone", &backups.Problem{ID: "kit.shelf-unreachable"})
	b.shelf.fail("rest", &backups.Problem{ID: "kit.shelf-none"})
	var first appliance.Owner
	for range 3 { // it is run again after a kill
		mine, missed, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, all, 1)
		if err != nil || mine.Epoch != 3 || !slices.Equal(missed, []string{"gone"}) {
			t.Fatalf("%+v, %v, %v", mine, missed, err)
		}
		if first.Box != "" && mine != first {
			t.Errorf("%+v, and first %+v", mine, first)
		}
		first = mine
	}
	if o := ownerBeside(t, b, "second"); o != first {
		t.Errorf("%+v", o)
	}
	// The kit knows of a later recovery than the repositories.
	if mine, _, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, all, 7); err != nil || mine.Epoch != 8 || mine.Box != first.Box || time.Since(mine.Since) > time.Minute {
		t.Errorf("%+v, %v", mine, err)
	}
	if o := ownerBeside(t, b, "offsite"); o.Epoch != 8 {
		t.Errorf("%+v", o)
	}
}

// TestTakeOverFromTheHighestEpoch: who can write beside a repository can claim any epoch.
func TestTakeOverFromTheHighestEpoch(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		b.shelf.set("offsite/"+appliance.OwnerName, strings.Replace(stranger, `"epoch":2`, `"epoch":9223372036854775807`, 1))
		offsite := []backups.Repository{{Name: "offsite"}}
		mine, missed, err := appliance.TakeOver(t.Context(), b.paths, b.shelf, offsite, 1)
		t.Log(mine, missed, err)
		if err != nil || mine.Epoch < 1 {
			t.Errorf("%+v, %v", mine, err)
		}
		if _, err := appliance.ThisBox(b.paths, host.NewFiles()); err != nil {
			t.Error("the machine does not know itself any more:", err)
		}
	})
}

// TestTakeBack: the first machine saves again after another one was recovered as a trial,
// which then stops. What could not be reached is told, and taken later.
func TestTakeBack(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.shelf.set("offsite/"+appliance.OwnerName, stranger)
		if err := d.Backup(t.Context(), appliance.BackupFull, "offsite", nil); !appliance.IsProblem(err, "backup.replaced") {
			t.Fatal(err)
		}
		serial := b.record().Kit.Serial
		taken, err := d.TakeBack(t.Context(), nil)
		synctest.Wait()
		if o := ownerBeside(t, b, "offsite"); err != nil || len(taken.Missed) > 0 || taken.Epoch != 3 || o.Epoch != 3 || o.Box == "another" {
			t.Fatalf("%+v, %+v, %v", taken, o, err)
		}
		if b.record().Kit.Serial != serial+1 || b.kitBeside("offsite") != b.kitBeside("box") {
			t.Errorf("the kit says the old epoch: %d", b.record().Kit.Serial)
		}
		saveNow(t, d)
		if f := b.findings(); slices.Contains(f, "failure backup.replaced") {
			t.Errorf("findings %v", f)
		}
		b.shelf.set("offsite/"+appliance.OwnerName, strings.Replace(stranger, `"epoch":2`, `"epoch":9`, 1))
		b.shelf.fail("offsite", &backups.Problem{ID: "kit.shelf-unreachable"})
		if taken, err := d.TakeBack(t.Context(), nil); err != nil || !slices.Equal(taken.Missed, []string{"offsite"}) {
			t.Errorf("%+v, %v", taken, err)
		}
		if err := errors.Join(os.MkdirAll(b.paths.Rescue(), 0o700), os.WriteFile(b.paths.RescueKit(), []byte("{}"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.TakeBack(t.Context(), nil); !appliance.IsProblem(err, appliance.Recovering) {
			t.Error(err)
		}
	})
}
