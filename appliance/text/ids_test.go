// SPDX-License-Identifier: AGPL-3.0-or-later

package text

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestIDsInCode holds the code against the catalogues: every id that the code
// gives to a person is known, and no known id is left that nothing gives.
func TestIDsInCode(t *testing.T) {
	known := map[string]bool{}
	for _, area := range readAreas(t) {
		for id := range area {
			known[id] = true
		}
	}
	code := scan(t, "../..")
	for id, where := range code.ids {
		if !known[id] {
			t.Errorf("%s: no catalogue knows the message %q", where, id)
		}
	}
	for id := range known {
		if !strings.HasPrefix(id, "step.") && !code.mentions(id) {
			t.Errorf("the message %q is in a catalogue and nowhere in the code", id)
		}
	}
	checkSteps(t, code, known)
}

// checkSteps wants a title step.PLAN.STEP for every step that a package makes,
// with one of the plans that it makes.
func checkSteps(t *testing.T, code scanned, known map[string]bool) {
	t.Helper()
	used := map[string]bool{}
	for dir, steps := range code.steps {
		for id, where := range steps {
			titled := false
			for _, plan := range code.plans[dir] {
				title := "step." + plan + "." + id
				titled = titled || known[title]
				used[title] = true
			}
			if !titled {
				t.Errorf("%s: step %q has no title in any plan of its package (%v)", where, id, code.plans[dir])
			}
		}
	}
	for id := range known {
		if strings.HasPrefix(id, "step.") && !used[id] {
			t.Errorf("the step title %q belongs to no step", id)
		}
	}
}

// TestScanSeesIDs is the negative test: the walk finds ids in every way in which
// code gives them.
func TestScanSeesIDs(t *testing.T) {
	code := scan(t, "testdata/code")
	want := []string{"a.direct", "a.finding", "a.label", "a.literal", "a.method", "a.wrapped", "a.wrapped-twice"}
	var got []string
	for id := range code.ids {
		got = append(got, id)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if !code.mentions("a.state.running") || code.mentions("a.nowhere") {
		t.Error("prefixes are not followed")
	}
	if _, ok := code.steps["testdata/code"]["unpack"]; !ok || !slices.Equal(code.plans["testdata/code"], []string{"moving"}) {
		t.Errorf("steps %v, plans %v", code.steps, code.plans)
	}
}

// TestNoIDsInDetails: what is filled in for {detail} is read by people, and the id of a
// message tells them nothing. The message itself stands beside it, in words.
func TestNoIDsInDetails(t *testing.T) {
	for _, where := range scan(t, "../..").idDetails {
		t.Errorf("%s: an id is given as a detail", where)
	}
	if got := scan(t, "testdata/code").idDetails; len(got) != 1 {
		t.Errorf("the walk over the code found %v, want one", got)
	}
}

// idDetail tells whether a call has the arguments "detail", x.ID.
func idDetail(c *ast.CallExpr) bool {
	for i := 1; i < len(c.Args); i++ {
		if name, ok := stringOf(c.Args[i-1]); ok && name == "detail" {
			if x, ok := c.Args[i].(*ast.SelectorExpr); ok && x.Sel.Name == "ID" {
				return true
			}
		}
	}
	return false
}

// scanned is what the walk over the code found.
type scanned struct {
	ids      map[string]string            // id given to a person → where
	literals map[string]bool              // every string in the code
	steps    map[string]map[string]string // by folder: step id → where
	plans    map[string][]string          // by folder: names of plans
	// idDetails are where the id of a message is given as a detail of another.
	idDetails []string
}

// mentions tells whether the id is a string of the code, or begins with one
// that ends in a dot ("cli.effect." + kind).
func (s scanned) mentions(id string) bool {
	if s.literals[id] {
		return true
	}
	for i := strings.LastIndex(id, "."); i > 0; i = strings.LastIndex(id[:i], ".") {
		if s.literals[id[:i+1]] {
			return true
		}
	}
	return false
}

// scan reads the packages below root, tests and test data left out.
func scan(t *testing.T, root string) scanned {
	t.Helper()
	s := scanned{ids: map[string]string{}, literals: map[string]bool{}, steps: map[string]map[string]string{}, plans: map[string][]string{}}
	set := token.NewFileSet()
	packages := map[string][]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (d.Name() == "testdata" || d.Name() == "testhost" || d.Name() == "cutbox" || strings.HasPrefix(d.Name(), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		packages[dir] = append(packages[dir], file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, files := range packages {
		p := packageScan{set: set, files: files, givers: givers()}
		for p.learn() {
		}
		p.collect(dir, &s)
	}
	return s
}

// givers are the functions that give a message to a person: by name, the place
// of the id among the arguments.
func givers() map[string]int {
	return map[string]int{"Problem": 0, "t": 0, "Label": 1, "Say": 0, "Note": 0, "Has": 0}
}

type packageScan struct {
	set    *token.FileSet
	files  []*ast.File
	givers map[string]int
}

// learn finds functions that pass a parameter of theirs on as an id; it tells
// whether it found a new one.
func (p packageScan) learn() (found bool) {
	for _, file := range p.files {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if _, known := p.givers[fn.Name.Name]; known {
				continue
			}
			if i, ok := p.passesOn(fn); ok {
				p.givers[fn.Name.Name] = i
				found = true
			}
		}
	}
	return found
}

func (p packageScan) passesOn(fn *ast.FuncDecl) (int, bool) {
	place := map[string]int{}
	i := 0
	for _, field := range fn.Type.Params.List {
		for _, name := range field.Names {
			place[name.Name] = i
			i++
		}
	}
	at, ok := 0, false
	p.given(fn.Body, func(e ast.Expr) {
		if id, isName := e.(*ast.Ident); isName && !ok {
			at, ok = place[id.Name], has(place, id.Name)
		}
	})
	return at, ok
}

func has(m map[string]int, k string) bool { _, ok := m[k]; return ok }

// given calls back with every expression below n that is given as an id.
func (p packageScan) given(n ast.Node, found func(ast.Expr)) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.CallExpr:
			if i, ok := p.givers[lastName(x.Fun)]; ok && i < len(x.Args) {
				found(x.Args[i])
			}
		case *ast.CompositeLit:
			if slices.Contains([]string{"Message", "Problem", "Finding"}, lastName(x.Type)) {
				if id := valueOf(x, "ID"); id != nil {
					found(id)
				}
			}
		}
		return true
	})
}

