// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/choosertest"
)

// inside counts who believes to hold a lock on a byte.
type inside struct {
	kernel.Obj
	readers, writers kernel.Atomic
}

// Processes of this host wait for each other's locks: nobody is in together with a writer, and all get their turn.
func TestProcesses(t *testing.T) {
	both(t, 300, func(cur *kernel.Task, fail func(string, ...any)) {
		m := cur.Machine()
		v, filp := open(cur, fail)
		in := kernel.StaticObj[inside](m, "inside")
		in.readers.Init(&in.Obj, "readers")
		in.writers.Init(&in.Obj, "writers")
		var tasks []*kernel.Task
		for i := range 4 {
			count, typ := &in.writers, uint8(F_WRLCK)
			if i < 2 {
				count, typ = &in.readers, F_RDLCK
			}
			tasks = append(tasks, m.Spawn(cur, fmt.Sprint("process", i), func(cur *kernel.Task) {
				for round := range 3 {
					fl := req(10+i, typ, int64(i), int64(6+i))
					if err := v.FcntlSetlk(cur, filp, F_SETLKW, fl); err != 0 {
						fail("process %d: %s", i, kernel.ErrName(err))
					}
					n := count.AddReturn(1)
					if w := in.writers.Read(); w > 1 || w == 1 && (typ == F_RDLCK || n != 1 || in.readers.Read() != 0) {
						fail("process %d is in with %d writers and %d readers", i, w, in.readers.Read())
					}
					count.Dec()
					if round == 1 {
						v.LocksRemovePosix(cur, filp, 10+i)
					} else if err := v.FcntlSetlk(cur, filp, F_SETLK, req(10+i, F_UNLCK, 0, -1)); err != 0 {
						fail("process %d: unlock: %s", i, kernel.ErrName(err))
					}
				}
			}))
		}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		last(cur, v, filp, fail)
	})
}

// Of two processes that each want what the other has, one is told.
func TestDeadlockOfTwo(t *testing.T) {
	both(t, 200, func(cur *kernel.Task, fail func(string, ...any)) {
		m := cur.Machine()
		v, filp := open(cur, fail)
		deadlocks := kernel.StaticObj[inside](m, "deadlocks")
		deadlocks.writers.Init(&deadlocks.Obj, "deadlocks")
		var both kernel.Completion
		both.Init(&deadlocks.Obj, "both")
		var tasks []*kernel.Task
		for i := range 2 {
			v.FcntlSetlk(cur, filp, F_SETLK, req(i, F_WRLCK, int64(i), int64(i)))
			tasks = append(tasks, m.Spawn(cur, fmt.Sprint("process", i), func(cur *kernel.Task) {
				err := v.FcntlSetlk(cur, filp, F_SETLKW, req(i, F_WRLCK, int64(1-i), int64(1-i)))
				switch err {
				case -kernel.EDEADLK:
					deadlocks.writers.Inc()
				case 0:
				default:
					fail("process %d: %s", i, kernel.ErrName(err))
				}
				v.LocksRemovePosix(cur, filp, i)
			}))
		}
		for _, task := range tasks {
			kernel.Join(cur, task)
		}
		if n := deadlocks.writers.Peek(); n > 1 {
			fail("%d deadlocks", n)
		}
		last(cur, v, filp, fail)
	})
}

// A signal ends the wait, also one that comes together with the lock.
func TestSignal(t *testing.T) {
	got := map[string]int{}
	choosertest.Simulate(t, 300, kernel.Options{Detect: true}, func(cur *kernel.Task, fail func(string, ...any)) {
		v, filp := open(cur, fail)
		v.FcntlSetlk(cur, filp, F_SETLK, req(1, F_WRLCK, 0, -1))
		var err int
		waiter := cur.Machine().Spawn(cur, "waiter", func(cur *kernel.Task) {
			cur.AllowSignal(kernel.SIGKILL)
			err = v.FcntlSetlk(cur, filp, F_SETLKW, req(2, F_RDLCK, 5, 9))
			if err == 0 {
				v.LocksRemovePosix(cur, filp, 2)
			} else if err != -kernel.ERESTARTSYS {
				fail("%s", kernel.ErrName(err))
			}
		})
		kernel.SendSig(kernel.SIGKILL, waiter)
		v.LocksRemovePosix(cur, filp, 1)
		kernel.Join(cur, waiter)
		got[kernel.ErrName(err)]++
		last(cur, v, filp, fail)
	})
	if got["0"] == 0 || got["-ERESTARTSYS"] == 0 {
		t.Errorf("%v", got)
	}
}

