// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"fmt"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// cluster is a file whose locks are answered later, and what its lock manager was told.
type cluster struct {
	kernel.Obj
	v       *VFS
	filp    *File
	lmops   LockManagerOperations
	lock    kernel.Spinlock
	answers []string // lock
	given   bool     // the manager no longer waits for anything; lock
}

func newCluster(cur *kernel.Task, fail func(string, ...any)) *cluster {
	c := kernel.StaticObj[cluster](cur.Machine(), "cluster")
	c.lock.Init(&c.Obj, "nlm_blocked_lock")
	c.v, c.filp = open(cur, fail)
	c.v.SetAsync(c.filp.FInode, 20)
	c.lmops.LmGrant = func(fl *FileLock, result int) int {
		c.lock.Lock()
		defer c.lock.Unlock()
		c.answers = append(c.answers, show([]*FileLock{fl})+" "+kernel.ErrName(result))
		if c.given {
			return -kernel.ENOENT
		}
		return 0
	}
	return c
}

func (c *cluster) told() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return fmt.Sprint(c.answers)
}

// hear sleeps until n answers have come, however long that takes on a busy machine.
func (c *cluster) hear(cur *kernel.Task, n int) {
	for heard := 0; heard < n; kernel.Msleep(cur, 10) {
		c.lock.Lock()
		heard = len(c.answers)
		c.lock.Unlock()
	}
}

// rest sleeps until nobody works on an answer any more: it is told before the request is forgotten.
func (c *cluster) rest(cur *kernel.Task) { c.filp.FInode.plocks.work.CancelSync(cur) }

// ask makes a request of the lock manager.
func (c *cluster) ask(cur *kernel.Task, text string, flags uint32) int {
	fl := parse(nil, text)[0]
	fl.FlFlags |= flags
	fl.FlLmops = &c.lmops
	return c.v.VfsLockFile(cur, c.filp, F_SETLK, fl, nil)
}

func (c *cluster) end(cur *kernel.Task, fail func(string, ...any)) {
	c.rest(cur)
	for owner := range 5 {
		fl := req(owner, F_UNLCK, 0, -1)
		fl.FlLmops = &c.lmops
		c.v.VfsLockFile(cur, c.filp, F_SETLK, fl, nil)
		c.v.LocksRemovePosix(cur, c.filp, owner)
	}
	if n := c.v.AsyncPending(c.filp.FInode); n != 0 {
		fail("%d locks are not answered", n)
	}
	last(cur, c.v, c.filp, fail)
}

func TestAsync(t *testing.T) {
	both(t, 60, func(cur *kernel.Task, fail func(string, ...any)) {
		c := newCluster(cur, fail)
		check := func(what, answers, locks string) {
			if got := c.told(); got != answers {
				fail("%s: told %s, want %s", what, got, answers)
			}
			if got := show(c.filp.FInode.Locks()); got != locks {
				fail("%s: locks %s, want %s", what, got, locks)
			}
		}
		if got := c.ask(cur, "1W0-9", 0); got != FILE_LOCK_DEFERRED {
			fail("asked: %s", kernel.ErrName(got))
		}
		if cur.Machine().Sim() { // elsewhere the answer may be faster
			check("before the answer", "[]", "")
		}
		c.hear(cur, 1)
		check("after the answer", "[1W0-9 0]", "1W0-9")
		c.ask(cur, "1W10-19", 0)
		c.ask(cur, "2R5-5", 0)
		c.ask(cur, "2R5-6", FL_SLEEP)
		c.hear(cur, 3)
		check("in conflict", "[1W0-9 0 1W10-19 0 2R5-5 -EAGAIN]", "1W0-19")
		test := req(2, F_WRLCK, 3, 3)
		err := c.v.VfsTestLock(cur, c.filp, test)
		if test.FlPid == cur.Pid() || test.FlPid == 1 {
			fail("test: the lock is said to be of process %d, and was got by a worker", test.FlPid)
		}
		test.FlPid = uint32(test.FlOwner.(int))
		if err != 0 || show([]*FileLock{test}) != "1W0-19" {
			fail("test: %s, %s", kernel.ErrName(err), show([]*FileLock{test}))
		}
		if got := c.ask(cur, "1U4-6", 0); got != 0 {
			fail("unlock: %s", kernel.ErrName(got))
		}
		c.hear(cur, 4)
		check("unlocked", "[1W0-9 0 1W10-19 0 2R5-5 -EAGAIN 2R5-6 0]", "1W0-3 1W7-19 2R5-6")
		// A process of this host is not told later: it is answered.
		if got := c.v.FcntlSetlk(cur, c.filp, F_SETLK, req(3, F_RDLCK, 6, 6)); got != 0 {
			fail("process: %s", kernel.ErrName(got))
		}
		c.end(cur, fail)
	})
}

