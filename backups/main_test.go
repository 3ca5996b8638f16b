// SPDX-License-Identifier: AGPL-3.0-or-later

package backups_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"rochdale/backups"
	"rochdale/backups/restictest"
)

// prepared is a repository that the tests copy: making one takes seconds.
type prepared struct {
	once   sync.Once
	dir    string // with "repository", "password" and "source"
	first  string // snapshot of source/a
	second string // snapshot of source
}

var ready prepared

// TestMain puts all temporary folders into memory: restic waits for the disk
// after each of many files, and no test here is about power cuts.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "backups-")
	if err == nil {
		err = errors.Join(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1g"), os.Setenv("TMPDIR", dir))
	}
	if err != nil {
		panic(err)
	}
	ready.dir = dir
	code := m.Run()
	if err := errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), os.RemoveAll(dir)); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// source is the folder that the prepared snapshots are of. It does not change.
func source() string { return filepath.Join(ready.dir, "source") }

// wholeBackup is what the second snapshot was made with.
func wholeBackup() backups.Backup {
	return backups.Backup{Paths: []string{source()}, Tags: []string{"stack:delivery", "full"}, Host: "box"}
}

// prepare makes the repository once, two snapshots in it, with packs of their own.
func prepare(t *testing.T) {
	t.Helper()
	ready.once.Do(func() {
		fill(t, filepath.Join(source(), "a"), 1)
		fill(t, filepath.Join(source(), "b"), 2)
		door, r := restictest.Door(t), inFolder(ready.dir)
		write(t, r.PasswordFile, "for tests alone\n")
		if _, err := door.Init(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		part := wholeBackup()
		part.Paths, part.Time = []string{filepath.Join(source(), "a")}, time.Now().Add(-time.Hour)
		ready.first = backup(t, door, r, part).SnapshotID
		ready.second = backup(t, door, r, wholeBackup()).SnapshotID
	})
	if ready.second == "" {
		t.Fatal("there is no prepared repository")
	}
}

func inFolder(dir string) backups.Repository {
	return backups.Repository{Name: "local", URL: filepath.Join(dir, "repository"), PasswordFile: filepath.Join(dir, "password")}
}

// fill makes a folder with files that can not be compressed, among them an empty
// one, a link, and one that only its owner may read.
func fill(t *testing.T, dir string, seed byte) {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{seed})
	for i, size := range []int{0, 1, 700_000, 900_000} {
		data := make([]byte, size)
		_, _ = noise.Read(data) // it never fails
		write(t, filepath.Join(dir, fmt.Sprintf("file%d", i)), string(data))
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "file1"), 0o600), os.Symlink("file2", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
}

// ground gives a door and a copy of the prepared repository, to be broken.
func ground(t *testing.T) (*backups.Door, backups.Repository) {
	t.Helper()
	prepare(t)
	r := inFolder(t.TempDir())
	write(t, r.PasswordFile, "for tests alone\n")
	if err := os.CopyFS(r.URL, os.DirFS(filepath.Join(ready.dir, "repository"))); err != nil {
		t.Fatal(err)
	}
	return restictest.Door(t), r
}

func backup(t *testing.T, d *backups.Door, r backups.Repository, b backups.Backup) backups.Saved {
	t.Helper()
	saved, err := d.Backup(t.Context(), r, b)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tree describes a folder: names, kinds, modes, times and contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		what, err := content(path, info)
		found[name] = what
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func content(path string, info fs.FileInfo) (string, error) {
	switch {
	case info.IsDir():
		return info.Mode().String(), nil
	case info.Mode()&fs.ModeSymlink != 0:
		return os.Readlink(path)
	default:
		data, err := os.ReadFile(path)
		return fmt.Sprintf("%s %s %x", info.Mode(), info.ModTime().UTC(), sha256.Sum256(data)), err
	}
}

// same wants the folder to be as the source's folder was.
func same(t *testing.T, got, want string) {
	t.Helper()
	g, w := tree(t, got), tree(t, want)
	for name := range w {
		if g[name] != w[name] {
			t.Errorf("%s: %q, want %q", name, g[name], w[name])
		}
	}
	for name := range g {
		if _, ok := w[name]; !ok {
			t.Errorf("%s is too much", name)
		}
	}
}

// restoreIdentical wants a snapshot to give back a folder byte for byte.
func restoreIdentical(t *testing.T, d *backups.Door, r backups.Repository, snapshot, folder string) {
	t.Helper()
	target := filepath.Join(t.TempDir(), "out")
	if _, err := d.Restore(t.Context(), r, backups.Restore{Snapshot: snapshot, Target: target, Include: []string{folder}}); err != nil {
		t.Error(err)
		return
	}
	same(t, filepath.Join(target, folder), folder)
}

// wants compares the id of a problem.
func wants(t *testing.T, err error, id string) *backups.Problem {
	t.Helper()
	var p *backups.Problem
	if !errors.As(err, &p) || p.ID != id {
		t.Fatalf("got %v, want %s", err, id)
	}
	if p.Args["repository"] == "" || p.Err == nil {
		t.Errorf("%s has no repository or no cause: %v", id, p)
	}
	return p
}

// healthy wants every byte of the repository to be right.
func healthy(t *testing.T, d *backups.Door, r backups.Repository) {
	t.Helper()
	if report, err := d.Check(t.Context(), r, backups.Part{N: 1, T: 1}); err != nil || report.Errors != 0 {
		t.Errorf("check: %+v, %v", report, err)
	}
}

func nothing(context.Context) error { return nil }
