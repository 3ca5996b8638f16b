// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rochdale/appliance"
)

// renamed is the same repository, at the same address, under another name.
var renamed = strings.Replace(offsiteConfig, "    offsite:", "    attic:", 1)

func (b *bench) kitBeside(repository string) string {
	return b.shelf.get(repository + "/" + appliance.KitName)
}

// TestPasswordThatWasLost: no other is made up, nothing is saved there, and the kit with
// the right one stays. When the file is back all goes on.
func TestPasswordThatWasLost(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		kit, serial := b.kitBeside("offsite"), b.record().Kit.Serial
		file, away := b.paths.RepositoryPassword("offsite"), filepath.Join(t.TempDir(), "offsite.password")
		if err := os.Rename(file, away); err != nil {
			t.Fatal(err)
		}
		b.kits.files = map[string]string{"offsite.password": "gone"}
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backup.password-missing") {
			t.Fatal(err)
		}
		synctest.Wait()
		if left, err := filepath.Glob(file + "*"); err != nil || len(left) > 0 {
			t.Errorf("%v was made up, %v", left, err)
		}
		if b.vault.count("box") != 2 || b.vault.count("offsite") != 1 {
			t.Errorf("%d and %d snapshots", b.vault.count("box"), b.vault.count("offsite"))
		}
		for _, name := range []string{"box", "offsite"} {
			if b.kitBeside(name) != kit || b.record().Kit.Serial != serial {
				t.Errorf("beside %s: %s", name, b.kitBeside(name))
			}
		}
		for _, want := range []string{"warning backup.failed", "warning backup.password-missing", "warning recovery.kit-stale"} {
			if f := b.findings(); !slices.Contains(f, want) {
				t.Errorf("%s is not in %v", want, f)
			}
		}
		if err := os.Rename(away, file); err != nil {
			t.Fatal(err)
		}
		saveNow(t, d)
		if b.vault.count("offsite") != 2 || b.record().Kit.Serial != serial+1 || b.kitBeside("offsite") == kit {
			t.Errorf("%d snapshots, kit %d", b.vault.count("offsite"), b.record().Kit.Serial)
		}
		if f := b.findings(); slices.Contains(f, "warning recovery.kit-stale") {
			t.Errorf("findings %v", f)
		}
	})
}

// TestPasswordOfSomethingElse: a file with another password, or none that was ever tried,
// gets into no kit.
func TestPasswordOfSomethingElse(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench) error
		want  string
	}{
		"another one": {func(b *bench) error {
			return os.WriteFile(b.paths.RepositoryPassword("offsite"), []byte("invented\n"), 0o600)
		}, "warning backups.no-key-fits"},
		"unreachable": {func(b *bench) error {
			b.vault.fail("offsite", unreachable("offsite"))
			return os.WriteFile(b.paths.RepositoryPassword("offsite"), []byte("invented\n"), 0o600)
		}, "warning recovery.password-unproven"},
	} {
		t.Run(name, func(t *testing.T) {
			printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
				kit := b.kitBeside("box")
				if err := c.spoil(b); err != nil {
					t.Fatal(err)
				}
				b.kits.files = map[string]string{"offsite.password": "invented"}
				if err := d.Backup(t.Context(), appliance.BackupFull, "box", nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if b.kitBeside("box") != kit || b.kitBeside("offsite") != kit {
					t.Errorf("now %s", b.kitBeside("box"))
				}
				if f := b.findings(); !slices.Contains(f, c.want) {
					t.Errorf("findings %v", f)
				}
			})
		})
	}
}

// TestUnreachableRepositoryStaysInTheKit: its password was right when it last answered.
func TestUnreachableRepositoryStaysInTheKit(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, _ *appliance.Daemon) {
		serial := b.record().Kit.Serial
		b.stop()
		d := b.boot()
		d.Kits = b.kits
		b.vault.fail("offsite", unreachable("offsite"))
		b.kits.files = map[string]string{"a": "change"}
		if err := d.Backup(t.Context(), appliance.BackupFull, "box", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r := b.record(); r.Kit.Serial != serial+1 || len(r.Kit.Without) > 0 {
			t.Errorf("%+v", r.Kit)
		}
	})
}

