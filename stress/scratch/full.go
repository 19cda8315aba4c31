// SPDX-License-Identifier: MIT

package scratch

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// FullError is a disk without room for what was to be written: no fault of anybody's code.
type FullError struct {
	Doing string // what was to be done; may be empty
	Where string // the file or folder; empty: the place of scratch builds or of the build cache
}

func (e *FullError) Error() string {
	var what string
	if e.Doing != "" {
		what = " (" + e.Doing + ")"
	}
	temp, cache := os.TempDir(), buildCache()
	if where := e.Where; where != "" && !within(where, temp) && !within(where, cache) {
		return fmt.Sprintf("the disk is full: %s cannot be written%s; make room there, or choose another place", where, what)
	}
	return fmt.Sprintf("the disk is full: %s cannot be written%s; make room there, or set TMPDIR (scratch builds, now %s) or "+
		"GOCACHE (compiled packages, now %s) to a folder on another disk", cmp.Or(e.Where, temp+" or "+cache), what, temp, cache)
}

// within reports whether name is in the folder.
func within(name, dir string) bool {
	rel, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(rel)
}

// buildCache is where the go command keeps what it compiled.
func buildCache() string {
	if dir := os.Getenv("GOCACHE"); dir != "" {
		return dir
	}
	dir, _ := os.UserCacheDir()
	return filepath.Join(dir, "go-build")
}

// What systems say of a disk that is full. In front of it stands, with a colon, which file was to be written.
var full = regexp.MustCompile(`(?i)no space left on device|disk quota exceeded|there is not enough space on the disk`)

var fileBefore = regexp.MustCompile(`([^\s:"]*[/\\][^\s:"]*):? *$`)

// Full returns the FullError in an error, nil if a full disk is not what is wrong.
func Full(err error) *FullError {
	if err == nil {
		return nil
	}
	var e *FullError
	if errors.As(err, &e) {
		return e
	}
	var path *fs.PathError
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if e = (&FullError{}); errors.As(err, &path) {
			e.Where = path.Path
		}
		return e
	}
	return FullIn("", err.Error())
}

// FullIn is Full for what a program printed that was to do something.
func FullIn(doing, output string) *FullError {
	at := full.FindStringIndex(output)
	if at == nil {
		return nil
	}
	e := &FullError{Doing: doing}
	line := output[strings.LastIndexByte(output[:at[0]], '\n')+1 : at[0]]
	if m := fileBefore.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "$") {
		e.Where = m[1]
	}
	return e
}

// probed is how much room a build must leave for its failure to be one of the code.
const probed = 1 << 20

// Probe is a FullError if there is hardly any room where builds write: then what a failed one said means nothing. A
// compiler or linker that runs out of room may die of anything.
func Probe(doing string) error {
	for _, dir := range []string{os.TempDir(), buildCache()} {
		f, err := os.CreateTemp(dir, prefix+"probe-")
		if err == nil {
			_, err = f.Write(make([]byte, probed))
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
		if Full(err) != nil {
			return &FullError{Doing: doing, Where: dir}
		}
	}
	return nil
}
