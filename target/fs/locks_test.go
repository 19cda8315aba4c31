// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// Requests that are granted one after the other, and the locks that they leave.
var splits = []struct{ requests, want string }{
	{"1W0-9", "1W0-9"},
	{"1W0-", "1W0-"},
	{"1W0-9 1U0-9", ""},
	{"1W0-9 1U0-", ""},
	{"1W0- 1U0-", ""},
	{"1U0-", ""},
	{"1U3-4", ""},
	// Unlocking cuts at either end, or a hole.
	{"1W0-9 1U0-3", "1W4-9"},
	{"1W0-9 1U6-12", "1W0-5"},
	{"1W0-9 1U3-5", "1W0-2 1W6-9"},
	{"1W0- 1U3-5", "1W0-2 1W6-"},
	{"1W0- 1U5-", "1W0-4"},
	{"1W0-9 1R20-29 1W40- 1U5-44", "1W0-4 1W45-"},
	{"1W0-9 1R20-29 1W40-49 1U0-", ""},
	// Locks of one type that touch become one.
	{"1W0-9 1W10-19", "1W0-19"},
	{"1W10-19 1W0-9", "1W0-19"},
	{"1W0-9 1W11-19", "1W0-9 1W11-19"},
	{"1W0-9 1W11-19 1W10-10", "1W0-19"},
	{"1W0-9 1W20-29 1W40-49 1W5-44", "1W0-49"},
	{"1W0-9 1W3-5", "1W0-9"},
	{"1W3-5 1W0-", "1W0-"},
	{"1W5- 1W0-4", "1W0-"},
	// Another type displaces: at either end, inside, all, or several.
	{"1W0-9 1R0-3", "1R0-3 1W4-9"},
	{"1W0-9 1R6-12", "1W0-5 1R6-12"},
	{"1W0-9 1R3-5", "1W0-2 1R3-5 1W6-9"},
	{"1R0- 1W3-5", "1R0-2 1W3-5 1R6-"},
	{"1W0-9 1R0-9", "1R0-9"},
	{"1R3-5 1W0-9", "1W0-9"},
	{"1R0-2 1R5-7 1R10-12 1W0-12", "1W0-12"},
	{"1R0-2 1R5-7 1R10-19 1W1-12", "1R0-0 1W1-12 1R13-19"},
	{"1R0-2 1W3-5 1R6-8 1W9-11 1W0-11", "1W0-11"},
	{"1R0-2 1W3-5 1R6-8 1W0-8", "1W0-8"},
	{"1W0-2 1R3-5 1W6-8 1W3-5", "1W0-8"},
	{"1W0-9 1R3-5 1W3-5", "1W0-9"},
	{"1W0-2 1W4-6 1R2-4", "1W0-1 1R2-4 1W5-6"},
	// Other owners stay as they are and keep their place.
	{"1R0-9 2R5-14 1R10-19", "1R0-19 2R5-14"},
	{"1R0-9 2R5-14 1U3-6", "1R0-2 1R7-9 2R5-14"},
	{"1W0-9 2W10-19 1U0- 2R10-", "2R10-"},
	{"2W10-19 1W0-9 2W30-39", "2W10-19 2W30-39 1W0-9"},
}

func TestSplits(t *testing.T) {
	for _, test := range splits {
		both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
			v, filp := open(cur, fail)
			for _, fl := range parse(t, test.requests) {
				if err := v.PosixLockFile(cur, filp, fl, nil); err != 0 {
					fail("%s: %s says %s", test.requests, show([]*FileLock{fl}), kernel.ErrName(err))
				}
			}
			if got := show(filp.FInode.Locks()); got != test.want {
				fail("%s: got %q, want %q", test.requests, got, test.want)
			}
			for owner := range 3 {
				v.LocksRemovePosix(cur, filp, owner)
			}
			last(cur, v, filp, fail)
		})
	}
}

