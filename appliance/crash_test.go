// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"rochdale/appliance/host"
	"rochdale/appliance/host/hosttest"
	"rochdale/backups"
	"rochdale/stacks"
)

const cutConfig = "schema: 1\nlanguage: en\ntls: {mode: internal}\nstacks: {delivery: {domain: rides.example}} # ours\nupdates: {reboot: never}\n"

// cutBox is a box whose folders are there, with its configuration.
func cutBox(t *testing.T) Paths {
	t.Helper()
	p := Paths{Root: t.TempDir()}
	if err := errors.Join(os.MkdirAll(p.ConfigDir(), 0o755), os.MkdirAll(p.Var(), 0o711), os.WriteFile(p.Config(), []byte(cutConfig), 0o600)); err != nil {
		t.Fatal(err)
	}
	return p
}

// kept is a value of a box.
func kept[T any](read func(Paths) (T, error), write func(Paths, host.Files) error) hosttest.Value[T] {
	return hosttest.Value[T]{
		Read:  func(root string) (T, error) { return read(Paths{Root: root}) },
		Write: func(root string, files host.Files) error { return write(Paths{Root: root}, files) },
	}
}

// text reads a file that may not be there.
func text(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return string(data), err
}

func ownerOnDisk(p Paths) (Owner, error) {
	data, err := os.ReadFile(p.Owner())
	if errors.Is(err, fs.ErrNotExist) {
		return Owner{}, nil
	}
	if err != nil {
		return Owner{}, err
	}
	return parseOwner(data)
}

// TestOwnerSurvivesPowerCuts: whoever this machine is, it is that for good, and a
// recovery's epoch is taken or not.
func TestOwnerSurvivesPowerCuts(t *testing.T) {
	p := cutBox(t)
	kept(ownerOnDisk, func(p Paths, files host.Files) error {
		_, err := ThisBox(p, files)
		return err
	}).OldOrNew(t, p.Root)
	kept(ownerOnDisk, func(p Paths, files host.Files) error {
		o, err := ThisBox(p, files)
		o.Epoch = 2
		return errors.Join(err, o.keep(p, files))
	}).OldOrNew(t, p.Root)
}

// TestRecoveryRecordSurvivesPowerCuts: for whose pages kits are sealed is never lost.
func TestRecoveryRecordSurvivesPowerCuts(t *testing.T) {
	p := cutBox(t)
	for _, recipient := range []string{"age1first", "age1second"} {
		kept(ReadRecovery, func(p Paths, files host.Files) error {
			return RecoveryRecord{Recipient: recipient, Need: 2, Of: 3}.Keep(p, files)
		}).OldOrNew(t, p.Root)
	}
}

// TestConfigurationSurvivesPowerCuts: the document, and the copy of it that last
// made sense.
func TestConfigurationSurvivesPowerCuts(t *testing.T) {
	p := cutBox(t)
	good := func(p Paths) (Config, error) {
		c, err := ReadConfig(p.GoodConfig())
		if IsProblem(err, "config.missing") {
			err = nil
		}
		return c, err
	}
	for _, domain := range []string{"one.example", "two.example"} {
		kept(func(p Paths) (Config, error) { return ReadConfig(p.Config()) }, func(p Paths, files host.Files) error {
			return SetHosts(p, files, "delivery", StackConfig{Domain: domain})
		}).OldOrNew(t, p.Root)
		kept(good, func(p Paths, files host.Files) error {
			c, err := ReadConfig(p.Config())
			return errors.Join(err, keepGood(p, files, c))
		}).OldOrNew(t, p.Root)
	}
}

// TestPasswordsSurvivePowerCuts: there is none, or a whole one that stays. Half a
// password would lock the co-op out of what is encrypted with it later.
func TestPasswordsSurvivePowerCuts(t *testing.T) {
	c := &crew{release: Release{Stack: "tool"}, bundle: Bundle{Stack: stacks.Stack{Manifest: stacks.Manifest{
		User: os.Geteuid(), Databases: map[string]stacks.Database{"main": {Engine: stacks.Postgres}},
	}}}}
	for name, v := range map[string]struct {
		path func(Paths) string
		make func(*Daemon) error
		size int
	}{
		"of a repository": {
			func(p Paths) string { return p.RepositoryPassword("offsite") },
			func(d *Daemon) error {
				d.Vault, d.Store = folders{}, past{} // nothing is there yet
				return d.unlockable(t.Context(), backups.Repository{Name: "offsite", URL: d.Paths.BoxRepository(), PasswordFile: d.Paths.RepositoryPassword("offsite")})
			}, 53,
		},
		"of a database": {
			func(p Paths) string { return p.DatabasePassword("tool") },
			func(d *Daemon) error { return d.password(c) }, 26,
		},
	} {
		t.Run(name, func(t *testing.T) {
			read := func(p Paths) (string, error) {
				got, err := text(v.path(p))
				if got != "" && len(got) != v.size {
					err = errors.Join(err, errors.New("it is not whole"))
				}
				return got, err
			}
			kept(read, func(p Paths, files host.Files) error {
				d := &Daemon{Parts: Parts{Paths: p}, files: files}
				before, err := read(p)
				if err := errors.Join(err, v.make(d)); err != nil {
					return err
				}
				if after, err := read(p); err != nil || before != "" && after != before {
					return errors.Join(err, errors.New("a password was replaced"))
				}
				return nil
			}).OldOrNew(t, cutBox(t).Root)
		})
	}
}

