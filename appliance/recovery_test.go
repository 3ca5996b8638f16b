// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
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

// printed is a box with an offsite repository whose pages were printed and that
// has saved once since.
func printed(t *testing.T, test func(t *testing.T, b *bench, d *appliance.Daemon)) {
	t.Helper()
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.kits.shelf = b.shelf
		d.Kits = b.kits
		if f := b.findings(); !slices.Contains(f, "notice recovery.no-pages") {
			t.Errorf("before anything is printed: %v", f)
		}
		s, err := d.Printed(t.Context(), appliance.Printing{
			Recipient: "age1first", Set: "abc123", Need: 2, Of: 3, Checks: []byte(`{"pages":[{"page":1},{"page":2},{"page":3}]}`),
		})
		if err != nil || s.Trouble != nil || s.Serial != 1 || len(s.Pages) != 3 || s.Name != "rides.example" ||
			!slices.Equal(s.Places, []string{"sftp:rides@backup.example:/srv/rides"}) || len(s.Disks) > 0 {
			t.Fatalf("%+v, %v", s, err)
		}
		saveNow(t, d)
		test(t, b, d)
	})
}

// saveNow saves, and waits for the look at the kit afterwards.
func saveNow(t *testing.T, d *appliance.Daemon) {
	t.Helper()
	if err := backup(d, appliance.BackupFull); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func (b *bench) record() appliance.RecoveryRecord {
	b.t.Helper()
	r, err := appliance.ReadRecovery(b.paths)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// TestKitIsReissued when what is in it changed, and at no other time.
func TestKitIsReissued(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		at := func() int64 { return b.record().Kit.Serial }
		serial, looks := at(), b.kits.looks()
		for range 3 {
			saveNow(t, d)
		}
		if at() != serial || b.kits.looks() != looks+3 {
			t.Errorf("kit %d became %d in %d looks", serial, at(), b.kits.looks()-looks)
		}
		changes := []func(){
			func() { b.kits.files = map[string]string{"offsite.password": "another"} },
			func() { b.kits.files = map[string]string{"offsite.keys": "another key"} },
			func() { b.writeConfig(strings.Replace(offsiteConfig, "backup.example", "other.example", 1)) },
		}
		for i, change := range changes {
			change()
			if i == len(changes)-1 {
				if err := d.Reload(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			} else {
				saveNow(t, d)
			}
			if serial++; at() != serial {
				t.Errorf("change %d: kit %d, want %d", i+1, at(), serial)
			}
		}
		for _, name := range []string{"box/", "offsite/"} {
			if kit := b.shelf.get(name + appliance.KitName); !strings.HasPrefix(kit, "kit 5 for age1first") || !strings.Contains(kit, "other.example") {
				t.Errorf("%s: %.60s", name, kit)
			}
		}
		if serial != 5 {
			t.Errorf("serial %d", serial)
		}
	})
}

// TestKitThatIsGone is put back by the next whole backup.
func TestKitThatIsGone(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.shelf.set("offsite/"+appliance.KitName, "torn")
		saveNow(t, d)
		if kit := b.shelf.get("offsite/" + appliance.KitName); !strings.HasPrefix(kit, "kit ") {
			t.Errorf("beside the repository: %q", kit)
		}
		serial := b.record().Kit.Serial
		if err := os.WriteFile(b.paths.SealedKit(), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		saveNow(t, d)
		if k, err := d.RecoveryKit(t.Context()); err != nil || k.Serial != serial+1 || !strings.HasPrefix(string(k.File), "kit ") {
			t.Errorf("%+v, %v", k, err)
		}
	})
}

// TestKitThatFails is a finding, not a failed backup; the repositories that can be
// reached get theirs.
func TestKitThatFails(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.kits.files = map[string]string{"a": "change"}
		b.shelf.fail("offsite", &backups.Problem{ID: "kit.shelf-unreachable"})
		if err := d.Backup(t.Context(), appliance.BackupFull, "box", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f := b.findings()
		if !slices.Contains(f, "warning recovery.kit-stale") || !slices.Contains(f, "warning kit.shelf-unreachable") {
			t.Errorf("findings %v", f)
		}
		serial := b.record().Kit.Serial
		if !strings.Contains(b.shelf.get("box/"+appliance.KitName), "change") || strings.Contains(b.shelf.get("offsite/"+appliance.KitName), "change") {
			t.Error("the reachable one got nothing")
		}
		b.shelf.fail("offsite", nil)
		saveNow(t, d)
		if !strings.Contains(b.shelf.get("offsite/"+appliance.KitName), "change") || b.record().Kit.Serial != serial {
			t.Errorf("kit %d, first %d", b.record().Kit.Serial, serial)
		}
		if f := b.findings(); slices.Contains(f, "warning recovery.kit-stale") {
			t.Errorf("findings %v", f)
		}
		b.kits.err = &backups.Problem{ID: "kit.not-made"}
		saveNow(t, d)
		if f := b.findings(); !slices.Contains(f, "warning kit.not-made") {
			t.Errorf("findings %v", f)
		}
	})
}