// What is in the way of a request, and what a request that does not wait is told.
func TestConflicts(t *testing.T) {
	const held = "1W10-19 1R30-39 2R35-44 3W50-"
	for request, want := range map[string]string{
		"2R0-9": "", "2W20-29": "", "2R9-10": "1W10-19", "2R19-20": "1W10-19", "2R0-": "1W10-19", "2R30-39": "",
		"2W30-34": "1R30-39", "2W40-44": "", "4W40-44": "2R35-44", "4W35-39": "1R30-39", "1W0-34": "", "1W30-39": "2R35-44",
		"4R1000-": "3W50-", "3W50-": "", "3R60-60": "",
	} {
		both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
			v, filp := open(cur, fail)
			for _, fl := range parse(t, held) {
				v.PosixLockFile(cur, filp, fl, nil)
			}
			fl, conf := parse(t, request)[0], &FileLock{FlType: F_UNLCK}
			err := 0
			if want != "" {
				err = -kernel.EAGAIN
			}
			fl.FlFlags |= FL_ACCESS
			if got := v.VfsLockFile(cur, filp, F_SETLK, fl, conf); got != err {
				fail("%s: %s", request, kernel.ErrName(got))
			}
			got := ""
			if conf.FlType != F_UNLCK {
				got = show([]*FileLock{conf})
			}
			if got != want {
				fail("%s: %q is in the way, want %q", request, got, want)
			}
			fl = parse(t, request)[0]
			v.VfsTestLock(cur, filp, fl)
			named(cur, fl, fail)
			if got := show([]*FileLock{fl}); fl.FlType != F_UNLCK && got != want || fl.FlType == F_UNLCK && want != "" {
				fail("%s: the test names %q, want %q", request, got, want)
			}
			if got := show(filp.FInode.Locks()); got != held {
				fail("%s: looking changed the locks to %s", request, got)
			}
			for owner := range 4 {
				v.LocksRemovePosix(cur, filp, owner)
			}
			last(cur, v, filp, fail)
		})
	}
}

// A test names the process that put the lock there: a lock that is merged with stays that of the first one, and what
// is left in front of a hole is of who cut it.
func TestHolder(t *testing.T) {
	for _, test := range []struct{ requests, by, want string }{
		{"1W0-9", "m", "0m"},
		{"1W0-9 1W10-19", "mo", "0m"},
		{"1W10-19 1W0-9", "mo", "0m"},
		{"1W0-9 1R0-9", "mo", "0o"},
		{"1W0-9 1U3-5", "mo", "0o6m"},
		{"1W0-9 1R3-5", "mo", "0o3o6m"},
		{"1W0-9 1R6-12", "mo", "0m6o"},
		{"1W0-9 2W20-29", "mo", "0m20o"},
	} {
		both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
			v, filp := open(cur, fail)
			var other *kernel.Task
			for i, fl := range parse(t, test.requests) {
				if test.by[i] == 'm' {
					v.PosixLockFile(cur, filp, fl, nil)
					continue
				}
				other = cur.Machine().Spawn(cur, "other", func(cur *kernel.Task) { v.PosixLockFile(cur, filp, fl, nil) })
				kernel.Join(cur, other)
			}
			got := ""
			for _, fl := range filp.FInode.Locks() {
				found := req(9, F_WRLCK, fl.FlStart, fl.FlEnd)
				v.VfsTestLock(cur, filp, found)
				switch {
				case found.FlPid == cur.Pid():
					got += fmt.Sprint(fl.FlStart, "m")
				case other != nil && found.FlPid == other.Pid():
					got += fmt.Sprint(fl.FlStart, "o")
				default:
					fail("%s: process %d has the lock from %d", test.requests, found.FlPid, fl.FlStart)
				}
			}
			if got != test.want {
				fail("%s: got %s, want %s", test.requests, got, test.want)
			}
			for owner := range 3 {
				v.LocksRemovePosix(cur, filp, owner)
			}
			last(cur, v, filp, fail)
		})
	}
}

func TestExists(t *testing.T) {
	both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
		v, filp := open(cur, fail)
		v.PosixLockFile(cur, filp, req(1, F_WRLCK, 0, 9), nil)
		for _, test := range []struct{ start, want int }{{10, -kernel.ENOENT}, {5, 0}, {5, -kernel.ENOENT}, {0, 0}} {
			fl := req(1, F_UNLCK, int64(test.start), -1)
			fl.FlFlags |= FL_EXISTS
			if got := v.PosixLockFile(cur, filp, fl, nil); got != test.want {
				fail("unlocking from %d: %s", test.start, kernel.ErrName(got))
			}
		}
		last(cur, v, filp, fail)
	})
}

