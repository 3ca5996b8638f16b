// SPDX-License-Identifier: AGPL-3.0-or-later

package appliance

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// folders are repositories on disks of this machine: one is there where its folder
// has a config.
type folders struct{ Vault }

func (folders) Identify(_ context.Context, r backups.Repository) (string, error) {
	if !isFile(filepath.Join(r.URL, "config")) {
		return "", &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": r.Name}}
	}
	return "id", nil
}

func (folders) Init(_ context.Context, r backups.Repository) (string, error) {
	return "id", os.WriteFile(filepath.Join(r.URL, "config"), []byte("config"), 0o600)
}

// past are the runs on repositories that had a snapshot.
type past struct {
	Store
	had bool
}

func (p past) Runs(context.Context, string, BackupKind, int) ([]BackupRun, error) {
	if !p.had {
		return nil, nil
	}
	return []BackupRun{{OK: false}, {OK: true}}, nil
}

// TestDiskThatIsNotMounted: a repository that had snapshots is not made anew on the
// disk below, neither where its folder is gone nor where an empty one is.
func TestDiskThatIsNotMounted(t *testing.T) {
	for name, c := range map[string]struct {
		repository string
		had        bool
		empty      bool // its folder is there, without a repository
		gone       bool
	}{
		"a new one":                   {repository: "disk"},
		"a new one in its own folder": {repository: "disk", empty: true},
		"not mounted":                 {repository: "disk", had: true, gone: true},
		"not mounted, the root of it": {repository: "disk", had: true, empty: true, gone: true},
		"the box's own":               {repository: BoxRepository, had: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "mnt", "rides")
			if c.empty {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			d := &Daemon{Parts: Parts{Vault: folders{}, Store: past{had: c.had}}, files: host.NewFiles()}
			r := backups.Repository{Name: c.repository, URL: dir}
			id, err := d.reached(t.Context(), r)
			if IsProblem(err, "backup.gone") != c.gone || (err == nil) == c.gone || (id == "id") == c.gone {
				t.Errorf("%q, %v", id, err)
			}
			_, folder := os.Stat(dir)
			if made := isFile(filepath.Join(dir, "config")); made == c.gone || c.gone && !c.empty && folder == nil {
				t.Errorf("a repository was made: %v; its folder: %v", made, folder)
			}
			if c.gone {
				return
			}
			if _, err := d.reached(t.Context(), r); err != nil {
				t.Error("the second time:", err)
			}
		})
	}
}

// nowhere is a way to repositories that are not there.
type nowhere struct{ Vault }

func (nowhere) Snapshots(_ context.Context, r backups.Repository, _ ...string) ([]backups.Snapshot, error) {
	return nil, &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": r.Name}}
}

func (nowhere) Check(_ context.Context, r backups.Repository, _ backups.Part) (backups.CheckReport, error) {
	return backups.CheckReport{}, &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": r.Name}}
}

// asked are the repositories that were asked anything.
type asked struct {
	nowhere
	some *[]string
}

func (a asked) Check(ctx context.Context, r backups.Repository, p backups.Part) (backups.CheckReport, error) {
	*a.some = append(*a.some, r.Name)
	return a.nowhere.Check(ctx, r, p)
}

func (a asked) Forget(_ context.Context, r backups.Repository, _ backups.Retention, _ ...string) (f backups.Forgotten, err error) {
	*a.some = append(*a.some, r.Name)
	return f, &backups.Problem{ID: "backups.no-repository", Args: map[string]string{"repository": r.Name}}
}

// TestUpkeepBeforeTheFirstBackup has nothing to look after, and does not fail.
func TestUpkeepBeforeTheFirstBackup(t *testing.T) {
	for _, name := range []string{BoxRepository, "disk"} {
		var some []string
		dir := t.TempDir()
		d := &Daemon{Parts: Parts{Paths: Paths{Root: dir}, Vault: asked{some: &some}, Store: past{}, Log: slog.New(slog.DiscardHandler)}, files: host.NewFiles()}
		r := backups.Repository{Name: name, URL: filepath.Join(dir, "repository"), PasswordFile: filepath.Join(dir, "password")}
		checked, pruned := d.checkRepository(t.Context(), r), d.pruneRepository(t.Context(), r)
		if checked != nil || pruned != nil || len(some) > 0 {
			t.Errorf("%s: %v, %v, asked %v", name, checked, pruned, some)
		}
	}
}

// bare is a place beside repositories that is not there.
type bare struct{ Shelf }

func (bare) Get(context.Context, backups.Repository, string) ([]byte, error) {
	return nil, &backups.Problem{ID: "kit.shelf-unreachable", Args: map[string]string{"address": "/mnt/disk/rides"}}
}

