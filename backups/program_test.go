// SPDX-License-Identifier: AGPL-3.0-or-later

package backups

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
)

// plainDisk writes as the tests need it; that files are durable is tested where
// the real writer lives.
type plainDisk struct{ writes int }

func (d *plainDisk) Stream(path string, content io.Reader, mode fs.FileMode) error {
	d.writes++
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(path), os.WriteFile(path, data, mode), os.Chmod(path, mode))
}

type realRunner struct{}

func (realRunner) Output(ctx context.Context, program string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, program, args...).Output()
}

func blobWith(t *testing.T, arch, content string) fstest.MapFS {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("blob/restic_0.19.1_%s_%x.zst", arch, sha256.Sum256([]byte(content)))
	return fstest.MapFS{"blob/.gitkeep": {}, name: {Data: w.EncodeAll([]byte(content), nil)}}
}

const script = "#!/bin/sh\necho '{\"message_type\":\"version\",\"version\":\"0.19.1 compiled manually\"}'\n"

func TestBuiltWithout(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"no file":              {"blob/.gitkeep": {}},
		"another architecture": blobWith(t, "arm64", script),
		"another name":         {"blob/restic.zst": {}},
	} {
		_, err := resticIn(files, "amd64")
		var problem *Problem
		if !errors.Is(err, ErrBuiltWithout) || !errors.As(err, &problem) || problem.ID != "backups.built-without" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInstall(t *testing.T) {
	p, err := resticIn(blobWith(t, "amd64", script), "amd64")
	if err != nil || p.Version != "0.19.1" {
		t.Fatal(p, err)
	}
	dir, disk := t.TempDir(), &plainDisk{}
	path := filepath.Join(dir, "restic-"+p.SHA256)
	for name, before := range map[string]func() error{
		"nothing there":  func() error { return os.Remove(path) },
		"changed":        func() error { return os.WriteFile(path, []byte("#!/bin/sh\necho other\n"), 0o755) },
		"cut off":        func() error { return os.Truncate(path, 5) },
		"not executable": func() error { return os.Chmod(path, 0o644) },
		"a link":         func() error { return errors.Join(os.Remove(path), os.Symlink("/bin/true", path)) },
	} {
		if _, err := p.Install(t.Context(), disk, dir); err != nil {
			t.Fatal(err)
		}
		if err := before(); err != nil {
			t.Fatal(err)
		}
		writes := disk.writes
		for range 2 {
			got, err := p.Install(t.Context(), disk, dir)
			if err != nil || got != path {
				t.Fatalf("%s: %s, %v", name, got, err)
			}
		}
		if disk.writes != writes+1 {
			t.Errorf("%s: written %d times", name, disk.writes-writes)
		}
		if err := p.Check(t.Context(), realRunner{}, path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDamagedBlobIsNotInstalled(t *testing.T) {
	files := blobWith(t, "amd64", script)
	other := blobWith(t, "amd64", "#!/bin/sh\nexit 0\n")
	for name := range files {
		for second, f := range other {
			if name != "blob/.gitkeep" && second != "blob/.gitkeep" {
				files[name] = f
			}
		}
	}
	p, err := resticIn(files, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = p.Install(t.Context(), &plainDisk{}, dir)
	var problem *Problem
	if !errors.As(err, &problem) || problem.ID != "backups.damaged" {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestInstallStops(t *testing.T) {
	p, err := resticIn(blobWith(t, "amd64", script), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Install(ctx, &plainDisk{}, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	p := Program{Version: "0.19.1"}
	for _, out := range []string{"", "restic 0.19.1", `{"version":"0.19.10"}`, `{"version":"0.18.0"}`} {
		if err := p.Check(t.Context(), fixedRunner(out), "restic"); err == nil {
			t.Errorf("%q was accepted", out)
		}
	}
}

type fixedRunner string

func (r fixedRunner) Output(context.Context, string, ...string) ([]byte, error) {
	return bytes.Clone([]byte(r)), nil
}

// TestEmbedded holds the restic of this build, or its absence, against what is
// promised: with it, the real program is unpacked and runs; without it, the
// error says so.
func TestEmbedded(t *testing.T) {
	p, err := Restic()
	packed, globErr := filepath.Glob("blob/restic_*.zst")
	if globErr != nil {
		t.Fatal(globErr)
	}
	if len(packed) == 0 {
		if !errors.Is(err, ErrBuiltWithout) {
			t.Errorf("got %v, want %v", err, ErrBuiltWithout)
		}
		return
	}
	if err != nil || p.Version != "0.19.1" {
		t.Fatal(p, err)
	}
	path, err := p.Install(t.Context(), &plainDisk{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context(), realRunner{}, path); err != nil {
		t.Error(err)
	}
}
