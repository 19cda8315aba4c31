// SPDX-License-Identifier: MIT

// Package svcfuzz has no code of its own: its tests hold the rules that the whole tree keeps.
package svcfuzz

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/seed17199236/svcfuzz"

// rooms says who may import whom, in the notation of go/build's own dependency test: after `a < b`, b
// may import a and everything that a may import. Names between two `<` are one row; they do
// not import each other unless another rule says so. NONE has nothing below it. A rule ends with a
// semicolon.
const rooms = `
	NONE < target/kernel < target/kernel/sock, target/kernel/choosertest < target/sunrpc < target/lockd, target/nfs;

	target/kernel/choosertest < target/fs < target/lockd, target/nfs;

	NONE < stress/scratch, stress/leakcheck, stress/rpcclient, stress/wire, stress/history;

	stress/scratch < stress/mutant;

	stress/rpcclient, stress/wire < stress/rpcbind, stress/nlmclient;

	target/kernel < stress/program < stress/explore < stress/calibrate < stress/spin;

	target/lockd, target/nfs, stress/wire, stress/history < stress/oracle < stress/scenario;

	stress/scenario, stress/explore < stress/report < stress/soak < stress/job
	< stress/bench, stress/verdict, stress/portfolio, stress/audit, fuzz;

	stress/portfolio < stress/runner;

	stress/leakcheck < stress/soak, stress/server, fuzz;

	stress/scratch < stress/portfolio, stress/audit, stress/spin, stress/peers;

	stress/mutant < stress/verdict, stress/audit, fuzz;

	stress/oracle, stress/rpcbind, stress/nlmclient < stress/server < stress/replay < stress/peers;

	NONE < stress/peers/guest;

	stress/rpcclient, stress/server < stress/load < stress;

	fuzz < fuzz/libfuzzer;

	stress/calibrate < stress/bench;

	stress/verdict, stress/bench, stress/server, stress/runner, stress/portfolio, stress/audit, stress/spin,
	stress/peers < stress;
`

// testRoom is the room that tests alone may import.
const testRoom = "target/kernel/choosertest"

// portRooms are the rooms that keep the rules of the port.
var portRooms = []string{"target/fs", "target/sunrpc", "target/lockd", "target/nfs"}

// forbiddenImports of the port, with what to use in their place. A name stands for its subfolders too.
var forbiddenImports = map[string]string{
	"C":            "the port is Go only",
	"context":      "wait with the primitives of target/kernel",
	"crypto/rand":  "use m.RandomU32, which a schedule can replay",
	"hash/maphash": "its seed differs from run to run; write the hash out",
	"io":           "use the buffers of target/kernel/sock and sunrpc's xdr.go",
	"iter":         "keep a kernel.List and walk it",
	"log":          "use m.Printk, which notes the line in the trace",
	"maps":         "its order differs from run to run; keep a slice or a kernel.List",
	"math/rand":    "use m.RandomU32, which a schedule can replay",
	"net":          "use target/kernel/sock, which exists on both back ends",
	"os":           "take what you need as an argument; the port sees no machine but m",
	"reflect":      "name the type",
	"runtime":      "the floor alone deals with goroutines",
	"sync":         "use kernel.Spinlock, kernel.Mutex, kernel.Atomic or kernel.Flags, which the chooser sees",
	"syscall":      "errno and signals are in target/kernel",
	"testing":      "target/ is free of test code; put it into a _test.go file or into stress/",
	"time":         "use kernel.Jiffies, kernel.ScheduleTimeout or kernel.Timer, which run on virtual time",
	"unsafe":       "the floor's cells cannot see through it",
}

// order is the parsed table: for each room the rooms it may import.
type order map[string]map[string]bool

