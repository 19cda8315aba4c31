// SPDX-License-Identifier: MIT

package oracle

import (
	"fmt"

	"github.com/seed17199236/svcfuzz/stress/history"
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
)

// The locks of a file exclude each other as POSIX says, and what the clients were told about them is true in some
// order. Invariants I51 and I52.
var locks = &Oracle{
	Name:      "locks",
	Doc:       "no lock beside one that excludes it, and an order of all requests for locks that explains the answers",
	Quiescent: checkTables,
	End: func(s *Subject) {
		checkTables(s)
		if len(s.M.Findings()) == 0 {
			checkHistory(s)
		}
	},
}

// checkTables looks at the locks of every file.
func checkTables(s *Subject) {
	if s.Lockd == nil || s.Lockd.Fs == nil {
		return
	}
	for _, inode := range s.Lockd.Fs.PeekInodes() {
		for a := inode.IFlock; a != nil; a = a.FlNext {
			if a.FlStart < 0 || a.FlEnd < a.FlStart {
				s.fire("locks", "a lock has no range", describeLock(inode, a))
				return
			}
			for b := a.FlNext; b != nil; b = b.FlNext {
				if wrong := beside(a, b); wrong != "" {
					s.fire("locks", wrong, describeLock(inode, a)+"\n"+describeLock(inode, b))
					return
				}
			}
		}
	}
}

// beside says why two locks of one file cannot be there together, or nothing.
func beside(a, b *fs.FileLock) string {
	one := a.FlOwner == b.FlOwner && a.FlPid == b.FlPid
	switch {
	case a.FlEnd < b.FlStart || b.FlEnd < a.FlStart:
		if one && a.FlType == b.FlType && (a.FlEnd+1 == b.FlStart || b.FlEnd+1 == a.FlStart) {
			return "locks of one owner touch and are not one"
		}
		return ""
	case one:
		return "locks of one owner overlap"
	case a.FlType == fs.F_WRLCK || b.FlType == fs.F_WRLCK:
		return "locks that exclude each other are held"
	}
	return ""
}

func describeLock(inode *fs.Inode, fl *fs.FileLock) string {
	kind := "shared"
	if fl.FlType == fs.F_WRLCK {
		kind = "exclusive"
	}
	return fmt.Sprintf("file %s: %s lock, bytes %d to %d, of process %d", inode.IName, kind, fl.FlStart, fl.FlEnd, fl.FlPid)
}

// checkHistory judges what the clients of lockd were told. A history that is too long for that is no pass.
func checkHistory(s *Subject) {
	if s.History == nil || s.M.Departed(kernel.DecideSignal) > 0 {
		return // a SIGKILL takes all locks back and begins a grace period, and tells nobody
	}
	switch report := s.History.Judge(); report.Verdict {
	case history.Wrong:
		s.fire("locks", "no order of the requests explains the answers", report.Text)
	case history.Unknown:
		s.fire("SVCFUZZ BUG", "a lock history is too long to be judged", report.Text)
	}
}
