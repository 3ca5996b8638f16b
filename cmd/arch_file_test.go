// SPDX-License-Identifier: AGPL-3.0-or-later

package cmd_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

const licence = "// SPDX-License-Identifier: AGPL-3.0-or-later"

// checkFile holds one file against the rules that need no other.
func (h *house) checkFile(p *pkg, f file) {
	if f.first != licence {
		h.add(f.name, "the first line is not the licence line")
	}
	for _, decl := range f.syntax.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			h.checkFunc(f, d)
		case *ast.GenDecl:
			h.checkVars(f, d)
			h.countNames(f, d)
		}
	}
	if !f.test && !exempt(p.dir) {
		h.checkShell(f)
	}
}

func (h *house) checkFunc(f file, d *ast.FuncDecl) {
	if d.Name.Name == "init" && d.Recv == nil {
		h.add(h.at(d), "no init()")
	}
	if f.test {
		return
	}
	lines := h.set.Position(d.End()).Line - h.set.Position(d.Pos()).Line + 1
	if lines > maxFunction {
		h.add(h.at(d), "%s has %d lines, more than %d", d.Name.Name, lines, maxFunction)
	}
	if d.Name.IsExported() && exportedReceiver(d) {
		h.count(h.at(d)+" "+d.Name.Name, d.Doc)
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported()
}

// checkVars wants package variables that nothing changes: errors, compiled
// patterns, embedded files, guards; and the one that the linker sets.
func (h *house) checkVars(f file, d *ast.GenDecl) {
	if d.Tok != token.VAR || f.test {
		return
	}
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		embedded := isEmbed(v.Doc) || isEmbed(d.Doc)
		for i, name := range v.Names {
			if !embedded && !fixed(f.name, name.Name, valueAt(v, i)) {
				h.add(h.at(name), "the package variable %s can change", name.Name)
			}
		}
	}
}

func isEmbed(comment *ast.CommentGroup) bool {
	return comment != nil && slices.ContainsFunc(comment.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

func valueAt(v *ast.ValueSpec, i int) ast.Expr {
	if i < len(v.Values) {
		return v.Values[i]
	}
	return nil
}

func fixed(file, name string, value ast.Expr) bool {
	if name == "_" || strings.HasPrefix(name, "Err") || strings.HasPrefix(name, "err") {
		return true
	}
	if strings.HasSuffix(file, "/version.go") && (name == "version" || name == "built") {
		return true
	}
	call, ok := value.(*ast.CallExpr)
	return ok && selector(call.Fun) == "regexp.MustCompile"
}

func selector(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}

// countNames counts the exported types, constants and variables; the comment of
// a group speaks for its members.
func (h *house) countNames(f file, d *ast.GenDecl) {
	if f.test || d.Tok == token.IMPORT {
		return
	}
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				h.count(h.at(s)+" "+s.Name.Name, first(s.Doc, d.Doc))
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() {
					h.count(h.at(name)+" "+name.Name, first(s.Doc, s.Comment, d.Doc))
				}
			}
		}
	}
}

func first(comments ...*ast.CommentGroup) *ast.CommentGroup {
	for _, c := range comments {
		if c != nil {
			return c
		}
	}
	return nil
}

func (h *house) count(name string, comment *ast.CommentGroup) {
	h.exported++
	if comment == nil {
		h.bare = append(h.bare, name)
	}
}

// checkShell finds programs given to a shell as a string: "sh" and "-c" among
// the strings of one call or list, or both in one string.
func (h *house) checkShell(f file) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		var parts []ast.Expr
		switch x := n.(type) {
		case *ast.CallExpr:
			parts = x.Args
		case *ast.CompositeLit:
			parts = x.Elts
		case *ast.BasicLit:
			if words := strings.Fields(text(x)); isShell(words) {
				h.add(h.at(x), "no shell strings: %s", strings.Join(words, " "))
			}
			return true
		default:
			return true
		}
		if words := stringsIn(parts); isShell(words) {
			h.add(h.at(n), "no shell strings: %s", strings.Join(words, " "))
			return false
		}
		return true
	})
}

func isShell(words []string) bool {
	for i, w := range words {
		base := w[strings.LastIndex(w, "/")+1:]
		if slices.Contains([]string{"sh", "bash", "dash", "ash"}, base) && slices.Contains(words[i:], "-c") {
			return true
		}
	}
	return false
}

// stringsIn gives the string literals of a call or list, fields and inner lists
// included.
func stringsIn(parts []ast.Expr) (words []string) {
	for _, e := range parts {
		switch x := e.(type) {
		case *ast.BasicLit:
			words = append(words, text(x))
		case *ast.KeyValueExpr:
			words = append(words, stringsIn([]ast.Expr{x.Value})...)
		case *ast.CompositeLit:
			words = append(words, stringsIn(x.Elts)...)
		}
	}
	return words
}

func text(x *ast.BasicLit) string {
	if x.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(x.Value)
	if err != nil {
		return ""
	}
	return s
}