// bytes is how many bytes the model knows; the last one stands for all that follow.
const bytes = 24

// model is the same file byte by byte, and who waits for whom.
type model struct {
	held  [5][bytes]uint8 // by owner; 0, or type+1
	waits map[int]int     // owner that waits: owner of the lock in its way
}

// locks spells what the model holds for one owner as show does.
func (m *model) locks(owner int) string {
	var out []*FileLock
	for i := 0; i < bytes; i++ {
		if m.held[owner][i] == 0 {
			continue
		}
		from := i
		for i+1 < bytes && m.held[owner][i+1] == m.held[owner][from] {
			i++
		}
		end := int64(i)
		if i == bytes-1 {
			end = -1
		}
		out = append(out, req(owner, m.held[owner][from]-1, int64(from), end))
	}
	return show(out)
}

// conflicts tells whether owner may not have the bytes with type typ because of other.
func (m *model) conflicts(owner, other int, typ uint8, from, to int) bool {
	for i := from; i <= to; i++ {
		if h := m.held[other][i]; other != owner && h != 0 && (h-1 == F_WRLCK || typ == F_WRLCK) {
			return true
		}
	}
	return false
}

// deadlock tells whether other waits, perhaps over others, for owner.
func (m *model) deadlock(owner, other int) bool {
	for range len(m.held) {
		next, ok := m.waits[other]
		if !ok {
			return false
		}
		if next == owner {
			return true
		}
		other = next
	}
	return false
}

// script is a run of random requests against the model.
type script struct {
	*choosertest.Random
	model
	v        *VFS
	filp     *File
	lmops    LockManagerOperations
	waiters  [5]*FileLock // that have been told to wait
	notified []*FileLock
	count    map[string]int
	fail     func(string, ...any)
}

// local is the owner that is no client of the lock manager. It does not wait.
const local = 4

// of gives fl the lock manager of its owner, for which all owners are the same but for the pid.
func (s *script) of(fl *FileLock) *FileLock {
	if fl.FlPid != local {
		fl.FlOwner = s.filp
		fl.FlLmops = &s.lmops
	}
	return fl
}

// wish makes a random request.
func (s *script) wish(owner int) (fl *FileLock, from, to int) {
	from = s.N(bytes)
	to = from + s.N(bytes-from)
	end := int64(to)
	if to == bytes-1 {
		end = -1
	}
	return s.of(req(owner, uint8(s.N(3)), int64(from), end)), from, to
}

// first is the owner of the first lock in the way in the order of the list, -1 if there is none.
func (s *script) first(owner int, typ uint8, from, to int) int {
	if typ == F_UNLCK {
		return -1
	}
	for _, fl := range s.filp.FInode.PeekLocks() {
		other := int(fl.FlPid)
		end := int(min(fl.FlEnd, bytes-1))
		if s.conflicts(owner, other, typ, max(from, int(fl.FlStart)), min(to, end)) {
			return other
		}
	}
	return -1
}

// lock makes one request and compares the answer.
func (s *script) lock(cur *kernel.Task, fl *FileLock, from, to int) {
	owner, typ := int(fl.FlPid), fl.FlType
	other := s.first(owner, typ, from, to)
	want := 0
	switch {
	case other >= 0 && fl.FlFlags&FL_SLEEP == 0:
		want = -kernel.EAGAIN
	case other >= 0 && s.deadlock(owner, other):
		want = -kernel.EDEADLK
	case other >= 0:
		want = FILE_LOCK_DEFERRED
	}
	got := s.v.PosixLockFile(cur, s.filp, fl, nil)
	s.count[kernel.ErrName(got)]++
	if got != want {
		s.fail("owner %d, %c%d-%d: got %s, want %s; locks %s", owner, "RWU"[typ], from, to, kernel.ErrName(got),
			kernel.ErrName(want), show(s.filp.FInode.PeekLocks()))
	}
	switch got {
	case 0:
		for i := from; i <= to; i++ {
			s.held[owner][i] = (typ + 1) % 3
		}
	case FILE_LOCK_DEFERRED:
		s.waits[owner] = other
		s.waiters[owner] = fl
	}
	s.compare()
}