var idForm = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$`)

func (p packageScan) collect(dir string, s *scanned) {
	for _, file := range p.files {
		p.given(file, func(e ast.Expr) {
			if id, ok := stringOf(e); ok && idForm.MatchString(id) {
				s.ids[id] = p.set.Position(e.Pos()).String()
			}
		})
		ast.Inspect(file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.BasicLit:
				if v, ok := stringOf(x); ok {
					s.literals[v] = true
				}
			case *ast.CallExpr:
				if idDetail(x) {
					s.idDetails = append(s.idDetails, p.set.Position(x.Pos()).String())
				}
			case *ast.CompositeLit:
				p.steps(dir, x, s)
			}
			return true
		})
	}
}

// steps notes step.Step{ID: "..."} (with or without its type in a list) and
// step.Plan{Name: "..."}.
func (p packageScan) steps(dir string, x *ast.CompositeLit, s *scanned) {
	if id, ok := stringOf(valueOf(x, "ID")); ok && valueOf(x, "Do") != nil {
		if s.steps[dir] == nil {
			s.steps[dir] = map[string]string{}
		}
		s.steps[dir][id] = p.set.Position(x.Pos()).String()
	}
	if name, ok := stringOf(valueOf(x, "Name")); ok && lastName(x.Type) == "Plan" {
		s.plans[dir] = append(s.plans[dir], name)
	}
}

func lastName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	default:
		return ""
	}
}

func valueOf(x *ast.CompositeLit, key string) ast.Expr {
	for _, e := range x.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok && lastName(kv.Key) == key {
			return kv.Value
		}
	}
	return nil
}

func stringOf(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	v, err := strconv.Unquote(lit.Value)
	return v, err == nil
}

// TestNoMessageFileIsForgotten wants every file beside this one to be embedded.
func TestNoMessageFileIsForgotten(t *testing.T) {
	entries, err := os.ReadDir("messages")
	if err != nil {
		t.Fatal(err)
	}
	areas := readAreas(t)
	for _, e := range entries {
		if _, ok := areas["messages/"+e.Name()]; !ok {
			t.Errorf("messages/%s is not a message file", e.Name())
		}
	}
}