// parseRooms reads a table in the notation above.
func parseRooms(table string) (order, error) {
	may := order{}
	for rule := range strings.SplitSeq(table, ";") {
		if strings.TrimSpace(rule) == "" {
			continue
		}
		var below []string
		for i, row := range strings.Split(rule, "<") {
			var names []string
			for name := range strings.SplitSeq(row, ",") {
				name = strings.TrimSpace(name)
				if name == "" || strings.ContainsAny(name, " \t\n") {
					return nil, fmt.Errorf("rule %q: a row is names with commas between them", strings.TrimSpace(rule))
				}
				names = append(names, name)
			}
			for _, name := range names {
				if i == 0 && may[name] == nil && name != "NONE" {
					return nil, fmt.Errorf("rule %q: %s is used before the rule that says what it may import",
						strings.TrimSpace(rule), name)
				}
				if may[name] == nil {
					may[name] = map[string]bool{}
				}
				for _, b := range below {
					if b == name || may[b][name] {
						return nil, fmt.Errorf("rule %q: %s and %s would import each other",
							strings.TrimSpace(rule), b, name)
					}
					may[name][b] = true
					for deeper := range may[b] {
						may[name][deeper] = true
					}
				}
			}
			below = names
		}
	}
	delete(may, "NONE")
	return may, nil
}

// checkImport says what is wrong with one import, or nothing.
func (may order) checkImport(room, imported string, test bool) string {
	if _, ok := may[room]; !ok {
		return fmt.Sprintf("folder %s is in no row of the table: give it a place in rooms_test.go", room)
	}
	if to, ok := strings.CutPrefix(imported, module+"/"); ok {
		if to != room && !may[room][to] {
			return fmt.Sprintf("%s may not import %s: move the code to a room that may, hand it in as an argument or "+
				"an interface, or change the table in rooms_test.go and say why", room, to)
		}
		if to == testRoom && !test {
			return fmt.Sprintf("%s imports %s: that is for tests alone", room, to)
		}
		return ""
	}
	first, _, _ := strings.Cut(imported, "/")
	if strings.HasPrefix(room, "target/") && strings.Contains(first, ".") && !test {
		return fmt.Sprintf("%s imports %s: the target depends on Go alone; write the part you need, or use it from stress/",
			room, imported)
	}
	if slices.Contains(portRooms, room) && !test {
		for at := imported; at != "."; at = path.Dir(at) {
			if remedy, ok := forbiddenImports[at]; ok {
				return fmt.Sprintf("the port may not import %s: %s", imported, remedy)
			}
		}
	}
	return ""
}

// skipDir says which folders are no part of the tree.
func skipDir(name string, d fs.DirEntry) bool {
	if !d.IsDir() {
		return false
	}
	base := d.Name()
	return name == "findings" || base == "testdata" || strings.HasPrefix(base, ".") && base != "." && base != ".ci" &&
		base != ".github" && base != ".clusterfuzzlite" || strings.HasPrefix(base, "_")
}