// TestPruneOfADiskThatIsNotMounted says so, and nothing of the files beside the repository.
func TestPruneOfADiskThatIsNotMounted(t *testing.T) {
	dir := t.TempDir()
	d := &Daemon{Parts: Parts{Paths: Paths{Root: dir}, Vault: folders{}, Shelf: bare{}, Store: past{had: true}, Log: slog.New(slog.DiscardHandler)}, files: host.NewFiles()}
	if err := os.MkdirAll(filepath.Dir(d.Paths.Owner()), 0o700); err != nil {
		t.Fatal(err)
	}
	r := backups.Repository{Name: "disk", URL: filepath.Join(dir, "disk"), PasswordFile: filepath.Join(dir, "password")}
	if err := d.pruneRepository(t.Context(), r); !IsProblem(err, "backup.gone") {
		t.Error("not mounted:", err)
	}
	if err := errors.Join(os.MkdirAll(r.URL, 0o700), os.WriteFile(filepath.Join(r.URL, "config"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := d.pruneRepository(t.Context(), r); !IsProblem(readable(err), "kit.shelf-unreachable") {
		t.Error("there, and not beside it:", err)
	}
}

// KeepRun keeps nothing.
func (past) KeepRun(context.Context, BackupRun) error { return nil }

// TestGoneIsToldByWhateverLooks: who lists, restores, drills or checks does not hear that
// a backup would make a new one, which it refuses.
func TestGoneIsToldByWhateverLooks(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repository string
		had        bool
		want       string
	}{{"disk", true, "backup.gone"}, {"disk", false, "backups.no-repository"}, {BoxRepository, true, "backups.no-repository"}} {
		d := &Daemon{Parts: Parts{Vault: nowhere{}, Store: past{had: c.had}, Log: slog.New(slog.DiscardHandler)}, files: host.NewFiles()}
		r := backups.Repository{Name: c.repository, URL: "/mnt/disk/rides", PasswordFile: password}
		_, listed := d.restorables(t.Context(), r, "")
		for what, err := range map[string]error{"list": listed, "check": d.checkRepository(t.Context(), r)} {
			if !IsProblem(err, c.want) {
				t.Errorf("%s of %+v: %v", what, c, err)
			}
		}
	}
}

// TestNotMadeYet: a repository holds nothing before its first backup; the box's own may
// have a password of a lost machine. One that had snapshots, or has some left, is gone or
// damaged: that is asked for and told. So is one whose password was lost.
func TestNotMadeYet(t *testing.T) {
	for name, c := range map[string]struct {
		repository string
		there      []string // in its folder; "password" is beside it
		had        bool
		id         bool // it is known from a recovery
		told       bool
	}{
		"a new box":                    {},
		"recovered":                    {there: []string{"password"}},
		"its making was interrupted":   {there: []string{"password", "keys/k"}},
		"gone":                         {there: []string{"password"}, had: true, told: true},
		"gone, and its password too":   {had: true, told: true},
		"its config and memory lost":   {there: []string{"password", "keys/k", "snapshots/s"}, told: true},
		"made, and does not answer so": {there: []string{"password", "config"}, told: true},
		"another one, new":             {repository: "disk"},
		"its password was written":     {repository: "disk", there: []string{"password"}, told: true},
		"its password was lost":        {repository: "disk", had: true, told: true},
		"of a kit, password lost":      {repository: "disk", id: true, told: true},
		"its password and memory lost": {repository: "disk", there: []string{"config"}, told: true},
		"it was opened before":         {repository: "disk", there: []string{"proven"}, told: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			paths := Paths{Root: filepath.Join(dir, "root")}
			r := backups.Repository{Name: cmp.Or(c.repository, BoxRepository), URL: filepath.Join(dir, "repository"), PasswordFile: filepath.Join(dir, "password")}
			for _, file := range c.there {
				path := filepath.Join(r.URL, file)
				switch file {
				case "password":
					path = r.PasswordFile
				case "proven":
					path = paths.Proven(r.Name)
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(file), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			d := &Daemon{Parts: Parts{Paths: paths, Vault: nowhere{}, Store: past{had: c.had}}, files: host.NewFiles()}
			if c.id {
				record := RecoveryRecord{IDs: map[string]string{r.Name: "id"}}
				if err := errors.Join(os.MkdirAll(filepath.Dir(paths.Recovery()), 0o700), record.Keep(paths, d.files)); err != nil {
					t.Fatal(err)
				}
			}
			all, err := d.restorables(t.Context(), r, "")
			if told := IsProblem(err, "backups.no-repository") || IsProblem(err, "backup.gone"); told != c.told || (err == nil) == c.told || (all != nil) == c.told || len(all) > 0 {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
}
