// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rochdale/stacks"
	"rochdale/stacks/bundle"
	"rochdale/stacks/bundle/image"
)

// hub runs one command line.
func hub(t *testing.T, args ...string) (code int, out, talk string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, streams{&stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

// program makes a file that stands for a static program.
func program(t *testing.T, dir, arch string) string {
	t.Helper()
	path := filepath.Join(dir, "coop-"+arch)
	if err := os.WriteFile(path, bytes.Repeat([]byte(arch), 1000), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

const catalogue = "../../stacks/catalog/delivery"

func TestBuildAndThin(t *testing.T) {
	dir := t.TempDir()
	args := []string{"bundle", "build", catalogue, "--output", filepath.Join(dir, "all.bundle")}
	for _, arch := range []string{"amd64", "arm64", "armv7"} {
		args = append(args, "--program", "coop:"+arch+"="+program(t, dir, arch))
	}
	code, out, talk := hub(t, args...)
	line := regexp.MustCompile(`^(sha256:[0-9a-f]{64})  [0-9]+ bytes  .*/all\.bundle\n$`).FindStringSubmatch(out)
	if code != exitDone || line == nil {
		t.Fatalf("%d, %q, %q", code, out, talk)
	}
	first, err := os.ReadFile(filepath.Join(dir, "all.bundle"))
	if err != nil {
		t.Fatal(err)
	}
	if code, again, talk := hub(t, args...); code != exitDone || again != out {
		t.Errorf("built again: %d, %q, %q", code, again, talk)
	}
	second, err := os.ReadFile(filepath.Join(dir, "all.bundle"))
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("built again the bundle has other bytes (%v)", err)
	}
	thin := filepath.Join(dir, "thin.bundle")
	code, out, talk = hub(t, "bundle", "thin", filepath.Join(dir, "all.bundle"), "--arch", "arm64", "--output", thin)
	if code != exitDone || !strings.HasPrefix(out, line[1]) {
		t.Errorf("thin: %d, %q, %q; want the digest %s", code, out, talk, line[1])
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	good := program(t, dir, "amd64")
	broken := filepath.Join(dir, "broken")
	if err := os.Mkdir(broken, 0o755); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out.bundle")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no folder":         {[]string{"bundle", "build", "--output", out}, exitUsage, "one argument"},
		"unknown flag":      {[]string{"bundle", "build", catalogue, "--fast"}, exitUsage, "--fast"},
		"odd program":       {[]string{"bundle", "build", catalogue, "--program", "coop", "--output", out}, exitUsage, "IMAGE:ARCH=FILE"},
		"odd image":         {[]string{"bundle", "build", catalogue, "--image", "db=x", "--output", out}, exitUsage, "--image db=x: write IMAGE:ARCH=FILE"},
		"no such archive":   {[]string{"bundle", "build", catalogue, "--image", "db:amd64=" + broken, "--output", out}, exitUnexpected, "image db for amd64"},
		"no output":         {[]string{"bundle", "build", catalogue, "--program", "coop:amd64=" + good}, exitUsage, "--output"},
		"broken stack":      {[]string{"bundle", "build", broken, "--output", out}, exitCheckFailed, "stack.yaml: the file is not there"},
		"no image":          {[]string{"bundle", "build", catalogue, "--output", out}, exitCheckFailed, "coop"},
		"other image":       {[]string{"bundle", "build", catalogue, "--program", "web:amd64=" + good, "--output", out}, exitCheckFailed, "coop"},
		"other machine":     {[]string{"bundle", "build", catalogue, "--program", "coop:mips=" + good, "--output", out}, exitCheckFailed, "architecture"},
		"no program":        {[]string{"bundle", "build", catalogue, "--program", "coop:amd64=" + good + "x", "--output", out}, exitUnexpected, "coop"},
		"thin of no bundle": {[]string{"bundle", "thin", good, "--arch", "amd64", "--output", out}, exitCheckFailed, "bundle"},
	} {
		code, _, talk := hub(t, c.args...)
		if code != c.code || !strings.Contains(talk, c.says) {
			t.Errorf("%s: %d, %q; want %d and %q", name, code, talk, c.code, c.says)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*bundle*"))
	hidden, hiddenErr := filepath.Glob(filepath.Join(dir, ".rochdale-hub-*"))
	if err != nil || hiddenErr != nil || len(left)+len(hidden) > 0 {
		t.Errorf("left %q and %q", left, hidden)
	}
}

func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var out, talk bytes.Buffer
	code := run(ended, []string{"bundle", "build", catalogue, "--program", "coop:amd64=" + program(t, dir, "amd64"), "--output", filepath.Join(dir, "x.bundle")}, streams{&out, &talk})
	if code != exitInterrupted {
		t.Errorf("%d, %q, %q", code, out.String(), talk.String())
	}
}

// TestBuildOnPostgreSQL makes a bundle of two images, one of them from an archive.
func TestBuildOnPostgreSQL(t *testing.T) {
	dir := t.TempDir()
	server, err := image.Make(image.Program{Name: "server", Arch: "amd64", File: program(t, dir, "amd64"), User: 999})
	if err != nil {
		t.Fatal(err)
	}
	content, err := server.Open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	archive, out := filepath.Join(dir, "postgres.tar"), filepath.Join(dir, "out.bundle")
	if err := errors.Join(err, content.Close(), os.WriteFile(archive, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	code, _, talk := hub(t, "bundle", "build", "../../stacks/testdata/postgres", "--output", out,
		"--program", "coop:amd64="+program(t, dir, "amd64"), "--image", "postgres:amd64="+archive)
	if code != exitDone {
		t.Fatalf("%d, %q", code, talk)
	}
	packed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	stack, _, err := bundle.Describe(t.Context(), bytes.NewReader(packed))
	if err != nil || stack.Manifest.Databases["main"].Engine != stacks.Postgres || !stack.Services[0].Shared {
		t.Errorf("stack %+v, %v", stack, err)
	}
}