// eachFile calls fn for the files of the tree, with slashes.
func eachFile(t *testing.T, fn func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case skipDir(name, d):
			return fs.SkipDir
		case d.Type().IsRegular():
			fn(filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRooms reads the import lines of every Go file, whatever its build tags.
func TestRooms(t *testing.T) {
	may, err := parseRooms(rooms)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	eachFile(t, func(name string) {
		room := path.Dir(name)
		if path.Ext(name) != ".go" || room == "." || strings.HasPrefix(room, "tools") {
			return
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, imp := range f.Imports {
			imported := strings.Trim(imp.Path.Value, "`\"")
			if wrong := may.checkImport(room, imported, strings.HasSuffix(name, "_test.go")); wrong != "" {
				t.Errorf("%s: %s", fset.Position(imp.Pos()), wrong)
			}
		}
	})
}

// TestPort looks at the code of the port for what the floor must give it.
func TestPort(t *testing.T) {
	imp := exports(t, "./target/...")
	for _, room := range portRooms {
		fset := token.NewFileSet()
		names, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(names) == 0 {
			t.Errorf("%s: no Go files (%v)", room, err)
			continue
		}
		var files []*ast.File
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
		for _, wrong := range checkPort(fset, module+"/"+room, files, imp(fset)) {
			t.Error(wrong)
		}
	}
}

// elsewhere are the systems that the tree is built for besides the one that it is developed on.
var elsewhere = []build.Context{{GOOS: "windows", GOARCH: "amd64"}, {GOOS: "darwin", GOARCH: "arm64"}, {GOOS: "linux", GOARCH: "386"}}

// TestElsewhere looks for names that other systems do not have: those of package syscall, and those of the tree that
// stand in files for one system. It compiles nothing; `GOOS=windows go vet ./...` looks at everything, and takes minutes.
func TestElsewhere(t *testing.T) {
	for _, ctxt := range elsewhere {
		ctxt.Compiler, ctxt.GOROOT = "gc", build.Default.GOROOT
		known := declared(t, &ctxt, filepath.Join(build.Default.GOROOT, "src", "syscall"))
		rooms := map[string]bool{}
		eachFile(t, func(name string) {
			if path.Ext(name) == ".go" && !strings.HasPrefix(name, "tools") {
				rooms[path.Dir(name)] = true
			}
		})
		if len(known.names) < 100 || len(rooms) < 30 {
			t.Fatalf("%s: %d names of package syscall, %d rooms", ctxt.GOOS, len(known.names), len(rooms))
		}
		for room := range rooms {
			here := declared(t, &ctxt, room)
			for _, f := range here.files {
				for _, wrong := range foreign(f, here.names, known.names) {
					t.Errorf("%s: %s/%s has no %s: put it into a file with a build constraint, and say in one for the others what "+
						"cannot be done there", here.fset.Position(wrong.Pos()), ctxt.GOOS, ctxt.GOARCH, wrong.Name)
				}
			}
		}
	}
}

// sources are the files of a folder that belong to a build, and what they declare.
type sources struct {
	fset  *token.FileSet
	files []*ast.File
	names map[string]bool
}

func declared(t *testing.T, ctxt *build.Context, dir string) *sources {
	t.Helper()
	s := &sources{fset: token.NewFileSet(), names: map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if match, err := ctxt.MatchFile(dir, e.Name()); err != nil || !match || path.Ext(e.Name()) != ".go" ||
			strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(s.fset, filepath.Join(dir, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		s.files = append(s.files, f)
		for name := range f.Scope.Objects {
			s.names[name] = true
		}
	}
	return s
}

// foreign are the names in a file that neither its package nor package syscall has.
func foreign(f *ast.File, own, known map[string]bool) (wrong []*ast.Ident) {
	imported := map[string]bool{}
	for _, imp := range f.Imports {
		name := path.Base(strings.Trim(imp.Path.Value, "\""))
		if imp.Name != nil {
			name = imp.Name.Name
		}
		imported[name] = true
	}
	for _, id := range f.Unresolved {
		if imported["."] || own[id.Name] || imported[id.Name] || types.Universe.Lookup(id.Name) != nil {
			continue
		}
		if !slices.ContainsFunc(f.Imports, func(imp *ast.ImportSpec) bool { // go-isatty is package isatty, x/v2 is x
			return imp.Name == nil && strings.Contains(imp.Path.Value, id.Name)
		}) {
			wrong = append(wrong, id)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "syscall" && imported["syscall"] && !known[sel.Sel.Name] {
				wrong = append(wrong, sel.Sel)
			}
		}
		return true
	})
	return wrong
}

// exports returns a maker of importers that read what the go command has compiled of the named packages.
func exports(t *testing.T, patterns ...string) func(*token.FileSet) types.Importer {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}"}
	cmd := exec.Command("go", append(args, patterns...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	file := map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, export, _ := strings.Cut(strings.TrimSpace(line), "=")
		file[name] = export
	}
	return func(fset *token.FileSet) types.Importer {
		return importer.ForCompiler(fset, "gc", func(name string) (io.ReadCloser, error) {
			if file[name] == "" {
				return nil, errors.New("not compiled")
			}
			return os.Open(file[name])
		})
	}
}

// checkPort lists what a package of the port does that only the floor may do.
func checkPort(fset *token.FileSet, pkgPath string, files []*ast.File, imp types.Importer) []string {
	var wrong []string
	report := func(n ast.Node, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), fmt.Sprintf(format, args...)))
	}
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{},
		Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: imp}
	if _, err := conf.Check(pkgPath, fset, files, info); err != nil {
		return []string{err.Error()}
	}

	const machineState = "two machines of one process would share it; " +
		"make it a field of the room's own object (Sunrpc, Lockd, Nfs)"
	changed := func(at ast.Expr) {
		if v := packageVar(info, at); v != nil {
			report(at, "package-level variable %s is changed: %s", v.Name(), machineState)
		}
	}
	isChan := func(e ast.Expr) bool {
		if t := info.TypeOf(e); t != nil {
			_, ok := t.Underlying().(*types.Chan)
			return ok
		}
		return false
	}
	const noChan = "use a kernel.Completion, a kernel.WaitQueueHead or kernel.WakeUpProcess: " +
		"a channel remembers a wake-up, the kernel does not"
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				report(n, "go statement: start a task with m.KthreadCreate or m.KthreadRun, "+
					"so that the chooser can schedule it")
			case *ast.SelectStmt:
				report(n, "select: %s", noChan)
			case *ast.ChanType:
				report(n, "channel type: %s", noChan)
			case *ast.SendStmt:
				report(n, "send on a channel: %s", noChan)
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					report(n, "receive from a channel: %s", noChan)
				}
			case *ast.RangeStmt:
				if t := info.TypeOf(n.X); t != nil {
					if _, ok := t.Underlying().(*types.Map); ok {
						report(n, "range over a map: its order differs from run to run; "+
							"keep a slice or a kernel.List beside the map")
					}
				}
				if isChan(n.X) {
					report(n, "range over a channel: %s", noChan)
				}
				if n.Tok == token.ASSIGN {
					changed(n.Key)
					if n.Value != nil {
						changed(n.Value)
					}
				}
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, left := range n.Lhs {
						changed(left)
					}
				}
			case *ast.IncDecStmt:
				changed(n.X)
			case *ast.CallExpr:
				checkCall(info, n, report, changed)
			}
			return true
		})
	}
	for id, obj := range info.Defs {
		v, ok := obj.(*types.Var)
		if ok && v.Parent() == v.Pkg().Scope() && holdsFloorState(v.Type(), map[types.Type]bool{}) {
			report(id, "package-level variable %s holds state of the floor: %s", v.Name(), machineState)
		}
	}
	slices.Sort(wrong)
	return wrong
}

