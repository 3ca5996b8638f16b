// SPDX-License-Identifier: AGPL-3.0-or-later

// Package cmd_test holds the house rules of the whole repository: which room may
// import which, who alone may import a tool, and what every file has to have. It
// imports nothing of ours, it reads the sources. It must never be weakened to
// let a change through without a decision record.
package cmd_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const module = "rochdale"

// topLevel is closed: what else lies there has no room yet.
func topLevel() []string {
	return []string{
		"cmd", "appliance", "stacks", "backups", "installer", "docs",
		"go.mod", "go.sum", "README.md", "LICENSE", "Makefile",
	}
}

// room is a part of the house: its own packages, and the rooms of ours that it
// may import. A name with "/..." stands for the room and everything below it.
type room struct {
	name    string
	imports []string
}

// words are the rooms that every room of the appliance may import.
func words(more ...string) []string {
	return append([]string{"appliance", "appliance/step", "appliance/host", "stacks", "stacks/bundle", "backups"}, more...)
}

// rooms lists all of the house; the longest name that fits a package wins.
func rooms() []room {
	list := []room{
		{"cmd", nil},
		{"cmd/rochdale/...", words("installer", "appliance/...", "backups/kit", "backups/shelf")},
		{"cmd/rochdale-hub/...", []string{"stacks", "stacks/bundle/...", "stacks/hub"}},
		{"cmd/coop/...", []string{"stacks/coop/..."}},
		{"installer", words()},
		{"installer/e2e/...", words("installer/...", "appliance/...", "stacks/...")},
		{"installer/testhost/...", words("installer/testhost/...")},
		{"appliance", words()},
		{"appliance/step/...", []string{"appliance/step/..."}},
		{"appliance/host/...", []string{"appliance/host/..."}},
		{"stacks", nil},
		{"stacks/catalog/...", []string{"stacks"}},
		{"stacks/bundle/...", []string{"stacks", "stacks/bundle/..."}},
		{"stacks/hub/...", []string{"stacks", "stacks/bundle", "stacks/hub/..."}},
		{"stacks/coop/...", []string{"stacks/coop/..."}},
		{"backups/...", []string{"backups/..."}},
		{"backups/restictest", []string{"backups", "appliance/host"}},
	}
	for _, tool := range []string{"state", "api", "text", "engine", "edge", "migrate", "update", "doctor", "notify", "dashboard"} {
		name := "appliance/" + tool + "/..."
		list = append(list, room{name, words(name)})
	}
	return list
}

// sole says who alone may import a package (or those below it) in code that is
// not a test. The test machines are exempt.
type sole struct {
	pkg   string
	rooms []string
}

func soles() []sole {
	return []sole{
		{"os/exec", []string{"appliance/host"}},
		{"github.com/docker", []string{"appliance/engine"}},
		{"github.com/caddyserver", []string{"appliance/edge"}},
		{"github.com/quic-go/quic-go", []string{"appliance/edge"}},
		{"github.com/pressly/goose", []string{"appliance/state", "appliance/migrate", "stacks/coop/store"}},
		{"github.com/robfig/cron", []string{"appliance"}},
		{"github.com/theupdateframework/go-tuf", []string{"stacks/hub", "appliance/update"}},
		{"github.com/spf13/cobra", []string{"cmd/rochdale", "cmd/rochdale-hub", "cmd/coop"}},
		{"rochdale/stacks/hub", []string{"cmd/rochdale-hub"}},
		{"rochdale/backups/restictest", []string{"tests"}},
	}
}

const (
	maxFunction  = 80   // lines
	minDocuments = 0.95 // of the exported names
)

// TestHouseRules holds the repository against all rules.
func TestHouseRules(t *testing.T) {
	for _, v := range violations(t, "..") {
		t.Error(v)
	}
}

// TestHouseRulesBite holds a small tree, in which every rule is broken, against
// them: a rule that finds nothing there finds nothing anywhere.
func TestHouseRulesBite(t *testing.T) {
	got := strings.Join(violations(t, "testdata/house"), "\n") + "\n"
	want, err := os.ReadFile("testdata/house.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("violations found in the broken house:\n%s\nwant:\n%s", got, want)
	}
}

