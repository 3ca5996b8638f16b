// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build e2e

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
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
	taken map[string]string // migrations of the releases that were taken, by file
	flavour
}

// flavour is a kind of the delivery stack; the zero value is that of the catalogue.
type flavour struct {
	change   []string          // pairs of texts in stack.yaml and compose.yaml, each there once
	archives map[string]string // of the image "db", by architecture; may be none
	postgres bool              // its rows are in a server
}

// containers is how many run of it.
func (f flavour) containers() int {
	if f.postgres {
		return 2
	}
	return 1
}

func newReleases(t *testing.T) *releases {
	t.Helper()
	return releasesOf(t, flavour{})
}

func releasesOf(t *testing.T, f flavour) *releases {
	t.Helper()
	binary, err := box.Binary()
	if err != nil {
		t.Fatal(err)
	}
	return &releases{t: t, top: filepath.Dir(filepath.Dir(binary)), dir: t.TempDir(), taken: map[string]string{}, flavour: f}
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
	version = r.newest()
	folder := filepath.Join(r.dir, version)
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(r.top, "stacks", "catalog", "delivery"))); err != nil {
		r.t.Fatal(err)
	}
	r.turn(folder)
	r.edit(folder, version, x)
	migrations := maps.Clone(r.taken)
	if x.migration != "" {
		migrations[r.migrationFile()] = "-- +goose Up\n" + x.migration + "\n"
	}
	for name, text := range migrations {
		if err := os.WriteFile(filepath.Join(folder, "migrations", name), []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	return r.build(folder, version, x.arch, r.program(folder)), version
}

// newest is the version of the last one.
func (r *releases) newest() string { return fmt.Sprintf("0.2.%d", r.count) }

// program gives the stack's program for the schema that a release's migrations lead
// to: it is built anew where that is not the catalogue's, with one constant changed and
// an event stream added.
func (r *releases) program(folder string) string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "migrations", "*.sql"))
	if err != nil || len(files) == 0 {
		r.t.Fatalf("no migrations: %v", err)
	}
	schema, _, _ := strings.Cut(filepath.Base(slices.Max(files)), "_")
	schema = strings.TrimLeft(schema, "0")
	if schema == "1" {
		return filepath.Join(r.top, "dist", "parts", "coop-"+runtime.GOARCH)
	}
	out := filepath.Join(r.dir, "coop-"+schema)
	if _, err := os.Stat(out); err == nil {
		return out
	}
	coop := filepath.Join(r.top, "stacks", "coop")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(coop, "store", "store.go"): r.changed(out+"-store.go", filepath.Join(coop, "store", "store.go"),
			"const SchemaVersion = 1\n", "const SchemaVersion = "+schema+"\n"),
		filepath.Join(coop, "web", "routes.go"): r.changed(out+"-routes.go", filepath.Join(coop, "web", "routes.go"),
			"func (s *Server) routes() {\n", "func (s *Server) routes() {\n\ts.mux.HandleFunc(\"GET "+eventsPath+"\", events)\n"),
		filepath.Join(coop, "web", "events.go"): r.events(out + "-events.go"),
	}})
	if err = errors.Join(err, os.WriteFile(out+".json", overlay, 0o600)); err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.CommandContext(r.t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-overlay", out+".json", "-o", out, "rochdale/cmd/coop")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, said)
	}
	return out
}

// changed writes a source file with one text changed to out, and gives that.
func (r *releases) changed(out, source, from, to string) string {
	r.t.Helper()
	text, err := os.ReadFile(source)
	changed := strings.Replace(string(text), from, to, 1)
	if err = errors.Join(err, os.WriteFile(out, []byte(changed), 0o600)); err != nil || changed == string(text) {
		r.t.Fatalf("change %q in %s: %v", from, source, err)
	}
	return out
}

// eventsPath is where the program of a test's release has an event stream: the
// platform has none yet, and others will.
const eventsPath = "/test-events"

func (r *releases) events(out string) string {
	r.t.Helper()
	if err := os.WriteFile(out, []byte(`package web

import (
	"io"
	"net/http"
	"time"
)

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Time{})
	for {
		if _, err := io.WriteString(w, "data: tick\n\n"); err != nil || c.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Second):
		}
	}
}
`), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// migrationFile is where the newest release has its own migration.
func (r *releases) migrationFile() string { return fmt.Sprintf("%05d_next.sql", 1000+r.count) }

// took remembers that the newest release runs: those after it have its migration.
func (r *releases) took(x release) {
	if x.migration != "" {
		r.taken[r.migrationFile()] = "-- +goose Up\n" + x.migration + "\n"
	}
}

// turn makes the catalogue's stack one of the flavour.
func (r *releases) turn(folder string) {
	r.t.Helper()
	for i := 0; i < len(r.change); i += 2 {
		found := 0
		for _, name := range []string{"stack.yaml", "compose.yaml"} {
			path := filepath.Join(folder, name)
			data, err := os.ReadFile(path)
			if err != nil {
				r.t.Fatal(err)
			}
			found += strings.Count(string(data), r.change[i])
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(data), r.change[i], r.change[i+1])), 0o644); err != nil {
				r.t.Fatal(err)
			}
		}
		if found != 1 {
			r.t.Fatalf("%q is %d times in the catalogue's stack", r.change[i], found)
		}
	}
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
			for from, to := range x.replace {
				line = strings.ReplaceAll(line, from, to)
			}
			lines = append(lines, line)
		}
		if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// file is where the bundle of a version lies.
func (r *releases) file(version string) string {
	return filepath.Join(r.dir, "delivery-"+version+".bundle")
}

func (r *releases) build(folder, version, arch, program string) string {
	r.t.Helper()
	if arch == "" {
		arch = runtime.GOARCH
	}
	file := r.file(version)
	args := []string{"bundle", "build", folder, "--program", "coop:" + arch + "=" + program, "--output", file}
	if archive := r.archives[arch]; archive != "" {
		args = append(args, "--image", "db:"+arch+"="+archive)
	}
	cmd := exec.CommandContext(r.t.Context(), filepath.Join(r.top, "dist", "parts", "hub"), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	return file
}
