// SPDX-License-Identifier: MIT

package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Folders of processes that are gone are removed, those of others and those that are being made are not.
func TestSweep(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	mine, err := New("mine")
	if err != nil {
		t.Fatal(err)
	}
	left := func(name string, files ...string) string {
		dir := filepath.Join(temp, name)
		if err := os.MkdirAll(filepath.Join(dir, "in", "it"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	killed := left("svcfuzz-scratch-1", lockName, "in/it/big")
	unlocked := left("svcfuzz-other", "file") // which this package has not made
	other := left("other-scratch-1", lockName)
	there := func(dir string) bool {
		_, err := os.Stat(dir)
		return !errors.Is(err, fs.ErrNotExist)
	}
	sweep(temp, time.Now())
	if !there(killed) {
		t.Error("a folder that may be in the making is gone")
	}
	sweep(temp, time.Now().Add(72*time.Hour))
	if there(killed) {
		t.Error("what a killed process left is there")
	}
	if !there(unlocked) || !there(other) {
		t.Error("a folder of somebody else is gone")
	}
	if locks != there(mine.Dir) {
		t.Errorf("the folder of a live process, after three days: %t", there(mine.Dir))
	}
	if err := mine.Remove(); err != nil || there(mine.Dir) {
		t.Errorf("removed: %v", err)
	}
}

func TestFull(t *testing.T) {
	t.Setenv("TMPDIR", "/scratch/tmp")
	t.Setenv("GOCACHE", "/scratch/cache")
	const remedy = "; make room there, or set TMPDIR (scratch builds, now /scratch/tmp) or GOCACHE (compiled packages, now " +
		"/scratch/cache) to a folder on another disk"
	said := func(text string) error { return errors.New(text) }
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{said("no such file or directory"), ""},
		{fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: "/a/b", Err: syscall.ENOENT}), ""},
		{
			fmt.Errorf("x: %w", &fs.PathError{Op: "write", Path: "findings/a.schedule", Err: syscall.ENOSPC}),
			"findings/a.schedule cannot be written; make room there, or choose another place",
		},
		{&fs.PathError{Op: "write", Path: "/a", Err: syscall.EDQUOT}, "/a cannot be written; make room there, or choose another place"},
		{
			said("SVCFUZZ BUG: open /scratch/tmp/x: no space left on device (era 3.19)"), "/scratch/tmp/x cannot be written" + remedy,
		},
		{
			FullIn("building canary", "# net\nfine: /a/b\nopen /scratch/cache/ab/cd-d: no space left on device\nmore"),
			"/scratch/cache/ab/cd-d cannot be written (building canary)" + remedy,
		},
		{FullIn("building", "write $WORK/b001/_pkg_.a: no space left on device"), "/scratch/tmp or /scratch/cache cannot be written (building)" + remedy},
		{FullIn("building", "mapping output file failed: No space left on device"), "/scratch/tmp or /scratch/cache cannot be written (building)" + remedy},
	} {
		e := Full(test.err)
		switch {
		case test.want == "" && e != nil:
			t.Errorf("%v: taken for a full disk: %v", test.err, e)
		case test.want != "" && (e == nil || e.Error() != "the disk is full: "+test.want):
			t.Errorf("%v: got %v, want %s", test.err, e, test.want)
		}
	}
	if e := FullIn("building", "undefined: x"); e != nil {
		t.Error(e)
	}
}

func TestProbe(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("GOCACHE", t.TempDir())
	if err := Probe("building"); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{os.Getenv("TMPDIR"), os.Getenv("GOCACHE")} {
		if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		return // no other device is always full
	}
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("x")
	if e := Full(errors.Join(err, f.Close())); e == nil || !strings.Contains(e.Error(), "/dev/full cannot be written") {
		t.Errorf("got %v", e)
	}
}