// violations gives all that is wrong with the tree, sorted.
func violations(t *testing.T, root string) []string {
	t.Helper()
	h := readHouse(t, root)
	h.checkTop()
	h.checkModule()
	for _, p := range h.packages {
		h.checkRoom(p)
		h.checkComment(p)
		for _, f := range p.files {
			h.checkFile(p, f)
		}
	}
	h.checkDocuments()
	slices.Sort(h.found)
	return h.found
}

func (h *house) add(where, format string, args ...any) {
	h.found = append(h.found, where+": "+fmt.Sprintf(format, args...))
}

// checkTop wants nothing new at the top.
func (h *house) checkTop() {
	for _, name := range h.top {
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel(), name) && !slices.Contains(h.ignored, name) {
			h.add(name, "the top level is closed")
		}
	}
}

// checkModule wants go.mod to say what is built: no replace.
func (h *house) checkModule() {
	for i, line := range strings.Split(h.goMod, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			h.add(fmt.Sprintf("go.mod:%d", i+1), "no replace: %s", strings.TrimSpace(line))
		}
	}
}

// checkRoom wants a package to be in a room that exists, and its imports to
// point one way. Tests may look around.
func (h *house) checkRoom(p *pkg) {
	r, ok := roomOf(p.dir)
	if !ok {
		h.add(p.dir, "no such room in the design")
		return
	}
	for _, f := range p.files {
		for _, path := range f.imports() {
			if f.test {
				continue
			}
			if own, ours := strings.CutPrefix(path, module+"/"); ours && own != p.dir && !covers(r.imports, own) {
				h.add(f.name, "%s may not import %s", strings.TrimSuffix(r.name, "/..."), own)
			}
			h.checkSole(p, f, path)
		}
	}
}

func (h *house) checkSole(p *pkg, f file, path string) {
	for _, s := range soles() {
		if path != s.pkg && !strings.HasPrefix(path, s.pkg+"/") {
			continue
		}
		if !slices.ContainsFunc(s.rooms, func(r string) bool { return within(p.dir, r) }) && !exempt(p.dir) {
			h.add(f.name, "only %s may import %s", strings.Join(s.rooms, ", "), s.pkg)
		}
	}
}

// exempt are the test machines, which are a tool of the tests.
func exempt(dir string) bool {
	return within(dir, "installer/testhost") || within(dir, "installer/e2e")
}

func within(dir, room string) bool { return dir == room || strings.HasPrefix(dir, room+"/") }

func covers(list []string, dir string) bool {
	return slices.ContainsFunc(list, func(name string) bool {
		base, below := strings.CutSuffix(name, "/...")
		return dir == base || below && strings.HasPrefix(dir, base+"/")
	})
}

func roomOf(dir string) (best room, ok bool) {
	for _, r := range rooms() {
		if covers([]string{r.name}, dir) && (!ok || len(r.name) > len(best.name)) {
			best, ok = r, true
		}
	}
	return best, ok
}

// checkComment wants each package to say what it is for, what it may import and
// what it must never do.
func (h *house) checkComment(p *pkg) {
	var said strings.Builder
	code := false
	for _, f := range p.files {
		code = code || !f.test
		if f.syntax.Doc != nil {
			said.WriteString(f.syntax.Doc.Text())
		}
	}
	comment := said.String()
	switch {
	case !code && comment == "":
	case comment == "":
		h.add(p.dir, "the package has no comment")
	case !strings.Contains(comment, "import") || !strings.Contains(comment, "never"):
		h.add(p.dir, "the package comment must say what it may import and what it must never do")
	}
}

// checkDocuments wants nearly all exported names to be documented.
func (h *house) checkDocuments() {
	if h.exported == 0 || float64(len(h.bare)) <= float64(h.exported)*(1-minDocuments) {
		return
	}
	h.add("exported names", "%d of %d have no comment: %s", len(h.bare), h.exported, strings.Join(h.bare, ", "))
}
