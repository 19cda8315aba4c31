// SPDX-License-Identifier: MIT

package mutant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// copied are the parts of the module that a build of the runner or of a fuzz target needs. corpus
// holds Go packages that embed their data, so it is copied as a whole.
var copied = []string{"go.mod", "go.sum", "target", "stress", "fuzz", "corpus"}

const (
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

// copyModule copies what a build needs from root to the empty folder to.
func copyModule(ctx context.Context, root, to string) error {
	for _, top := range copied {
		from := filepath.Join(root, top)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) && top != "go.mod" {
			continue
		}
		err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			switch {
			case d.IsDir() && rel == filepath.Join("fuzz", "oss-fuzz", "out"):
				return fs.SkipDir // what fuzzers leave there comes and goes
			case d.IsDir():
				return os.MkdirAll(filepath.Join(to, rel), 0o755)
			case d.Type().IsRegular():
				return copyFile(name, filepath.Join(to, rel))
			}
			return nil // a build takes nothing but regular files
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies one file; the copy is always writable, whatever the original is.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
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
func mark(root, module, runner string, marks map[string][]string) error {
	var imports, consts strings.Builder
	for i, dir := range slices.Sorted(maps.Keys(marks)) {
		name, err := packageName(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}
		text := fmt.Sprintf(generated+"package %s\n\n"+
			"// %s names the patches that were applied to this package.\nconst %[2]s = %q\n",
			name, markerConst, strings.Join(marks[dir], " "))
		if err := os.WriteFile(filepath.Join(root, dir, markerFile), []byte(text), 0o644); err != nil {
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
	return os.WriteFile(filepath.Join(root, runner, mutantsFile), []byte(text), 0o644)
}

// packageName is the package that the Go files of a folder belong to, or nothing if it has none. A file
// that does not parse is left to the compiler, whose message is the better one.
func packageName(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	for _, entry := range entries {
		if !entry.IsDir() && isCode(entry.Name()) {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, entry.Name()), nil, parser.PackageClauseOnly)
			if err == nil {
				return f.Name.Name, nil
			}
		}
	}
	return "", nil
}

// build compiles the runner. A failure with patches applied is a [BrokenError]; without any it is the
// tree's own.
func build(ctx context.Context, root, runner, binary string, race bool, series []*Patch, limit time.Duration) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary}
	if race {
		args = append(args, "-race")
	}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(timed, "go", append(args, "./"+runner)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+root)
	// An interrupted go command removes its own work folder; a killed one leaves it behind.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	text := firstLines(output, root, 5)
	if timed.Err() != nil {
		text = fmt.Sprintf("the build took longer than %s", limit)
	} else if text == "" {
		text = err.Error()
	}
	if len(series) == 0 {
		return fmt.Errorf("the tree itself does not build: %s", strings.ReplaceAll(text, "\n", "; "))
	}
	broken := &BrokenError{Output: text}
	for _, p := range series {
		broken.Patches = append(broken.Patches, p.ID)
	}
	return broken
}

// firstLines are the first n lines that say something, with the scratch folder taken out of them.
func firstLines(output []byte, root string, n int) string {
	output = bytes.ReplaceAll(output, []byte(root+string(filepath.Separator)), nil)
	var kept []string
	for line := range bytes.Lines(output) {
		text := strings.TrimRight(string(line), "\r\n")
		if text != "" && !strings.HasPrefix(text, "# ") && len(kept) < n {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n")
}