// TestReplacedMachinePublishesNothing: the kit of the machine that took over stays.
func TestReplacedMachinePublishesNothing(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.shelf.set("offsite/"+appliance.OwnerName, stranger)
		b.shelf.set("offsite/"+appliance.KitName, "of the other machine")
		b.kits.files = map[string]string{"a": "change"}
		if err := d.Backup(t.Context(), appliance.BackupFull, "box", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := b.shelf.get("offsite/" + appliance.KitName); got != "of the other machine" {
			t.Errorf("now %s", got)
		}
	})
}

// TestCopyForPagesFromBefore: after a new printing nothing opens the co-op's copy any more.
// One of which nobody noted the pages is old, as before.
func TestCopyForPagesFromBefore(t *testing.T) {
	for name, c := range map[string]struct {
		unnoted bool
		want    string
	}{"noted": {want: "warning recovery.copy-other-pages"}, "not noted": {unnoted: true, want: "notice recovery.copy-old"}} {
		t.Run(name, func(t *testing.T) {
			printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := d.KitCopied(t.Context(), b.record().Kit.Serial); err != nil {
					t.Fatal(err)
				}
				if c.unnoted {
					r := b.record()
					r.Copied.Recipient = ""
					if err := r.Keep(b.paths, host.NewFiles()); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Minute)
				again := appliance.Printing{Recipient: "age1second", Set: "def456", Need: 2, Of: 3, Checks: []byte(`{"pages":[{"page":1},{"page":2},{"page":3}]}`)}
				if _, err := d.Printed(t.Context(), again); err != nil {
					t.Fatal(err)
				}
				if f := b.findings(); !slices.Contains(f, c.want) {
					t.Errorf("findings %v, want %s", f, c.want)
				}
				k, err := d.RecoveryKit(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if err := d.KitCopied(t.Context(), k.Serial); err != nil {
					t.Fatal(err)
				}
				if f := b.findings(); slices.ContainsFunc(f, func(f string) bool { return strings.Contains(f, "recovery.copy-") }) {
					t.Errorf("with a new copy: findings %v", f)
				}
			})
		})
	}
}

// TestKitWithoutANewRepository: what opens it is made by the first backup to it. Until that
// had its time nobody is told that the kit lacks it.
func TestKitWithoutANewRepository(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.kits.shelf, d.Kits = b.shelf, b.kits // before a backup: the kit is looked at after it
		if err := backup(d, appliance.BackupFull); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Printed(t.Context(), appliance.Printing{Recipient: "age1first", Set: "abc123", Need: 1, Of: 1, Checks: []byte(`{"pages":[{"page":1}]}`)}); err != nil {
			t.Fatal(err)
		}
		b.kits.without = []string{"offsite"}
		b.vault.fail("offsite", unreachable("offsite"))
		b.reconfigure(d, offsiteConfig)
		time.Sleep(time.Minute)
		if s, err := d.Recovery(t.Context()); err != nil || s.Trouble != nil || !slices.Equal(b.record().Kit.Without, []string{"offsite"}) {
			t.Errorf("just added: %v, %v, without %v", s.Trouble, err, b.record().Kit.Without)
		}
		time.Sleep(time.Hour)
		if err := d.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, err := d.Recovery(t.Context()); err != nil || s.Trouble == nil || s.Trouble.ID != "recovery.kit-without" {
			t.Errorf("an hour later: %v, %v", s.Trouble, err)
		}
	})
}

