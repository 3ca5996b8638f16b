// SPDX-License-Identifier: AGPL-3.0-or-later

package restictest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"rochdale/appliance/host"
	"rochdale/backups"
)

// Program gives the path of the product's restic. It is unpacked or built once
// for all tests on this machine, and kept in the user's cache folder.
func Program(t testing.TB) string {
	t.Helper()
	path, err := program(t.Context())
	if err != nil {
		t.Fatalf("get restic: %v", err)
	}
	return path
}

func program(ctx context.Context) (string, error) {
	dir, err := cacheFolder()
	if err != nil {
		return "", err
	}
	embedded, err := backups.Restic()
	if err == nil {
		return embedded.Install(ctx, host.NewFiles(), dir)
	}
	if !errors.Is(err, backups.ErrBuiltWithout) {
		return "", err
	}
	return built(ctx, dir)
}

// cacheFolder is where programs for tests are kept.
func cacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "rochdale", "restictest")
	return dir, os.MkdirAll(dir, 0o755)
}

// built gives the restic that its own module pins. The name holds everything
// that the build depends on, so that a file that is there is the right one.
func built(ctx context.Context, dir string) (string, error) {
	module, err := findModule()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	path := filepath.Join(dir, fmt.Sprintf("restic-%x", sum.Sum(nil)))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, build(ctx, module, path)
}

// build makes restic as the Makefile does.
func build(ctx context.Context, module, path string) error {
	return aside(path, func(temp string) error {
		out := filepath.Join(temp, "restic")
		_, err := host.Exec{}.Run(ctx, host.Command{
			Name: "go", Dir: module, Env: append(os.Environ(), "CGO_ENABLED=0"),
			Args: []string{
				"build", "-trimpath", "-buildvcs=false", "-tags", "disable_grpc_modules", "-ldflags", "-s -w",
				"-o", out, "github.com/restic/restic/cmd/restic",
			},
		})
		if err != nil {
			return err
		}
		return os.Rename(out, path)
	})
}

// aside makes a file in a folder of its own, because several tests may do it at once.
func aside(path string, build func(temp string) error) error {
	temp, err := os.MkdirTemp(filepath.Dir(path), "build-")
	if err != nil {
		return err
	}
	return errors.Join(build(temp), os.RemoveAll(temp))
}

// findModule looks for the module that pins restic, upwards from the folder of
// the test that runs.
func findModule() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		module := filepath.Join(dir, "backups", "restic")
		if _, err := os.Stat(filepath.Join(module, "go.mod")); err == nil {
			return module, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the module of restic is in no folder above the test")
		}
		dir = filepath.Dir(dir)
	}
}
