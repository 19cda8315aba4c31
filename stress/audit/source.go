// SPDX-License-Identifier: MIT

package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/seed17199236/svcfuzz/stress/scratch"
)

// Site is a call of a primitive of the floor in the source of the port.
type Site struct {
	File      string `json:"file"` // "sunrpc/svc_xprt.go"
	Line      int    `json:"line"`
	Func      string `json:"func"`               // "svcXprtDoEnqueue"
	CFunc     string `json:"c_func,omitempty"`   // what it ports: "svc_xprt_do_enqueue"
	CFile     string `json:"c_file,omitempty"`   // "net/sunrpc/svc_xprt.c"
	Primitive string `json:"primitive"`          // "Spinlock.LockBH", "WakeUpProcess"
	Object    string `json:"object,omitempty"`   // as C spells it: "sp_lock", "XPT_BUSY"
	Visible   bool   `json:"visible"`            // it may be a visible operation
	Deferred  bool   `json:"deferred,omitempty"` // it happens when the function returns

	first, last int // lines of the call's own words, without those of its arguments
	from, to    int // lines of the function
}

// String is the site as a person looks for it.
func (s *Site) String() string {
	return fmt.Sprintf("%s:%d %s(%s)", s.File, s.Line, s.Primitive, s.Object)
}

// portRooms are the packages of the port.
var portRooms = []string{"sunrpc", "lockd", "nfs", "fs"}

// Source lists the sites of the port in the module at root, in the order of the files. It asks the go command what the
// floor exports, which may compile it.
func Source(root string) ([]*Site, error) {
	mod, err := loadModule(root)
	if err != nil {
		return nil, err
	}
	floor, err := mod.check("target/kernel")
	if err != nil {
		return nil, err
	}
	visible := floor.visible()
	var sites []*Site
	for _, room := range portRooms {
		pkg, err := mod.check("target/" + room)
		if err != nil {
			return nil, err
		}
		sites = append(sites, pkg.sites(mod.path+"/target/kernel", visible)...)
	}
	slices.SortStableFunc(sites, func(a, b *Site) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return sites, nil
}

// module is what the go command says of the packages below target.
type module struct {
	root, path string
	fset       *token.FileSet
	export     map[string]string   // compiled package by import path
	files      map[string][]string // Go files of a build here, by import path
}

func loadModule(root string) (*module, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export,GoFiles,Module", "./target/...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if full := scratch.FullIn("go list in "+root, stderr.String()); err != nil && full != nil {
		return nil, full
	}
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w: %s", root, err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	m := &module{root: root, fset: token.NewFileSet(), export: map[string]string{}, files: map[string][]string{}}
	dec := json.NewDecoder(bytes.NewReader(output))
	for {
		var p struct {
			ImportPath, Export string
			GoFiles            []string
			Module             *struct{ Path string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return nil, err
		}
		m.export[p.ImportPath], m.files[p.ImportPath] = p.Export, p.GoFiles
		if p.Module != nil {
			m.path = p.Module.Path
		}
	}
}

// checked is a package with its types.
type checked struct {
	fset  *token.FileSet
	room  string
	pkg   *types.Package
	files []*ast.File
	info  *types.Info
}

// check reads a package of the module and finds out what its names stand for.
func (m *module) check(room string) (*checked, error) {
	c := &checked{fset: m.fset, room: path.Base(room), info: &types.Info{
		Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
		Types: map[ast.Expr]types.TypeAndValue{},
	}}
	name := m.path + "/" + room
	for _, file := range m.files[name] {
		f, err := parser.ParseFile(m.fset, filepath.Join(m.root, filepath.FromSlash(room), file), nil,
			parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		c.files = append(c.files, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(m.fset, "gc", func(name string) (io.ReadCloser, error) {
		if m.export[name] == "" {
			return nil, errors.New("not compiled")
		}
		return os.Open(m.export[name])
	})}
	var err error
	c.pkg, err = conf.Check(name, m.fset, c.files, c.info)
	return c, err
}

// callee is the function that a call names, without type arguments; nil for a conversion, a built-in, a func value.
func (c *checked) callee(call *ast.CallExpr) *types.Func {
	fun := ast.Unparen(call.Fun)
	switch x := fun.(type) {
	case *ast.IndexExpr:
		fun = x.X
	case *ast.IndexListExpr:
		fun = x.X
	}
	var id *ast.Ident
	switch x := fun.(type) {
	case *ast.Ident:
		id = x
	case *ast.SelectorExpr:
		id = x.Sel
	default:
		return nil
	}
	if fn, ok := c.info.Uses[id].(*types.Func); ok {
		return fn.Origin()
	}
	return nil
}

// primitive names a function of the floor: "Spinlock.Lock", "WakeUpProcess".
func primitive(fn *types.Func) string {
	recv := fn.Signature().Recv()
	if recv == nil {
		return fn.Name()
	}
	t := recv.Type()
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if named, ok := t.(*types.Named); ok {
		return named.Obj().Name() + "." + fn.Name()
	}
	return fn.Name()
}

// noting are the functions of the floor with which every visible operation begins or ends.
var noting = []string{
	"backend.point", "backend.acquire", "backend.note", "sim.point", "sim.acquire", "sim.note", "cell.visible",
}

// visible is the set of the floor's functions that may perform a visible operation, by name: those from which one of
// noting can be reached.
func (c *checked) visible() map[string]bool {
	callers := map[string][]string{}
	for _, f := range c.files {
		for _, d := range f.Decls {
			decl, ok := d.(*ast.FuncDecl)
			if !ok || decl.Body == nil {
				continue
			}
			name := declName(decl)
			ast.Inspect(decl.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if fn := c.callee(call); fn != nil && fn.Pkg() == c.pkg {
						callers[primitive(fn)] = append(callers[primitive(fn)], name)
					}
				}
				return true
			})
		}
	}
	delete(callers, "Machine.Report") // behind it there is nothing more of the run, or nothing that it did
	reaches := map[string]bool{}
	for todo := slices.Clone(noting); len(todo) > 0; todo = todo[1:] {
		if !reaches[todo[0]] {
			reaches[todo[0]] = true
			todo = append(todo, callers[todo[0]]...)
		}
	}
	return reaches
}

// declName names a declared function as primitive does.
func declName(decl *ast.FuncDecl) string {
	if decl.Recv == nil {
		return decl.Name.Name
	}
	t := decl.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	switch x := t.(type) {
	case *ast.IndexExpr:
		t = x.X
	case *ast.IndexListExpr:
		t = x.X
	}
	return t.(*ast.Ident).Name + "." + decl.Name.Name
}

// ported finds in a doc comment what the function is the port of.
var ported = regexp.MustCompile(`(?m)^C: ([a-z_0-9]+)[^,\n]*, ([a-z_0-9/]+\.[ch])`)

// sites are the calls of the floor in the package.
func (c *checked) sites(floor string, visible map[string]bool) []*Site {
	var sites []*Site
	for _, f := range c.files {
		file := c.room + "/" + filepath.Base(c.fset.Position(f.Pos()).Filename)
		for _, d := range f.Decls {
			decl, ok := d.(*ast.FuncDecl)
			if !ok || decl.Body == nil {
				continue
			}
			in := Site{
				File: file, Func: decl.Name.Name, from: c.fset.Position(decl.Pos()).Line, to: c.fset.Position(decl.End()).Line,
			}
			if m := ported.FindStringSubmatch(decl.Doc.Text()); m != nil {
				in.CFunc, in.CFile = m[1], m[2]
			}
			deferred := map[*ast.CallExpr]bool{}
			ast.Inspect(decl.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.DeferStmt:
					deferred[n.Call] = true
				case *ast.CallExpr:
					if fn := c.callee(n); fn != nil && fn.Pkg() != nil && fn.Pkg().Path() == floor {
						s := in
						s.Primitive, s.Deferred = primitive(fn), deferred[n]
						s.Object = c.object(n, s.Primitive)
						s.Visible = visible[s.Primitive]
						s.Line = c.fset.Position(n.Lparen).Line
						s.first, s.last = c.fset.Position(n.Pos()).Line, c.fset.Position(n.Rparen).Line
						sites = append(sites, &s)
					}
				}
				return true
			})
		}
	}
	return sites
}