// checkCall looks at one call: prints, recover, and built-ins and methods that change a package-level variable.
func checkCall(info *types.Info, call *ast.CallExpr, report func(ast.Node, string, ...any), changed func(ast.Expr)) {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		if _, ok := info.Uses[fun].(*types.Builtin); !ok {
			return
		}
		switch fun.Name {
		case "print", "println":
			report(call, "%s: use m.Printk, which notes the line in the trace", fun.Name)
		case "recover":
			report(call, "recover: the floor ends a killed task by unwinding it; let the panic pass")
		case "delete", "clear", "copy":
			changed(call.Args[0])
		}
	case *ast.SelectorExpr:
		if f, ok := info.Uses[fun.Sel].(*types.Func); ok && f.Pkg() != nil && f.Pkg().Path() == "fmt" {
			if name := f.Name(); strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Fprint") {
				report(call, "fmt.%s: use m.Printk, which notes the line in the trace", name)
			}
		}
		// A method with a pointer receiver on a variable takes its address to change it.
		if s := info.Selections[fun]; s != nil && s.Kind() == types.MethodVal {
			_, pointer := s.Obj().(*types.Func).Signature().Recv().Type().(*types.Pointer)
			_, indirect := s.Recv().(*types.Pointer)
			if pointer && !indirect {
				changed(fun.X)
			}
		}
	}
}

// packageVar is the package-level variable that an expression is a part of, or nil. What lies behind
// a pointer is not a part.
func packageVar(info *types.Info, e ast.Expr) *types.Var {
	for {
		switch at := ast.Unparen(e).(type) {
		case *ast.Ident:
			if v, ok := info.Uses[at].(*types.Var); ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return v
			}
			return nil
		case *ast.SelectorExpr:
			if info.Selections[at] == nil { // pkg.Var
				e = at.Sel
				continue
			}
			e = at.X
		case *ast.IndexExpr:
			e = at.X
		case *ast.StarExpr:
			e = at.X
		default:
			return nil
		}
	}
}

