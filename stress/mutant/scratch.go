// SPDX-License-Identifier: MIT

package mutant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed17199236/svcfuzz/stress/scratch"
)

const (
	sources     = "src" // the folder of the patched files
	markerFile  = "zz_mutant.go"
	markerConst = "SvcfuzzMutant"
	mutantsFile = "zz_mutants.go"
	generated   = "// Code generated for a scratch build; it is not part of the tree. DO NOT EDIT.\n\n"
)

// BrokenError is a patched tree that does not build.
type BrokenError struct {
	Patches []string // IDs in the order of application
	Output  string   // first lines of what the compiler said, with paths relative to the module
}

func (e *BrokenError) Error() string {
	first, _, _ := strings.Cut(e.Output, "\n")
	return fmt.Sprintf("the tree with %s does not build: %s", strings.Join(e.Patches, " and "), first)
}

// FindRoot is the folder of the module that dir lies in.
func FindRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above it: run this inside a checkout of svcfuzz", dir)
		}
	}
}

// modulePath reads the module line of a go.mod.
func modulePath(root string) (string, error) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "module" {
			return strings.Trim(words[1], `"`), nil
		}
	}
	return "", fmt.Errorf("%s: no module line", filepath.Join(root, "go.mod"))
}

// overlay is a patched tree: the files that patches change are in a folder of their own, and the go command is told to
// read them in the place of the module's. Nothing else is copied.
type overlay struct {
	root  string            // of the module
	dir   string            // of the files
	files map[string]string // in dir, by the name below root, which has slashes; "": there is no such file
}

// take puts the files that the patches change into dir, as they are in the module.
func (o *overlay) take(series []*Patch) error {
	o.files = map[string]string{}
	for _, p := range series {
		for _, name := range p.Files() {
			from, to := filepath.Join(o.root, name), filepath.Join(o.dir, name)
			if o.files[name] != "" {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			data, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, data, 0o644)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			o.files[name] = to
		}
	}
	return nil
}

// write makes a file of the patched tree.
func (o *overlay) write(name, text string) error {
	to := filepath.Join(o.dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	o.files[name] = to
	return os.WriteFile(to, []byte(text), 0o644)
}

// json makes the file that the go command takes for its flag -overlay.
func (o *overlay) json(name string) error {
	replace := map[string]string{}
	for file, to := range o.files {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			to = "" // deleted
		}
		replace[filepath.Join(o.root, file)] = to
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}

// applySeries applies the patches in order and returns, for each patched folder, the IDs that changed it.
func applySeries(root string, series []*Patch) (map[string][]string, error) {
	marks := map[string][]string{}
	for _, p := range series {
		if err := p.Apply(root); err != nil {
			return nil, err
		}
		for _, name := range p.Files() {
			if dir := path.Dir(name); isCode(name) && !slices.Contains(marks[dir], p.ID) {
				marks[dir] = append(marks[dir], p.ID)
			}
		}
	}
	return marks, nil
}

// mark writes the marker into every patched folder, and into the runner's folder the file that collects
// them. The runner (package main) declares `var mutants []string` and prints it as its first line. A
// folder that lost its last Go file to a patch carries no marker.
func (o *overlay) mark(module, runner string, marks map[string][]string) error {
	var imports, consts strings.Builder
	for i, dir := range slices.Sorted(maps.Keys(marks)) {
		name, err := o.packageName(dir)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		text := fmt.Sprintf(generated+"package %s\n\n"+
			"// %s names the patches that were applied to this package.\nconst %[2]s = %q\n",
			name, markerConst, strings.Join(marks[dir], " "))
		if err := o.write(path.Join(dir, markerFile), text); err != nil {
			return err
		}
		fmt.Fprintf(&imports, "\tp%d %q\n", i, module+"/"+dir)
		fmt.Fprintf(&consts, "\tmutants = append(mutants, strings.Fields(p%d.%s)...)\n", i, markerConst)
	}
	if imports.Len() == 0 {
		return nil
	}
	text := generated + "package main\n\n" +
		"import (\n\t\"slices\"\n\t\"strings\"\n\n" + imports.String() + ")\n\n" +
		"func init() {\n" + consts.String() + "\tslices.Sort(mutants)\n\tmutants = slices.Compact(mutants)\n}\n"
	return o.write(path.Join(filepath.ToSlash(runner), mutantsFile), text)
}

// packageName is the package that the Go files of a folder belong to, or nothing if it has none. A file
// that does not parse is left to the compiler, whose message is the better one.
func (o *overlay) packageName(dir string) (string, error) {
	files, err := o.code(dir)
	if err != nil {
		return "", err
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.PackageClauseOnly)
		if err == nil {
			return f.Name.Name, nil
		}
	}
	return "", nil
}