// compare looks at all locks and waiters.
func (s *script) compare() {
	locks := s.filp.FInode.PeekLocks()
	var order []int
	for owner := range s.held {
		own := slices.DeleteFunc(slices.Clone(locks), func(fl *FileLock) bool { return int(fl.FlPid) != owner })
		if got, want := show(own), s.locks(owner); got != want {
			s.fail("owner %d has %q, want %q", owner, got, want)
		}
	}
	for _, fl := range locks {
		if owner := int(fl.FlPid); len(order) == 0 || order[len(order)-1] != owner {
			order = append(order, owner)
		}
	}
	slices.Sort(order)
	if len(slices.Compact(slices.Clone(order))) != len(order) {
		s.fail("the locks of an owner are not together: %s", show(locks))
	}
	for owner, fl := range s.waiters {
		if fl == nil || slices.Contains(s.notified, fl) {
			continue
		}
		if fl.flBlocker == nil || !posixLocksConflict(fl, &fl.flBlocker.fl) {
			s.fail("owner %d waits for nothing", owner)
		}
	}
}

// retry lets those who were told that the lock in their way is gone ask again.
func (s *script) retry(cur *kernel.Task) {
	for len(s.notified) > 0 {
		fl := s.notified[0]
		s.notified = s.notified[1:]
		owner := int(fl.FlPid)
		s.waiters[owner] = nil
		delete(s.waits, owner)
		s.lock(cur, fl, int(fl.FlStart), int(min(fl.FlEnd, bytes-1)))
	}
}

func (s *script) step(cur *kernel.Task) {
	owner := s.N(len(s.held))
	fl, from, to := s.wish(owner)
	if waiter := s.waiters[owner]; waiter != nil {
		if s.N(3) == 0 {
			if err := s.v.PosixUnblockLock(waiter); err != 0 {
				s.fail("owner %d does not wait: %s", owner, kernel.ErrName(err))
			}
			if err := s.v.PosixUnblockLock(waiter); err != -kernel.ENOENT {
				s.fail("owner %d still waits: %s", owner, kernel.ErrName(err))
			}
			s.waiters[owner] = nil
			delete(s.waits, owner)
			return
		}
	} else if owner != local && s.N(2) == 0 {
		fl.FlFlags |= FL_SLEEP
	}
	s.lock(cur, fl, from, to)
	s.retry(cur)
}

func newScript(cur *kernel.Task, seed uint64, fail func(string, ...any)) *script {
	s := &script{Random: choosertest.NewRandom(seed), fail: fail, count: map[string]int{}}
	s.waits = map[int]int{}
	s.v, s.filp = open(cur, fail)
	s.lmops.LmCompareOwner = func(a, b *FileLock) bool { return a.FlPid == b.FlPid }
	s.lmops.LmOwnerKey = func(fl *FileLock) uint64 { return uint64(fl.FlPid) % 2 }
	s.lmops.LmNotify = func(fl *FileLock) { s.notified = append(s.notified, fl) }
	return s
}

// end gives everything back.
func (s *script) end(cur *kernel.Task) {
	for _, fl := range s.waiters {
		if fl != nil {
			s.v.PosixUnblockLock(fl)
		}
	}
	for owner := range s.held {
		s.v.PosixLockFile(cur, s.filp, s.of(req(owner, F_UNLCK, 0, -1)), nil)
	}
	last(cur, s.v, s.filp, s.fail)
}

func TestAgainstBytes(t *testing.T) {
	count := map[string]int{}
	seed := uint64(0)
	both(t, 60, func(cur *kernel.Task, fail func(string, ...any)) {
		seed++
		s := newScript(cur, seed, fail)
		for range 300 {
			s.step(cur)
		}
		s.end(cur)
		for name, n := range s.count {
			count[name] += n
		}
	})
	t.Log(fmt.Sprint(count))
	for _, name := range []string{"0", "1", "-EAGAIN", "-EDEADLK"} {
		if count[name] < 50 {
			t.Errorf("%s was the answer %d times", name, count[name])
		}
	}
}