func TestAsyncAnswer(t *testing.T) {
	both(t, 20, func(cur *kernel.Task, fail func(string, ...any)) {
		c := newCluster(cur, fail)
		c.v.SetAsyncAnswer(c.filp.FInode, -kernel.EAGAIN)
		c.ask(cur, "1W0-9", FL_SLEEP)
		c.hear(cur, 1)
		c.v.SetAsyncAnswer(c.filp.FInode, 0)
		c.ask(cur, "1W0-9", FL_SLEEP)
		c.hear(cur, 2)
		if got := c.told(); got != "[1W0-9 -EAGAIN 1W0-9 0]" {
			fail("told %s", got)
		}
		c.end(cur, fail)
	})
}

// Cancelling at any time leaves no lock, whether the answer came first or not; so does a manager that gave up.
func TestAsyncCancel(t *testing.T) {
	told := map[string]int{}
	sleep := 0
	choosertest.Simulate(t, 300, kernel.Options{Detect: true}, func(cur *kernel.Task, fail func(string, ...any)) {
		c := newCluster(cur, fail)
		c.ask(cur, "1W0-9", FL_SLEEP)
		sleep = (sleep + 1) % 5
		kernel.Msleep(cur, 17+sleep)
		c.lock.Lock()
		c.given = true
		c.lock.Unlock()
		fl := req(1, F_WRLCK, 0, 9)
		fl.FlLmops = &c.lmops
		if err := c.v.VfsCancelLock(cur, c.filp, fl); err != 0 {
			fail("cancel: %s", kernel.ErrName(err))
		}
		kernel.Msleep(cur, 50)
		told[c.told()]++
		if got := show(c.filp.FInode.Locks()); got != "" {
			fail("locks %s", got)
		}
		c.end(cur, fail)
	})
	if told["[]"] == 0 || told["[1W0-9 0]"] == 0 {
		t.Errorf("told %v", told)
	}
	both(t, 20, func(cur *kernel.Task, fail func(string, ...any)) {
		c := newCluster(cur, fail)
		c.given = true
		c.ask(cur, "1W0-9", 0)
		c.ask(cur, "2W20-29", 0)
		c.hear(cur, 2)
		c.rest(cur)
		if got := show(c.filp.FInode.Locks()); got != "" {
			fail("locks %s", got)
		}
		c.end(cur, fail)
	})
}

// A closed file lives on until its locks are answered; whoever has no memory is told so.
func TestAsyncFaults(t *testing.T) {
	got := map[int]int{}
	for r := range choosertest.Failing(t, func(cur *kernel.Task, _ func(string, ...any)) {
		v := New(cur, cur.Machine())
		inode := v.Create("file", false, 7)
		v.SetAsync(inode, 5)
		filp, err := v.Open(cur, inode, FMODE_READ)
		if err != 0 {
			return
		}
		fl := req(1, F_RDLCK, 0, 9)
		fl.FlLmops = &LockManagerOperations{LmGrant: func(_ *FileLock, result int) int {
			got[result]++
			return -kernel.ENOENT
		}}
		if err := v.VfsLockFile(cur, filp, F_SETLK, fl, nil); err != FILE_LOCK_DEFERRED {
			got[err]++
		}
		v.Fput(filp)
		kernel.Msleep(cur, 20)
	}) {
		if r.Live != 0 {
			t.Errorf("%s fails: %d objects are left", r.Failed, r.Live)
		}
	}
	if got[-kernel.ENOMEM] != 1 || got[-kernel.ENOLCK] != 1 || got[0] < 3 {
		t.Errorf("answers %v", got)
	}
}

// The clock may outlast those who wait for it, for up to the longest pause between two looks.
func TestAsyncIdle(t *testing.T) {
	both(t, 4, func(cur *kernel.Task, fail func(string, ...any)) {
		c := newCluster(cur, fail)
		inode := c.filp.FInode
		if !c.v.AsyncIdle(inode) {
			fail("the clock is set before anybody has asked")
		}
		c.ask(cur, "1W0-9", 0)
		c.hear(cur, 1)
		c.ask(cur, "2W0-9", FL_SLEEP)
		kernel.Msleep(cur, 300) // looked at more than once
		waits := req(2, F_WRLCK, 0, 9)
		waits.FlLmops = &c.lmops
		c.v.VfsCancelLock(cur, c.filp, waits)
		if n := c.v.AsyncPending(inode); cur.Machine().Sim() && (n != 0 || c.v.AsyncIdle(inode)) {
			fail("after the cancel: %d wait, idle %t", n, c.v.AsyncIdle(inode))
		}
		for c.v.AsyncPending(inode) != 0 { // it was just being looked at
			kernel.Msleep(cur, 10)
			c.v.VfsCancelLock(cur, c.filp, waits)
		}
		for !c.v.AsyncIdle(inode) {
			kernel.Msleep(cur, 50)
		}
		c.end(cur, fail)
	})
}
