// SPDX-License-Identifier: AGPL-3.0-or-later

package cmd_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// house is the repository as the rules see it.
type house struct {
	root     string
	set      *token.FileSet
	top      []string // names at the top
	ignored  []string // folders that .gitignore names: what the build makes
	goMod    string
	packages map[string]*pkg
	exported int      // exported names
	bare     []string // those without a comment
	found    []string
}

type pkg struct {
	dir   string // from the root, with slashes
	files []file
}

type file struct {
	name   string // from the root
	first  string // its first line
	test   bool
	syntax *ast.File
}

func (f file) imports() (paths []string) {
	for _, i := range f.syntax.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// readHouse reads all Go files of the module: test data, folders with a dot and
// nested modules are no part of it.
func readHouse(t *testing.T, root string) *house {
	t.Helper()
	h := &house{root: root, set: token.NewFileSet(), packages: map[string]*pkg{}}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		h.top = append(h.top, e.Name())
	}
	h.goMod = h.text(t, "go.mod")
	for line := range strings.Lines(h.text(t, ".gitignore")) {
		h.ignored = append(h.ignored, strings.Trim(strings.TrimSpace(line), "/"))
	}
	if err := filepath.WalkDir(root, h.visit); err != nil {
		t.Fatal(err)
	}
	if len(h.packages) == 0 {
		t.Fatalf("no Go files below %s", root)
	}
	return h
}

func (h *house) text(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (h *house) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if d.IsDir() {
		return h.enter(path, d)
	}
	if !strings.HasSuffix(path, ".go") {
		return nil
	}
	return h.read(path)
}

func (h *house) enter(path string, d fs.DirEntry) error {
	if path == h.root {
		return nil
	}
	if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(path, "go.mod")); !errors.Is(err, fs.ErrNotExist) {
		return filepath.SkipDir
	}
	return nil
}

func (h *house) read(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(h.root, path)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	syntax, err := parser.ParseFile(h.set, name, data, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := filepath.ToSlash(filepath.Dir(name))
	if h.packages[dir] == nil {
		h.packages[dir] = &pkg{dir: dir}
	}
	first, _, _ := strings.Cut(string(data), "\n")
	h.packages[dir].files = append(h.packages[dir].files, file{name: name, first: first, test: strings.HasSuffix(name, "_test.go"), syntax: syntax})
	return nil
}

func (h *house) at(n ast.Node) string {
	p := h.set.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}
