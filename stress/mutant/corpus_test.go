// SPDX-License-Identifier: MIT

package mutant

import (
	"fmt"
	"go/ast"
	gobuild "go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The folders of the corpus.
const (
	corpusDir = "../../corpus"
	ordersDir = corpusDir + "/orders"
	erasDir   = corpusDir + "/eras"
	mutDir    = corpusDir + "/mutants"
)

// ordersOfMatrix are the patches that the verdict matrix asks for by name.
var ordersOfMatrix = []string{"chained-create-wake", "chained-run", "run-never-store", "run-then-store"}

// TestCorpus parses every patch of the corpus, applies it to its era (the orders to all eras), and type-checks
// the port. For the eras it type-checks the scenarios as well, which must not use what an older era lacks.
func TestCorpus(t *testing.T) {
	eras, err := LoadEras(erasDir)
	if err != nil {
		t.Fatal(err)
	}
	orders, err := Load(ordersDir)
	if err != nil {
		t.Fatal(err)
	}
	mutants, err := Load(mutDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ordersOfMatrix {
		m, err := Find(orders, name)
		if err != nil {
			t.Error(err)
		} else if want := []string{"target/lockd/svc.go", "target/nfs/callback.go"}; !slices.Equal(m.Files(), want) {
			t.Errorf("%s changes %q: one build serves both services, so it must change %q", name, m.Files(), want)
		}
	}

	if raceEnabled { // one goroutine does it all, and the plain test does it for all of them
		orders, mutants = orders[:1], mutants[:1]
	}
	root, err := FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := newPortTree(root)
	if err != nil {
		t.Fatal(err)
	}
	check := func(also []string, era string, patches ...*Patch) {
		what := []string{era}
		for _, p := range patches {
			what = append(what, p.ID)
		}
		series, err := eras.Series(era)
		if err != nil {
			t.Errorf("%v: %v", what, err)
			return
		}
		var all []*Patch
		for _, e := range series {
			all = append(all, &e.Patch)
		}
		dir := t.TempDir()
		if err := tree.check(dir, append(all, patches...), also); err != nil {
			t.Errorf("%s: %v", strings.Join(what, " + "), err)
		}
		if err := os.RemoveAll(dir); err != nil { // not at the end of the test, with a hundred others
			t.Error(err)
		}
	}
	for _, era := range eras.Names() {
		check([]string{"stress/wire", "stress/history", "stress/oracle", "stress/scenario"}, era)
		for _, m := range orders {
			check(nil, era, m.Diff())
		}
	}
	for _, m := range mutants {
		check(nil, m.Era, m.Diff())
	}
}

// TestCorpusHeaders holds what a reader of a patch may rely on and the parser leaves open.
func TestCorpusHeaders(t *testing.T) {
	for _, dir := range []string{ordersDir, mutDir} {
		list, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.Licence != "GPL-2.0-only" {
				t.Errorf("%s: licence %s: a patch of the port has the port's", m.Path, m.Licence)
			}
			if m.Budget.Schedules == 0 {
				t.Errorf("%s: a budget in time alone depends on the machine: give schedules", m.Path)
			}
			if m.SameAs != "" && m.Era == TreeEra {
				t.Errorf("%s: Same-as in the same era is the same mutant twice", m.Path)
			}
			for _, line := range longLines(t, m.Path) {
				t.Errorf("%s:%d: longer than 120 columns", m.Path, line)
			}
		}
	}
	eras, err := LoadEras(erasDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range eras {
		for _, line := range longLines(t, e.Path) {
			t.Errorf("%s:%d: longer than 120 columns", e.Path, line)
		}
	}
}

// longLines are the lines that a patch adds, or has in its header, of more than 120 columns besides the mark.
func longLines(t *testing.T, name string) (lines []int) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(data), "\n") {
		text, added := strings.CutPrefix(line, "+")
		text = strings.ReplaceAll(text, "\t", " ")
		if (added || strings.Contains(line, ": ")) && len(text) > 120 {
			lines = append(lines, i+1)
		}
	}
	return lines
}

// portTree type-checks variants of target/. What no patch touches is parsed and checked once.
type portTree struct {
	root, module string
	fset         *token.FileSet
	std          types.Importer
	pristine     map[string]*types.Package
}

func newPortTree(root string) (*portTree, error) {
	module, err := modulePath(root)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	return &portTree{root, module, fset, importer.ForCompiler(fset, "source", nil), map[string]*types.Package{}}, nil
}

// check applies patches to target/, with what they change in dir, and type-checks it, and the folders in also with it.
func (p *portTree) check(dir string, patches []*Patch, also []string) error {
	o := &overlay{root: p.root, dir: dir}
	if err := o.take(patches); err != nil {
		return err
	}
	marks, err := applySeries(dir, patches)
	if err != nil {
		return err
	}
	v := &variant{portTree: p, tree: o, changed: marks, done: map[string]*types.Package{}}
	folders := append([]string{"target/lockd", "target/nfs"}, slices.Sorted(maps.Keys(marks))...)
	for _, folder := range append(folders, also...) {
		if _, err := v.Import(p.module + "/" + folder); err != nil {
			return err
		}
	}
	return nil
}

// variant is a patched tree. It is the importer of its own packages.
type variant struct {
	*portTree
	tree    *overlay
	changed map[string][]string
	done    map[string]*types.Package
	dirty   map[string]bool
}

// Import implements types.Importer.
func (v *variant) Import(path string) (*types.Package, error) {
	folder, ours := strings.CutPrefix(path, v.module+"/")
	if !ours {
		return v.std.Import(path)
	}
	if pkg := v.done[path]; pkg != nil {
		return pkg, nil
	}
	if pkg := v.pristine[path]; pkg != nil && !v.reaches(path, pkg) {
		v.done[path] = pkg
		return pkg, nil
	}
	files, err := v.parse(folder)
	if err != nil {
		return nil, err
	}
	conf := types.Config{Importer: v, Sizes: types.SizesFor("gc", "amd64")}
	pkg, err := conf.Check(path, v.fset, files, nil)
	if err != nil {
		return nil, fmt.Errorf("type check: %w", err)
	}
	v.done[path] = pkg
	if !v.reaches(path, pkg) {
		v.pristine[path] = pkg
	}
	return pkg, nil
}

// reaches reports whether a package, or one that it imports, was changed by a patch of this variant.
func (v *variant) reaches(path string, pkg *types.Package) bool {
	if v.dirty == nil {
		v.dirty = map[string]bool{}
	}
	if is, known := v.dirty[path]; known {
		return is
	}
	folder, ours := strings.CutPrefix(path, v.module+"/")
	is := ours && len(v.changed[folder]) > 0
	if ours {
		for _, p := range pkg.Imports() {
			is = is || v.reaches(p.Path(), p)
		}
	}
	v.dirty[path] = is
	return is
}

// parse reads the Go files of a folder that belong to a build here.
func (v *variant) parse(folder string) ([]*ast.File, error) {
	names, err := v.tree.code(folder)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range names {
		if match, err := gobuild.Default.MatchFile(filepath.Split(name)); err != nil || !match {
			if err != nil {
				return nil, err
			}
			continue
		}
		f, err := parser.ParseFile(v.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
