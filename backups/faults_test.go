// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"rochdale/backups"
	"rochdale/backups/restictest"
)

// files gives the files of a repository's folder, the largest first.
func files(t *testing.T, r backups.Repository, folder string) (paths []string) {
	t.Helper()
	size := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(r.URL, folder), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			paths = append(paths, path)
			size[path] = info.Size()
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("files in %s: %v, %v", folder, paths, err)
	}
	slices.SortFunc(paths, func(a, b string) int { return int(size[b] - size[a]) })
	return paths
}

func sizeOf(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// flip turns one bit in the middle of a file.
func flip(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[len(data)/2] ^= 1
	return os.WriteFile(path, data, 0o600)
}

// fault breaks the first of the files in a folder of the repository.
type fault struct {
	folder string
	do     func(path string) error
	silent bool // not seen by a look at the structure alone
}

func faults() map[string]fault {
	return map[string]fault{
		"bit flip in a pack":     {"data", flip, true},
		"truncated pack":         {"data", func(p string) error { return os.Truncate(p, 1000) }, false},
		"lost pack":              {"data", os.Remove, false},
		"lost index":             {"index", os.Remove, false},
		"bit flip in an index":   {"index", flip, false},
		"bit flip in a snapshot": {"snapshots", flip, false},
	}
}

// TestFaultsAreFoundAndHealed: whatever breaks is found and stops forgetting,
// and while the sources are there nothing is lost by it.
func TestFaultsAreFoundAndHealed(t *testing.T) {
	t.Parallel()
	prepare(t)
	for name, f := range faults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, r := ground(t)
			lost := filepath.Base(files(t, r, f.folder)[0])
			if err := f.do(files(t, r, f.folder)[0]); err != nil {
				t.Fatal(err)
			}
			if f.silent {
				if _, err := d.Check(t.Context(), r, backups.Part{}); err != nil {
					t.Errorf("the structure: %v", err)
				}
			}
			report, err := d.Check(t.Context(), r, backups.Part{N: 1, T: 1})
			wants(t, err, "backups.repository-damaged")
			if report.Errors == 0 || len(report.Details) == 0 || (backups.Health{}).After(report).MayForget() {
				t.Errorf("report %+v", report)
			}
			heal(t, d, r, report)
			if lost != ready.second {
				restoreIdentical(t, d, r, ready.second, source())
			} else {
				restoreIdentical(t, d, r, ready.first, filepath.Join(source(), "a"))
			}
		})
	}
}

