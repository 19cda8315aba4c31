// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// both runs main n times on the sim back end and a few times on the free one, which must not find anything.
func both(t *testing.T, n int, main func(cur *kernel.Task, fail func(string, ...any))) {
	t.Helper()
	choosertest.Simulate(t, n, kernel.Options{Detect: true}, main)
	choosertest.Free(t, min(n, 5), kernel.Options{Noise: 1 << 8}, main)
}

// open makes a file system with one file.
func open(cur *kernel.Task, fail func(string, ...any)) (*VFS, *File) {
	v := New(cur, cur.Machine())
	filp, err := v.Open(cur, v.Create("file", false, 7), FMODE_READ|FMODE_WRITE)
	if err != 0 {
		fail("open: %s", kernel.ErrName(err))
	}
	return v, filp
}

// last drops the file and checks that nothing is left.
func last(cur *kernel.Task, v *VFS, filp *File, fail func(string, ...any)) {
	v.Fput(filp)
	if live := cur.Machine().LiveObjects(); len(live) != 0 {
		fail("%d objects are left, the first one is %s", len(live), live[0].Name())
	}
}

// req is a request for a lock of a process; end -1 is OFFSET_MAX.
func req(owner int, typ uint8, start, end int64) *FileLock {
	if end < 0 {
		end = OFFSET_MAX
	}
	return &FileLock{FlOwner: owner, FlPid: uint32(owner), FlFlags: FL_POSIX, FlType: typ, FlStart: start, FlEnd: end}
}

// named wants by as the process of a lock that a test has found, and puts the owner's number in its place, for show.
func named(by *kernel.Task, fl *FileLock, fail func(string, ...any)) {
	if fl.FlType == F_UNLCK {
		return
	}
	if fl.FlPid != by.Pid() {
		fail("the test names process %d, want %d", fl.FlPid, by.Pid())
	}
	fl.FlPid = uint32(fl.FlOwner.(int))
}

// show spells locks: "1W0-9 1R10-" for those of owner 1.
func show(locks []*FileLock) string {
	var words []string
	for _, fl := range locks {
		end := fmt.Sprint(fl.FlEnd)
		if fl.FlEnd == OFFSET_MAX {
			end = ""
		}
		words = append(words, fmt.Sprintf("%d%c%d-%s", fl.FlPid, "RWU"[fl.FlType], fl.FlStart, end))
	}
	return strings.Join(words, " ")
}

// parse is the reverse of show.
func parse(t testing.TB, text string) []*FileLock {
	var locks []*FileLock
	for word := range strings.FieldsSeq(text) {
		var owner int
		var typ rune
		var start, end int64
		n, _ := fmt.Sscanf(word, "%d%c%d-%d", &owner, &typ, &start, &end)
		if n < 3 {
			t.Fatalf("%q is no lock", word)
		}
		if n == 3 {
			end = -1
		}
		locks = append(locks, req(owner, uint8(strings.IndexRune("RWU", typ)), start, end))
	}
	return locks
}
