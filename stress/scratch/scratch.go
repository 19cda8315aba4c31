// SPDX-License-Identifier: MIT

// Package scratch makes folders for what is not to stay: they go with the process that made them, and what a killed
// process leaves behind goes with the next one.
package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

const (
	prefix   = "svcfuzz-" // of the names of all folders
	lockName = ".owner"   // locked by the process that a folder belongs to
)

// A folder that is younger than making may lack its lock because it is being made; where there are no locks, one that
// is older than stale cannot belong to a live process any more.
const (
	making = time.Minute
	stale  = 48 * time.Hour
)

// Folder is a folder of this process.
type Folder struct {
	Dir  string
	lock *os.File
}

// New makes a folder in the one for temporary files, and removes those whose processes are gone. what is a part of its
// name. Remove it.
func New(what string) (*Folder, error) {
	sweep(os.TempDir(), time.Now())
	dir, err := os.MkdirTemp("", prefix+what+"-")
	if err != nil {
		return nil, err
	}
	f := &Folder{Dir: dir}
	if f.lock, err = os.Create(filepath.Join(dir, lockName)); err != nil {
		return nil, errors.Join(err, f.Remove())
	}
	Lock(f.lock)
	return f, nil
}

// Remove removes the folder with all that is in it.
func (f *Folder) Remove() error {
	err := os.RemoveAll(f.Dir)
	if f.lock != nil {
		_ = f.lock.Close() // last: until then nobody takes the folder for one that was left behind
	}
	return err
}

// sweep removes what killed processes left behind. It is best effort: a folder that cannot be removed is somebody
// else's.
func sweep(temp string, now time.Time) {
	all, _ := filepath.Glob(filepath.Join(temp, prefix+"*"))
	for _, dir := range all {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && abandoned(dir, now.Sub(info.ModTime())) {
			_ = os.RemoveAll(dir)
		}
	}
}

// abandoned reports whether nobody owns a folder any more.
func abandoned(dir string, age time.Duration) bool {
	if age < making {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if err != nil {
		return false // not one of ours, or of another user
	}
	defer func() { _ = lock.Close() }()
	if !locks {
		return age > stale
	}
	return Lock(lock)
}