// heal walks the whole way, twice: the second time finds nothing to do.
func heal(t *testing.T, d *backups.Door, r backups.Repository, report backups.CheckReport) {
	t.Helper()
	again := func(ctx context.Context) error {
		b := wholeBackup()
		b.Force = true
		_, err := d.Backup(ctx, r, b)
		return err
	}
	done, err := d.Heal(t.Context(), r, report, again)
	if err != nil || len(done.Gone) > 0 || len(done.New) > 0 || !slices.Equal(done.Packs, report.BrokenPacks) {
		t.Fatalf("healed %+v, %v", done, err)
	}
	healthy(t, d, r)
	if left, err := os.ReadDir(d.Temp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
}

// TestOnePartFindsABitFlip: of all parts, exactly one reads the broken byte.
func TestOnePartFindsABitFlip(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	if err := flip(files(t, r, "data")[0]); err != nil {
		t.Fatal(err)
	}
	const parts = 4
	var health backups.Health
	var found []backups.Part
	for range parts {
		p := backups.NextPart(health.Last, parts)
		report, err := d.Check(t.Context(), r, p)
		if err != nil {
			wants(t, err, "backups.repository-damaged")
			found = append(found, p)
		}
		health = health.After(report)
	}
	if len(found) != 1 || health.MayForget() || health.Next(parts) != found[0] {
		t.Errorf("found by %v, health %+v", found, health)
	}
}

// TestHealWithoutSources: what is lost for good is cut out, and the rest of the
// snapshots stays.
func TestHealWithoutSources(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	if err := flip(files(t, r, "data")[0]); err != nil {
		t.Fatal(err)
	}
	_, err := d.Restore(t.Context(), r, backups.Restore{Snapshot: ready.second, Target: filepath.Join(t.TempDir(), "out")})
	if p := wants(t, err, "backups.restore-incomplete"); p.Args["count"] != "1" || !strings.Contains(p.Args["files"], source()) {
		t.Errorf("args %v", p.Args)
	}
	report, err := d.Check(t.Context(), r, backups.Part{N: 1, T: 1})
	wants(t, err, "backups.repository-damaged")
	stop := errors.New("no power")
	if _, err := d.Heal(t.Context(), r, report, func(context.Context) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if list, err := d.Snapshots(t.Context(), r); err != nil || len(list) != 2 || list[0].ID != ready.second {
		t.Errorf("after a heal that stopped: %v, %v", list, err)
	}
	done, err := d.Heal(t.Context(), r, report, nothing)
	if err != nil || len(done.Gone) == 0 || len(done.Gone) != len(done.New) {
		t.Fatalf("healed %+v, %v", done, err)
	}
	healthy(t, d, r)
	target := filepath.Join(t.TempDir(), "out")
	got, err := d.Restore(t.Context(), r, backups.Restore{Snapshot: done.New[0], Target: target, Include: []string{source()}})
	if err != nil || got.Bytes < 700_000 {
		t.Errorf("restored %+v, %v", got, err)
	}
}

// TestRepositoryThatDoesNotOpen tells apart what restic says in few words.
func TestRepositoryThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do func(r backups.Repository) error
		id string
	}{
		"wrong password":   {func(r backups.Repository) error { return os.WriteFile(r.PasswordFile, []byte("other"), 0o600) }, "backups.wrong-password"},
		"empty password":   {func(r backups.Repository) error { return os.Truncate(r.PasswordFile, 0) }, "backups.password-file"},
		"no password file": {func(r backups.Repository) error { return os.Remove(r.PasswordFile) }, "backups.password-file"},
		"lost key file":    {func(r backups.Repository) error { return removeIn(r, "keys") }, "backups.keys-lost"},
		"damaged key file": {func(r backups.Repository) error { return flip(first(r, "keys")) }, "backups.keys-lost"},
		"lost config":      {func(r backups.Repository) error { return os.Remove(filepath.Join(r.URL, "config")) }, "backups.config-lost"},
		"emptied config":   {func(r backups.Repository) error { return os.Truncate(filepath.Join(r.URL, "config"), 0) }, "backups.config-lost"},
		"damaged config":   {func(r backups.Repository) error { return flip(filepath.Join(r.URL, "config")) }, "backups.config-lost"},
		"nothing there":    {func(r backups.Repository) error { return os.RemoveAll(r.URL) }, "backups.no-repository"},
		"a disk not mounted": {func(r backups.Repository) error {
			return errors.Join(os.RemoveAll(r.URL), os.Mkdir(r.URL, 0o700))
		}, "backups.no-repository"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, r := ground(t)
			if err := c.do(r); err != nil {
				t.Fatal(err)
			}
			_, err := d.Identify(t.Context(), r)
			wants(t, err, c.id)
			if c.id == "backups.no-repository" {
				return
			}
			_, err = d.Init(t.Context(), r)
			wants(t, err, c.id) // and nothing is made anew
			if left := files(t, r, "data"); len(left) < 3 {
				t.Errorf("left %v", left)
			}
		})
	}
}

func first(r backups.Repository, folder string) string {
	found, err := filepath.Glob(filepath.Join(r.URL, folder, "*"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[0]
}

func removeIn(r backups.Repository, folder string) error { return os.Remove(first(r, folder)) }

// TestInitGoesOn where it was interrupted between key and config.
func TestInitGoesOn(t *testing.T) {
	t.Parallel()
	d, r := restictest.Door(t), restictest.Repository(t, "half")
	if _, err := d.Init(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.URL, "config")); err != nil {
		t.Fatal(err)
	}
	if id, err := d.Init(t.Context(), r); err != nil || id == "" {
		t.Errorf("got %q, %v", id, err)
	}
}

// TestDiskFull: what does not fit makes no snapshot, harms none, and prune gives
// the space back.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	d, r := ground(t)
	whole, err := d.Snapshots(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	small := tmpfs(t, "size=6m")
	full := r
	full.URL = filepath.Join(small, "repository")
	if err := os.CopyFS(full.URL, os.DirFS(r.URL)); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(r.URL, "..", "more", "1"), 11)
	fill(t, filepath.Join(r.URL, "..", "more", "2"), 12)
	_, err = d.Backup(t.Context(), full, backups.Backup{Paths: []string{filepath.Join(filepath.Dir(r.URL), "more")}})
	wants(t, err, "backups.disk-full")
	list, err := d.Snapshots(t.Context(), full)
	if err != nil || len(list) != len(whole) {
		t.Errorf("snapshots %v, %v", list, err)
	}
	if err := d.Prune(t.Context(), full); err != nil {
		t.Error(err)
	}
	healthy(t, d, full)
	_, err = d.Restore(t.Context(), r, backups.Restore{Snapshot: ready.second, Target: filepath.Join(tmpfs(t, "size=1m"), "out")})
	wants(t, err, "backups.target-full")
}

// tmpfs mounts a small disk. The tests run as root.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