// TestFindingsAboutTheKit of a year.
func TestFindingsAboutTheKit(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		about := func() (ids []string) {
			for _, f := range b.findings() {
				if strings.Contains(f, " recovery.") {
					ids = append(ids, f)
				}
			}
			return ids
		}
		if got := about(); !slices.Equal(got, []string{"notice recovery.no-copy"}) {
			t.Errorf("no copy was taken: %v", got)
		}
		k, err := d.RecoveryKit(t.Context())
		if err != nil || k.Need != 2 || k.Of != 3 {
			t.Fatalf("%+v, %v", k, err)
		}
		if err := d.KitCopied(t.Context(), k.Serial); err != nil || len(about()) != 0 {
			t.Errorf("with a copy: %v, %v", about(), err)
		}
		b.kits.files = map[string]string{"a": "change"}
		saveNow(t, d)
		if got := about(); !slices.Equal(got, []string{"notice recovery.copy-old"}) {
			t.Errorf("the kit changed: %v", got)
		}
		for _, f := range mustFindings(t, d, "recovery.copy-old") {
			if !strings.HasSuffix(f.Args["copied"], " UTC") || !strings.HasSuffix(f.Args["issued"], " UTC") {
				t.Errorf("the time is not told: %v", f.Args)
			}
		}
		r := b.record()
		r.Kit = appliance.SealedKit{Serial: r.Kit.Serial} // as a recovery leaves it
		if err := r.Keep(b.paths, host.NewFiles()); err != nil || len(about()) != 0 {
			t.Errorf("no kit was made here yet: %v, %v", about(), err)
		}
		r.Printed = r.Printed.Add(-183 * 24 * time.Hour)
		if err := r.Keep(b.paths, host.NewFiles()); err != nil {
			t.Fatal(err)
		}
		if got := about(); !slices.Contains(got, "warning recovery.not-asked") {
			t.Errorf("after half a year: %v", got)
		}
		for page := 1; page <= 3; page++ {
			s, err := d.CheckPage(t.Context(), appliance.PageAnswer{Page: page, Code: "right"})
			if err != nil || s.Pages[page-1].Proven.IsZero() {
				t.Fatalf("%+v, %v", s, err)
			}
		}
		if got := about(); slices.Contains(got, "warning recovery.not-asked") {
			t.Errorf("all were asked: %v", got)
		}
		if r := b.record(); strings.Contains(string(r.Checks), "right") || r.Recipient != "age1first" {
			t.Errorf("kept: %+v", r)
		}
		if info, err := os.Stat(b.paths.Recovery()); err != nil || info.Mode().Perm() != 0o600 {
			t.Error(info, err)
		}
	})
}

// TestGuessing is not let on for long.
func TestGuessing(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		guess := func(code string) error {
			_, err := d.CheckPage(t.Context(), appliance.PageAnswer{Page: 1, Code: code})
			return err
		}
		for range 10 {
			if err := guess("wrong"); !appliance.IsProblem(err, "kit.code-wrong") {
				t.Fatal(err)
			}
		}
		if err := guess("right"); !appliance.IsProblem(err, "recovery.too-many-slips") {
			t.Error(err)
		}
		time.Sleep(61 * time.Minute)
		if err := guess("right"); err != nil {
			t.Error(err)
		}
	})
}

// TestNewPages: kits are sealed for them from then on.
func TestNewPages(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		s, err := d.Printed(t.Context(), appliance.Printing{Recipient: "age1second", Set: "def", Need: 1, Of: 1, Checks: []byte(`{"pages":[{"page":1}]}`)})
		if err != nil || s.Set != "def" || s.Trouble != nil {
			t.Fatalf("%+v, %v", s, err)
		}
		if kit := b.shelf.get("offsite/" + appliance.KitName); !strings.Contains(kit, "for age1second") {
			t.Errorf("beside the repository: %.80s", kit)
		}
		for _, p := range []appliance.Printing{{}, {Recipient: "age1x", Need: 3, Of: 2, Checks: []byte("{}")}} {
			if _, err := d.Printed(t.Context(), p); err == nil {
				t.Errorf("%+v was taken", p)
			}
		}
	})
}

// mustFindings are those with an id; there has to be one.
func mustFindings(t *testing.T, d *appliance.Daemon, id string) (some []appliance.Finding) {
	t.Helper()
	for _, f := range d.Findings(t.Context()) {
		if f.ID == id {
			some = append(some, f)
		}
	}
	if len(some) == 0 {
		t.Errorf("%s is not told", id)
	}
	return some
}