// TestRenamedRepository: the message says which file to copy, and with it all goes on.
func TestRenamedRepository(t *testing.T) {
	printed(t, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.reconfigure(d, renamed)
		synctest.Wait()
		err := d.Backup(t.Context(), appliance.BackupFull, "attic", nil)
		if !appliance.IsProblem(err, "backup.password-renamed") || appliance.MessageOf(err).Args["other"] != b.paths.RepositoryPassword("offsite") {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(b.paths.RepositoryPassword("attic") + "*"); err != nil || len(left) > 0 {
			t.Errorf("%v was made up, %v", left, err)
		}
		password, err := os.ReadFile(b.paths.RepositoryPassword("offsite"))
		if err == nil {
			err = os.WriteFile(b.paths.RepositoryPassword("attic"), password, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Backup(t.Context(), appliance.BackupFull, "attic", nil); err != nil {
			t.Error(err)
		}
	})
}

// TestStrangersRepository at the address of a new one: its password is asked for.
func TestStrangersRepository(t *testing.T) {
	saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.keys["sftp:rides@backup.example:/srv/rides"] = twinKey{"theirs", "theirs"}
		b.reconfigure(d, offsiteConfig)
		if err := d.Backup(t.Context(), appliance.BackupFull, "offsite", nil); !appliance.IsProblem(err, "backup.password-missing") {
			t.Error(err)
		}
	})
}

// TestUnreachableNewRepository: no password is made before somebody has looked.
func TestUnreachableNewRepository(t *testing.T) {
	saving(t, offsiteConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
		b.vault.fail("offsite", unreachable("offsite"))
		if err := backup(d, appliance.BackupFull); !appliance.IsProblem(err, "backups.unreachable") {
			t.Error(err)
		}
		if left, err := filepath.Glob(b.paths.RepositoryPassword("offsite") + "*"); err != nil || len(left) > 0 {
			t.Errorf("%v was made, %v", left, err)
		}
		b.vault.fail("offsite", nil)
		if err := backup(d, appliance.BackupFull); err != nil || b.vault.count("offsite") != 1 {
			t.Error(err)
		}
	})
}

// TestNobodyWaitsForAnothersPassword: while a server elsewhere is asked whether it has a
// repository, the box's own has its copies, and whoever waits for the same one waits no
// longer than it may.
func TestNobodyWaitsForAnothersPassword(t *testing.T) {
	for name, lost := range map[string]bool{"there": false, "to be made": true} {
		t.Run(name, func(t *testing.T) {
			saving(t, testConfig, func(t *testing.T, b *bench, d *appliance.Daemon) {
				if err := backup(d, appliance.BackupFull); err != nil {
					t.Fatal(err)
				}
				if lost { // with its repository: then both are made anew
					b.vault.lose("box")
					if err := os.Remove(b.paths.RepositoryPassword("box")); err != nil {
						t.Fatal(err)
					}
				}
				b.reconfigure(d, offsiteConfig)
				b.vault.asksFor("offsite", time.Minute)
				first := make(chan error)
				go func() { first <- d.Backup(t.Context(), appliance.BackupFull, "offsite", nil) }()
				synctest.Wait()
				began := time.Now()
				if err := d.Backup(t.Context(), appliance.BackupDump, "box", nil); err != nil || time.Since(began) > time.Second {
					t.Errorf("the box's own took %v: %v", time.Since(began), err)
				}
				if err := <-first; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTurns: one at a time has a name, and nobody waits for longer than they may.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		take := appliance.Turns()
		leave, err := take(t.Context(), "offsite")
		if err != nil {
			t.Fatal(err)
		}
		bounded, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := take(bounded, "offsite"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("two have it: %v", err)
		}
		if other, err := take(t.Context(), "box"); err != nil {
			t.Error(err)
		} else {
			other()
		}
		time.AfterFunc(time.Minute, leave)
		began := time.Now()
		if again, err := take(t.Context(), "offsite"); err != nil || time.Since(began) != time.Minute {
			t.Errorf("after %v: %v", time.Since(began), err)
		} else {
			again()
		}
	})
}
