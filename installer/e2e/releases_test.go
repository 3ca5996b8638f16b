// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"rochdale/installer/e2e/box"
)

// releases makes bundles of the delivery stack that follow each other, good ones
// and broken ones, from the catalogue and the programs that make built.
type releases struct {
	t     *testing.T
	top   string // of the repository
	dir   string
	count int
}

func newReleases(t *testing.T) *releases {
	t.Helper()
	binary, err := box.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return &releases{t: t, top: filepath.Dir(filepath.Dir(binary)), dir: t.TempDir()}
}

// release says how a bundle differs from the catalogue's stack.
type release struct {
	migration string            // SQL of one more migration
	replace   map[string]string // texts in stack.yaml and compose.yaml
	arch      string            // of its image; empty: this machine's
}

// next builds the next version and gives the file and the version.
func (r *releases) next(x release) (file, version string) {
	r.t.Helper()
	r.count++
	version = fmt.Sprintf("0.2.%d", r.count)
	folder := filepath.Join(r.dir, version)
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(r.top, "stacks", "catalog", "delivery"))); err != nil {
		r.t.Fatal(err)
	}
	r.edit(folder, version, x)
	if x.migration != "" {
		text := "-- +goose Up\n" + x.migration + "\n"
		if err := os.WriteFile(filepath.Join(folder, "migrations", fmt.Sprintf("%05d_next.sql", 1000+r.count)), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	return r.build(folder, version, x.arch), version
}

func (r *releases) edit(folder, version string, x release) {
	r.t.Helper()
	for _, name := range []string{"stack.yaml", "compose.yaml"} {
		path := filepath.Join(folder, name)
		data, err := os.ReadFile(path)
		if err != nil {
			r.t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, "version: ") {
				line = "version: " + version + "\n"
			}
			for old, new := range x.replace {
				line = strings.ReplaceAll(line, old, new)
			}
			lines = append(lines, line)
		}
		if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *releases) build(folder, version, arch string) string {
	r.t.Helper()
	if arch == "" {
		arch = runtime.GOARCH
	}
	file := filepath.Join(r.dir, "delivery-"+version+".bundle")
	parts := filepath.Join(r.top, "dist", "parts")
	cmd := exec.CommandContext(r.t.Context(), filepath.Join(parts, "hub"), "bundle", "build", folder,
		"--program", "coop:"+arch+"="+filepath.Join(parts, "coop-"+runtime.GOARCH), "--output", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	return file
}