// holdsFloorState says whether a value of the type contains a structure of the floor.
func holdsFloorState(t types.Type, seen map[types.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if named, ok := types.Unalias(t).(*types.Named); ok && named.Obj().Pkg() != nil {
		_, isStruct := named.Underlying().(*types.Struct)
		if isStruct && strings.HasPrefix(named.Obj().Pkg().Path(), module+"/target/kernel") {
			return true
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Struct:
		for f := range u.Fields() {
			if holdsFloorState(f.Type(), seen) {
				return true
			}
		}
	case *types.Array:
		return holdsFloorState(u.Elem(), seen)
	case *types.Slice:
		return holdsFloorState(u.Elem(), seen)
	}
	return false
}

func TestParseRooms(t *testing.T) {
	may, err := parseRooms("NONE < a < b, c; b < d;")
	if err != nil {
		t.Fatal(err)
	}
	for pair, want := range map[string]bool{
		"b a": true, "c a": true, "d a": true, "d b": true, "b c": false, "d c": false, "a b": false,
	} {
		from, to, _ := strings.Cut(pair, " ")
		if may[from][to] != want {
			t.Errorf("%s may import %s: %v", from, to, !want)
		}
	}
	for table, want := range map[string]string{
		"NONE < a <;":               "a row is names with commas",
		"x < a;":                    "x is used before the rule",
		"NONE < a b;":               "a row is names with commas",
		"NONE < a < b; b < a;":      "would import each other",
		"NONE < a < b < c; c < b ;": "would import each other",
	} {
		if _, err := parseRooms(table); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", table, err, want)
		}
	}
}

func TestCheckImport(t *testing.T) {
	may, err := parseRooms(rooms)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		room, imported string
		test           bool
		want           string
	}{
		{"target/lockd", module + "/target/sunrpc", false, ""},
		{"stress", module + "/target/kernel", false, ""},
		{"target/sunrpc", module + "/target/lockd", false, "target/sunrpc may not import target/lockd: move the code"},
		{"target/nfs", module + "/target/lockd", false, "target/nfs may not import target/lockd"},
		{"target/kernel", module + "/stress/oracle", true, "target/kernel may not import stress/oracle"},
		{"stress/novel", "fmt", false, "folder stress/novel is in no row of the table: give it a place"},
		{"target/kernel", "sync", false, ""},
		{"target/kernel", "go.uber.org/goleak", true, ""},
		{"target/kernel", "github.com/davecgh/go-spew/spew", false, "the target depends on Go alone"},
		{"target/sunrpc", "fmt", false, ""},
		{"target/sunrpc", "sync/atomic", false, "the port may not import sync/atomic: use kernel.Spinlock"},
		{"target/lockd", "time", false, "the port may not import time: use kernel.Jiffies"},
		{"target/lockd", "time", true, ""},
		{"target/lockd", module + "/" + testRoom, true, ""},
		{"target/lockd", module + "/" + testRoom, false, "that is for tests alone"},
		{"target/lockd", "math/rand/v2", false, "use m.RandomU32"},
		{"target/lockd", "math/bits", false, ""},
		{"target/nfs", "os/exec", false, "the port sees no machine but m"},
		{"target/nfs", "net/netip", false, "use target/kernel/sock"},
	} {
		got := may.checkImport(test.room, test.imported, test.test)
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s imports %s: got %q, want %q", test.room, test.imported, got, test.want)
		}
	}
}