// A file that is not open for it cannot be locked, and a directory not be opened for writing.
func TestModes(t *testing.T) {
	both(t, 1, func(cur *kernel.Task, fail func(string, ...any)) {
		v := New(cur, cur.Machine())
		inode := v.Create("file", false, 1)
		for mode, want := range map[uint32][2]int{
			FMODE_READ: {0, -kernel.EBADF}, FMODE_WRITE: {-kernel.EBADF, 0}, FMODE_READ | FMODE_WRITE: {0, 0},
		} {
			filp, _ := v.Open(cur, inode, mode)
			for typ, want := range want {
				if got := v.FcntlSetlk(cur, filp, F_SETLK, req(1, uint8(typ), 0, 1)); got != want {
					fail("mode %d, type %d: %s", mode, typ, kernel.ErrName(got))
				}
			}
			v.FilpClose(cur, filp, 1)
		}
		if filp, err := v.Open(cur, v.Root(), FMODE_WRITE); filp != nil || err != -kernel.EISDIR {
			fail("writing the root: %s", kernel.ErrName(err))
		}
		filp, err := v.Open(cur, v.Root(), FMODE_READ)
		if err != 0 {
			fail("reading the root: %s", kernel.ErrName(err))
		}
		last(cur, v, filp, fail)
	})
}

// owner is a lock manager's owner of locks, which counts those who refer to it.
type owner struct {
	kernel.Obj
	refs kernel.Kref
}

// Every lock has its own reference to its owner and private part, whatever becomes of it, also if there is no memory.
func TestReferences(t *testing.T) {
	private := 0
	ops := FileLockOperations{FlCopyLock: func(_, _ *FileLock) { private++ }, FlReleasePrivate: func(*FileLock) { private-- }}
	lmops := LockManagerOperations{
		LmGetOwner: func(dst, _ *FileLock) { dst.FlOwner.(*owner).refs.Get() },
		LmPutOwner: func(fl *FileLock) { fl.FlOwner.(*owner).refs.Put(nil); fl.FlOwner = nil },
	}
	failures := map[string]int{}
	for r := range choosertest.Failing(t, func(cur *kernel.Task, fail func(string, ...any)) {
		private = 0
		v := New(cur, cur.Machine())
		filp, err := v.Open(cur, v.Create("file", false, 7), FMODE_READ|FMODE_WRITE)
		if err != 0 {
			failures[kernel.ErrName(err)]++
			return
		}
		who := kernel.StaticObj[owner](cur.Machine(), "owner")
		who.refs.Init(&who.Obj, "refs")
		before, after := "", ""
		for _, fl := range parse(t, "1W0-9 1R3-5 1W4-12 1U0-3 1R0- 1U7-8 1U0-") {
			fl.FlOwner, fl.FlLmops, fl.FlOps = who, &lmops, &ops
			err := v.PosixLockFile(cur, filp, fl, nil)
			after = ranges(filp.FInode.Locks())
			if err != 0 {
				failures[kernel.ErrName(err)]++
				if before != after {
					fail("%s, but the locks are %q, were %q", kernel.ErrName(err), after, before)
				}
			}
			before = after
		}
		if after != "" || who.refs.Peek() != 1 || private != 0 {
			fail("locks %q, %d references, %d private parts", after, who.refs.Peek(), private)
		}
		v.Fput(filp)
	}) {
		if r.Live != 0 {
			t.Errorf("%s fails: %d objects are left", r.Failed, r.Live)
		}
	}
	if failures["-ENOMEM"] != 1 || failures["-ENOLCK"] < 4 {
		t.Errorf("failures: %v", failures)
	}
}

