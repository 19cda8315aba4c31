// SPDX-License-Identifier: MIT

package mutant

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// StaleError says why a patch does not apply, in one line that ends with the remedy.
type StaleError struct {
	Patch string // ID
	File  string
	Hunk  int // 1-based; 0 where the file as a whole does not fit
	Line  int // of the file, 1-based
	Why   string
}

func (e *StaleError) Error() string {
	where := e.File
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Hunk > 0 {
		where = fmt.Sprintf("%s: hunk %d", where, e.Hunk)
	}
	return fmt.Sprintf("patch %s does not apply: %s: %s; make the change by hand and take a new git diff",
		e.Patch, where, e.Why)
}

// Apply changes the files below root as the patch says, all of them or none. Every line that a hunk
// names must be there exactly. A hunk that stands elsewhere than its line number says is taken only
// if all its lines occur at exactly one place after the hunk before it: an era moves the lines below
// its own change, and a mutant must not need a copy for each era.
func (p *Patch) Apply(root string) error {
	after := map[string][]byte{}
	var gone []string
	for _, f := range p.files {
		if !f.IsNew && !f.IsDelete && !f.IsCopy && !f.IsRename && len(f.TextFragments) == 0 {
			continue // a change of mode only
		}
		var before []byte
		if f.IsNew {
			if _, err := os.Lstat(filepath.Join(root, f.NewName)); err == nil {
				return &StaleError{Patch: p.ID, File: f.NewName, Why: "the patch creates this file, but it exists"}
			}
		} else {
			var err error
			if before, err = os.ReadFile(filepath.Join(root, f.OldName)); errors.Is(err, fs.ErrNotExist) {
				return &StaleError{Patch: p.ID, File: f.OldName, Why: "no such file"}
			} else if err != nil {
				return err
			}
		}
		placed, err := p.place(f, before)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := gitdiff.Apply(&out, bytes.NewReader(before), placed); err != nil {
			return p.stale(nameOf(f), err)
		}
		if f.IsDelete || f.IsRename {
			gone = append(gone, f.OldName)
		}
		if !f.IsDelete {
			after[f.NewName] = out.Bytes()
		}
	}
	for _, name := range gone {
		if err := os.Remove(filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for name, data := range after {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// stale turns the applier's error into ours.
func (p *Patch) stale(file string, err error) error {
	e := &StaleError{Patch: p.ID, File: file, Why: strings.TrimPrefix(err.Error(), "conflict: ")}
	var at *gitdiff.ApplyError
	if errors.As(err, &at) {
		e.Hunk, e.Line = at.Fragment, int(at.Line)
	}
	return e
}

// place copies a file's change with every hunk moved to where its lines are.
func (p *Patch) place(f *gitdiff.File, before []byte) (*gitdiff.File, error) {
	if f.IsNew {
		return f, nil
	}
	lines := slices.Collect(bytes.Lines(before))
	moved := *f
	moved.TextFragments = nil
	shift, from := 0, 0
	for i, frag := range f.TextFragments {
		var want []gitdiff.Line
		for _, line := range frag.Lines {
			if line.Old() {
				want = append(want, line)
			}
		}
		said := int(frag.OldPosition) - 1 + shift
		at := said
		if said < from || matches(lines, said, want) < len(want) {
			places, best, bestCount := []int{}, max(said, from), -1
			for start := from; start < len(lines); start++ {
				n := matches(lines, start, want)
				if n == len(want) {
					places = append(places, start)
				}
				// The nearest of the best, so that the message is about the place the author meant.
				if n > bestCount || n == bestCount && distance(start, said) < distance(best, said) {
					best, bestCount = start, n
				}
			}
			e := &StaleError{Patch: p.ID, File: nameOf(f), Hunk: i + 1}
			switch len(places) {
			case 1:
				at = places[0]
			case 0:
				e.Line, e.Why = firstDifference(lines, best, want)
				return nil, e
			default:
				e.Line = places[0] + 1
				e.Why = fmt.Sprintf("its lines stand at lines %d and %d alike, and neither is where the patch says",
					places[0]+1, places[1]+1)
				return nil, e
			}
		}
		shift += at - said
		from = at + len(want)
		there := *frag
		there.OldPosition = int64(at) + 1
		moved.TextFragments = append(moved.TextFragments, &there)
	}
	return &moved, nil
}

// matches counts how many of the wanted lines stand at start and below, each at its place.
func matches(lines [][]byte, start int, want []gitdiff.Line) int {
	n := 0
	for i, w := range want {
		if at := start + i; at >= 0 && at < len(lines) && string(lines[at]) == w.Line {
			n++
		}
	}
	return n
}

// distance is how far two lines are apart.
func distance(a, b int) int {
	return max(a-b, b-a)
}

// firstDifference says which line of the file is not what the hunk wants there.
func firstDifference(lines [][]byte, start int, want []gitdiff.Line) (line int, why string) {
	for i, w := range want {
		at := start + i
		if at >= len(lines) {
			return len(lines), fmt.Sprintf("the file ends where the patch expects %s", quote(w.Line))
		}
		if got := string(lines[at]); got != w.Line {
			return at + 1, fmt.Sprintf("the line is %s, the patch expects %s", quote(got), quote(w.Line))
		}
	}
	return start + 1, "the lines do not match"
}

// quote shows a line of code without its indentation; a line that ends the file without a newline says so.
func quote(line string) string {
	s := fmt.Sprintf("%q", strings.TrimSpace(line))
	if !strings.HasSuffix(line, "\n") {
		s += " (no newline at the end)"
	}
	return s
}
