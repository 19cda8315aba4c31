// SPDX-License-Identifier: MIT

package kernel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// watched are the files of the floor that exist only in builds without the race detector.
var watched = []string{"strand.go", "race_off.go"}

// unmarked lists the functions of a file without //go:norace, with the remedy.
func unmarked(fset *token.FileSet, f *ast.File) []string {
	const remedy = ": put //go:norace above it (as the last line of its doc comment, after an empty one): tasks " +
		"hand over to each other and the floor guards its state behind the back of the race detector, and it would " +
		"report the floor's own state in place of the port's"
	var wrong []string
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		marked := fn.Doc != nil && slices.ContainsFunc(fn.Doc.List, func(c *ast.Comment) bool { return c.Text == "//go:norace" })
		if !marked {
			wrong = append(wrong, fset.Position(fn.Pos()).String()+": func "+fn.Name.Name+remedy)
		}
		// The mark does not reach into function literals: what they do must be calls, and what they capture
		// their own.
		ast.Inspect(fn, func(n ast.Node) bool {
			lit, ok := n.(*ast.FuncLit)
			if !ok {
				return true
			}
			ast.Inspect(lit.Body, func(n ast.Node) bool {
				at, ok := n.(*ast.AssignStmt)
				if ok && at.Tok != token.DEFINE && !blank(at) {
					wrong = append(wrong, fset.Position(at.Pos()).String()+": an assignment in a function literal of "+
						fn.Name.Name+": //go:norace does not reach there; make it a function")
				}
				return true
			})
			return false
		})
	}
	return wrong
}

func blank(at *ast.AssignStmt) bool {
	id, ok := at.Lhs[0].(*ast.Ident)
	return ok && id.Name == "_" && len(at.Lhs) == 1
}

func TestNorace(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) < 10 {
		t.Fatalf("%d files (%v)", len(names), err)
	}
	fset := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || slices.Contains(watched, name) {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, wrong := range unmarked(fset, f) {
			t.Error(wrong)
		}
	}
}

func TestNoraceSees(t *testing.T) {
	const src = `package p
// a does.
//
//go:norace
func a() {}
// b does not.
func b() {}
//go:norace
func c() { func() { x = 1 }() }
// go:norace
func d() {}
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	got := unmarked(fset, f)
	for i, want := range []string{"p.go:7:1: func b: put //go:norace above it", "p.go:9:21: an assignment in a function literal of c", "p.go:11:1: func d"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("got %q, want %s", got, want)
		}
	}
}