// ranges is show for locks whose owner does not matter.
func ranges(locks []*FileLock) string {
	for _, fl := range locks {
		fl.FlPid = 0
	}
	return show(locks)
}

// held is something of a lock manager that a lock is a part of.
type held struct {
	kernel.Obj
	fl FileLock
}

// What the file system reports about users that break its rules.
func TestMisuse(t *testing.T) {
	request := func(v *VFS, m *kernel.Machine) *held {
		h := kernel.Kzalloc[held](m, "nlm_block", kernel.GFP_KERNEL)
		v.LocksInitLock(&h.fl)
		h.fl = *req(2, F_RDLCK, 3, 4)
		h.fl.FlFlags |= FL_SLEEP
		h.fl.FlLmops = &LockManagerOperations{LmNotify: func(*FileLock) {}}
		h.fl.Obj = &h.Obj
		return h
	}
	for want, break_ := range map[string]func(cur *kernel.Task, v *VFS, filp *File){
		"list_del of fl_block in freed nlm_block": func(cur *kernel.Task, v *VFS, filp *File) {
			v.PosixLockFile(cur, filp, req(1, F_WRLCK, 0, 9), nil)
			h := request(v, cur.Machine())
			v.PosixLockFile(cur, filp, &h.fl, nil)
			kernel.Kfree(h)
			v.PosixLockFile(cur, filp, req(1, F_UNLCK, 0, 9), nil)
		},
		"locks_insert_block: the lock waits already": func(cur *kernel.Task, v *VFS, filp *File) {
			v.PosixLockFile(cur, filp, req(1, F_WRLCK, 0, 9), nil)
			h := request(v, cur.Machine())
			v.PosixLockFile(cur, filp, &h.fl, nil)
			v.PosixLockFile(cur, filp, &h.fl, nil)
		},
		"locks_remove_file: leftover lock": func(cur *kernel.Task, v *VFS, filp *File) {
			fl := req(1, F_WRLCK, 0, 9)
			fl.FlFile = filp
			v.PosixLockFile(cur, filp, fl, nil)
			v.Fput(filp)
		},
		"locks_free_lock: others wait for the lock": func(cur *kernel.Task, v *VFS, filp *File) {
			v.PosixLockFile(cur, filp, req(1, F_WRLCK, 0, 9), nil)
			h := request(v, cur.Machine())
			v.PosixLockFile(cur, filp, &h.fl, nil)
			v.locksFreeLock(filp.FInode.IFlock)
		},
		"locks_free_lock: the lock waits for another": func(cur *kernel.Task, v *VFS, filp *File) {
			v.PosixLockFile(cur, filp, req(1, F_WRLCK, 0, 9), nil)
			fl := locksAllocLock(cur.Machine())
			fl.FlFlags, fl.FlType, fl.FlEnd = FL_POSIX|FL_SLEEP, F_RDLCK, 3
			v.PosixLockFile(cur, filp, fl, nil)
			v.locksFreeLock(fl)
		},
		"locks_copy_lock: the copy is in use": func(_ *kernel.Task, v *VFS, _ *File) {
			v.LocksCopyLock(&FileLock{FlOps: &FileLockOperations{}}, req(1, F_RDLCK, 0, 1))
		},
	} {
		m := kernel.NewSim()
		r := m.Run(choosertest.NewRandom(1), kernel.Options{Record: true}, "main", func(cur *kernel.Task) {
			v, filp := open(cur, t.Errorf)
			break_(cur, v, filp)
		})
		m.Close()
		if len(r.Findings) == 0 || !strings.Contains(r.Findings[0].Title, want) {
			t.Errorf("want %q, got %v", want, r.Findings)
		}
	}
}