// object is what a call operates on, as C spells it: the field that holds the lock or the cell, the bit, the task.
func (c *checked) object(call *ast.CallExpr, primitive string) string {
	typ, method, ok := strings.Cut(primitive, ".")
	switch {
	case typ == "Flags":
		var bits []string
		for _, arg := range call.Args {
			bits = append(bits, word(arg))
		}
		return strings.Join(bits, "|")
	case typ == "Task" || typ == "Machine" && method != "KthreadCreate":
		if len(call.Args) > 0 {
			return word(call.Args[len(call.Args)-1])
		}
		return ""
	case !ok || typ == "Machine":
		for _, arg := range call.Args {
			if w := word(arg); w != "cur" && w != "" {
				return w
			}
		}
		return ""
	}
	sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	return word(sel.X)
}

// word is the last name of an expression in the spelling of C; "" if it ends in none.
func word(e ast.Expr) string {
	switch x := ast.Unparen(e).(type) {
	case *ast.Ident:
		return snake(x.Name)
	case *ast.SelectorExpr:
		return snake(x.Sel.Name)
	case *ast.UnaryExpr:
		return word(x.X)
	case *ast.StarExpr:
		return word(x.X)
	case *ast.CallExpr: // rqstp.RqTask.Load()
		if sel, ok := x.Fun.(*ast.SelectorExpr); ok && len(x.Args) == 0 {
			return word(sel.X)
		}
	}
	return ""
}

// snake turns SpLock into sp_lock and leaves XPT_BUSY as it is.
func snake(name string) string {
	if strings.Contains(name, "_") || name == strings.ToUpper(name) {
		return name
	}
	var b strings.Builder
	for i, r := range name {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