// code lists the Go files of a folder of the patched tree, where they are to be read.
func (o *overlay) code(dir string) (files []string, err error) {
	for _, root := range []string{o.root, o.dir} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			_, replaced := o.files[path.Join(dir, entry.Name())]
			if !entry.IsDir() && isCode(entry.Name()) && (root == o.dir || !replaced) {
				files = append(files, filepath.Join(root, dir, entry.Name()))
			}
		}
	}
	return files, nil
}

// Go is a go command, as "build", on the patched tree, with its other arguments behind.
func (v *Variant) Go(ctx context.Context, verb string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{verb, "-trimpath", "-buildvcs=false", "-overlay", v.overlay}, args)...)
	cmd.Dir = v.root
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+v.root)
	if os.Getenv("GOTMPDIR") == "" { // so that even a killed one leaves nothing that is not removed with the rest
		cmd.Env = append(cmd.Env, "GOTMPDIR="+filepath.Dir(v.overlay))
	}
	// An interrupted go command removes its own work folder; a killed one leaves it behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// MissingError is a program that a build needs and that is not there. It says nothing about the patch.
type MissingError struct {
	What string
}

func (e *MissingError) Error() string { return e.What }

// missing tells from a failed build whether a program is to blame that is not there; nil if not.
func missing(err error, text string, race bool) error {
	if errors.Is(err, exec.ErrNotFound) {
		return &MissingError{"the go command is not found; put its folder into PATH"}
	}
	if race && (strings.Contains(text, "-race requires cgo") || strings.Contains(text, "cgo: C compiler")) {
		return &MissingError{"the race detector needs a C compiler (" + strings.ReplaceAll(text, "\n", "; ") +
			"); install gcc or set CC, and do not set CGO_ENABLED=0"}
	}
	return nil
}

// build compiles the runner. A failure with patches applied is a [BrokenError]; without any it is the
// tree's own, unless a program is missing ([MissingError]) or the disk is full.
func (v *Variant) build(ctx context.Context, module, runner string, race bool, series []*Patch, limit time.Duration) error {
	// Nobody debugs a runner, and what is written for debuggers is a quarter of what a variant leaves in the build cache.
	args := []string{"-gcflags=" + module + "/...=-dwarf=false", "-ldflags=-s -w", "-o", v.Binary}
	if race {
		args = append(args, "-race")
	}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	output, err := v.Go(timed, "build", append(args, "./"+runner)...).CombinedOutput()
	if err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	broken := &BrokenError{Output: firstLines(output, v.root, filepath.Join(filepath.Dir(v.Binary), sources), 5)}
	for _, p := range series {
		broken.Patches = append(broken.Patches, p.ID)
	}
	doing := "building " + cmp.Or(strings.Join(broken.Patches, " and "), "the tree")
	switch {
	case timed.Err() != nil:
		broken.Output = fmt.Sprintf("the build took longer than %s", limit)
	case scratch.FullIn(doing, string(output)) != nil:
		return scratch.FullIn(doing, string(output))
	case broken.Output == "":
		broken.Output = err.Error()
	}
	if err := cmp.Or(scratch.Probe(doing), missing(err, broken.Output, race)); err != nil {
		return err
	}
	if len(series) == 0 {
		return fmt.Errorf("the tree itself does not build: %s", strings.ReplaceAll(broken.Output, "\n", "; "))
	}
	return broken
}

// firstLines are the first n lines that say something. Files of the module and those in their place are called what
// they are in the module, whether the go command has them from the root of the file system or from that of the module.
func firstLines(output []byte, root, patched string, n int) string {
	folders := []string{patched, root}
	if rel, err := filepath.Rel(root, patched); err == nil {
		folders = append(folders, rel)
	}
	for _, dir := range folders {
		output = bytes.ReplaceAll(output, []byte(dir+string(filepath.Separator)), nil)
	}
	var kept []string
	for line := range bytes.Lines(output) {
		text := strings.TrimRight(string(line), "\r\n")
		if text != "" && !strings.HasPrefix(text, "# ") && len(kept) < n {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n")
}