// TestCheckPort shows every rule of the port firing on one bad line, and none on a sound file.
func TestCheckPort(t *testing.T) {
	const floor = `package kernel
type Spinlock struct{ held bool }
func (l *Spinlock) Lock() { l.held = true }
type Task struct{}
const GFP_KERNEL = 1
`
	const sound = `package p
import ("fmt"; "` + module + `/target/kernel")
var names = []string{"BUSY", "CONN"}
var table = [...]struct{ f func() int }{{func() int { return kernel.GFP_KERNEL }}}
var first = &table[0]
type t struct { lock kernel.Spinlock; m map[int]int; cur *kernel.Task; n int }
func (x *t) f() string {
	x.lock.Lock()
	for i := range names { x.n += i }
	x.m[1]++
	delete(x.m, 1)
	names := append([]string(nil), names...)
	names[0] = "x"
	return fmt.Sprintf("%d %v", x.n, first.f())
}
`
	std := exports(t, "fmt")
	check := func(source string) []string {
		fset := token.NewFileSet()
		parse := func(name, text string) []*ast.File {
			f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			return []*ast.File{f}
		}
		kernelPath := module + "/target/kernel"
		kernel, err := new(types.Config).Check(kernelPath, fset, parse("kernel.go", floor), nil)
		if err != nil {
			t.Fatal(err)
		}
		return checkPort(fset, "p", parse("p.go", source), with{std(fset), kernelPath, kernel})
	}
	if wrong := check(sound); len(wrong) != 0 {
		t.Errorf("a sound file: %q", wrong)
	}
	for line, want := range map[string]string{
		"func f() { go g() }":                          "p.go:9:12: go statement: start a task with m.KthreadCreate",
		"func f() { select {} }":                       "select: use a kernel.Completion",
		"type c chan int":                              "channel type: use a kernel.Completion",
		"func f(c interface{ C() cc }) { c.C() <- 1 }": "send on a channel",
		"func f(x cc) int { return <-x }":              "receive from a channel",
		"func f(x cc) { for range x {} }":              "range over a channel",
		"func f(m map[int]int) { for range m {} }":     "range over a map: its order differs",
		"func f() { count = 1 }":                       "package-level variable count is changed: two machines",
		"func f() { count++ }":                         "package-level variable count is changed",
		"func f() { names[0] = `x` }":                  "package-level variable names is changed",
		"func f() { pair.a = 1 }":                      "package-level variable pair is changed",
		"func f() { pair.set() }":                      "package-level variable pair is changed",
		"func f() { delete(byID, 1) }":                 "package-level variable byID is changed",
		"func f() { for count = range names {} }":      "package-level variable count is changed",
		"func init() { count, _ = 2, 3 }":              "package-level variable count is changed",
		"var lock kernel.Spinlock":                     "package-level variable lock holds state of the floor",
		"var locks struct { all [2]kernel.Spinlock }":  "package-level variable locks holds state of the floor",
		"func f() { println(1) }":                      "println: use m.Printk",
		"func f() { fmt.Println(1) }":                  "fmt.Println: use m.Printk",
		"func f() { defer func() { recover() }() }":    "recover: the floor ends a killed task",
	} {
		source := "package p\nimport (\"fmt\"; \"" + module + "/target/kernel\")\nvar _ = fmt.Sprint\nvar _ kernel.Task\n" +
			"var names []string; var byID map[int]int\nvar count int\nvar pair pt\n" +
			"type pt struct{ a int }; func (p *pt) set() { p.a = 1 }; func g() {}; type cc = chan int\n" + line + "\n"
		source = strings.Replace(source, "var _ kernel.Task", "type _ = kernel.Task", 1)
		if wrong := strings.Join(check(source), "\n"); !strings.Contains(wrong, want) {
			t.Errorf("%s: got %q, want %q", line, wrong, want)
		}
	}
}

// with is an importer that knows one package more.
type with struct {
	types.Importer
	path string
	pkg  *types.Package
}

func (w with) Import(name string) (*types.Package, error) {
	if name == w.path {
		return w.pkg, nil
	}
	return w.Importer.Import(name)
}

// licenceOf is the licence that a file must name, or nothing if its kind carries no line of its own.
func licenceOf(name string) string {
	gpl := []string{"target/fs/", "target/sunrpc/", "target/lockd/", "target/nfs/", "corpus/eras/", "corpus/orders/", "corpus/mutants/"}
	base, ext := path.Base(name), path.Ext(name)
	switch {
	case !slices.Contains([]string{".go", ".patch", ".sh", ".yml", ".yaml", ".c", ".h"}, ext) && base != "Makefile" &&
		base != "Dockerfile" && !strings.HasPrefix(name, ".ci/"):
		return ""
	case slices.ContainsFunc(gpl, func(dir string) bool { return strings.HasPrefix(name, dir) }):
		return "GPL-2.0-only"
	}
	return "MIT"
}

// TestLicences looks at the first line of every file; a script may have its interpreter above it.
func TestLicences(t *testing.T) {
	eachFile(t, func(name string) {
		want := licenceOf(name)
		if want == "" {
			return
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
			return
		}
		line, rest, _ := strings.Cut(string(data), "\n")
		if strings.HasPrefix(line, "#!") {
			line, _, _ = strings.Cut(rest, "\n")
		}
		line = strings.TrimSpace(strings.TrimLeft(line, "/*#"))
		line = strings.TrimSpace(strings.TrimSuffix(line, "*/"))
		if line != "SPDX-License-Identifier: "+want {
			t.Errorf("%s:1: the first line must be the comment SPDX-License-Identifier: %s", name, want)
		}
	})
}