// plainKits seals nothing, and makes a new kit for each new configuration.
type plainKits struct{ Kits }

func (plainKits) Make(_ context.Context, o KitOrder, than string) (SealedKit, error) {
	made := SealedKit{Serial: o.Serial, Issued: o.Issued, Fingerprint: o.Configuration}
	if made.Fingerprint != than {
		made.File = []byte("a kit with " + o.Configuration)
	}
	return made, nil
}

// TestIssuedKitSurvivesPowerCuts: the kit and the record of it are two files. Where
// they do not fit each other, the next look makes both anew.
func TestIssuedKitSurvivesPowerCuts(t *testing.T) {
	p := cutBox(t)
	issue := func(p Paths, files host.Files) error {
		d := &Daemon{Parts: Parts{Paths: p, Kits: plainKits{}, Log: slog.New(slog.DiscardHandler)}, files: files, kits: newKeeping()}
		r, err := ReadRecovery(p)
		if err != nil {
			return err
		}
		return d.issueKit(t.Context(), &r)
	}
	if err := errors.Join((RecoveryRecord{Recipient: "age1"}).Keep(p, host.NewFiles()), issue(p, host.NewFiles())); err != nil {
		t.Fatal(err)
	}
	was := "a kit with " + cutConfig
	if err := SetHosts(p, host.NewFiles(), "delivery", StackConfig{Domain: "new.example"}); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(p.Config())
	if err != nil {
		t.Fatal(err)
	}
	is := "a kit with " + string(config)
	hosttest.EveryCrash(t, p.Root, func(files host.Files) error { return issue(p, files) }, func(c hosttest.Crash, root string) {
		p := Paths{Root: root}
		file, fileErr := text(p.SealedKit())
		r, err := ReadRecovery(p)
		if fileErr != nil || err != nil || file != is && (c.Whole || file != was) || r.Kit.Serial != 1 && r.Kit.Serial != 2 {
			t.Errorf("%q, %+v, %v, %v", file, r.Kit, fileErr, err)
		}
		if err := issue(p, host.NewFiles()); err != nil {
			t.Error(err)
		}
		file, fileErr = text(p.SealedKit())
		if r, err = ReadRecovery(p); fileErr != nil || err != nil || file != is || r.Kit.Serial != 2 || r.Kit.SHA256 != sumOf([]byte(file)) {
			t.Errorf("the next look left %q, %+v, %v, %v", file, r.Kit, fileErr, err)
		}
	})
}

// patientDisk notes when somebody waits until all is on the disk.
type patientDisk struct {
	host.OS
	waited []string
}

func (d *patientDisk) SyncAll(path string) error {
	d.waited = append(d.waited, path)
	return nil
}

// loads are data that are loaded before anybody waits.
type loads struct {
	Data
	disk *patientDisk
}

func (l loads) Load(context.Context, string, DataPlace) error {
	if len(l.disk.waited) > 0 {
		return errors.New("somebody waited too early")
	}
	return nil
}

// idle is an engine on which nothing of a stack runs.
type idle struct{ Engine }

func (idle) List(context.Context, string) ([]Container, error) { return nil, nil }

// TestRecoveredDataAreOnTheDisk before a row says that they are there: who laid the
// snapshot out has not waited.
func TestRecoveredDataAreOnTheDisk(t *testing.T) {
	p, disk := cutBox(t), &patientDisk{}
	d := &Daemon{Parts: Parts{Paths: p, Engine: idle{}, Data: loads{disk: disk}, Space: leftFree{bytes: 1 << 40}}, files: host.Files{Disk: disk}}
	c := &crew{release: Release{Stack: "delivery", Generation: 1}, paths: p}
	w := &recovering{start: start{Daemon: d, request: ApplyRequest{Stack: "delivery"}, c: c}}
	w.took.Database = "/databases"
	if err := os.MkdirAll(filepath.Join(w.restored(), w.took.Database), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.load(t.Context(), nil); err != nil || !slices.Equal(disk.waited, []string{p.Stack("delivery")}) {
		t.Errorf("waited for %v, %v", disk.waited, err)
	}
}
