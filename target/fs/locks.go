// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// BLOCKED_HASH_BITS is the size of the table of waiting locks, as a power of two.
const BLOCKED_HASH_BITS = 7

// MAX_DEADLK_ITERATIONS bounds the search for a deadlock: a client that waits for several locks at once can make a
// circle that does not contain the request.
const MAX_DEADLK_ITERATIONS = 10

// locksAllocLock makes a lock with memory of its own, nil if there is none. May sleep.
//
// C: locks_alloc_lock, fs/locks.c
func locksAllocLock(m *kernel.Machine) *FileLock {
	a := kernel.Kzalloc[allocatedLock](m, "file_lock", kernel.GFP_KERNEL)
	if a == nil {
		return nil
	}
	a.blocked.Init(&a.Obj, "fl_block")
	a.waiting.Init(&a.Obj, "fl_next")
	a.flWait.Init(&a.Obj, "fl_wait")
	a.fl = FileLock{Obj: &a.Obj, slab: a}
	return &a.fl
}

// LocksReleasePrivate takes from fl what its file system and its lock manager keep in it. The locks that these need
// are not held.
//
// C: locks_release_private, fs/locks.c
func (v *VFS) LocksReleasePrivate(fl *FileLock) {
	if fl.FlOps != nil {
		if fl.FlOps.FlReleasePrivate != nil {
			fl.FlOps.FlReleasePrivate(fl)
		}
		fl.FlOps = nil
	}
	if fl.FlLmops != nil {
		if fl.FlLmops.LmPutOwner != nil {
			fl.FlLmops.LmPutOwner(fl)
		}
		fl.FlLmops = nil
	}
}

// locksFreeLock frees a lock of locksAllocLock that is on no list any more.
//
// C: locks_free_lock, fs/locks.c
func (v *VFS) locksFreeLock(fl *FileLock) {
	v.m.BugOn(len(fl.slab.blocked.Peek()) != 0, "locks_free_lock: others wait for the lock")
	v.m.BugOn(fl.flBlock.Linked() || fl.flBlocker != nil, "locks_free_lock: the lock waits for another")
	v.LocksReleasePrivate(fl)
	kernel.Kfree(fl.slab)
}

// locksDisposeList frees locks that were deleted while ILock was held, the last one first.
//
// C: locks_dispose_list, fs/locks.c
func (v *VFS) locksDisposeList(dispose []*FileLock) {
	for _, fl := range slices.Backward(dispose) {
		v.locksFreeLock(fl)
	}
}

// LocksInitLock makes fl an empty lock that is part of something else.
//
// C: locks_init_lock, fs/locks.c
func (v *VFS) LocksInitLock(fl *FileLock) { *fl = FileLock{} }

// LocksCopyConflock describes fl in dst for whoever asked what is in the way: without the file.
//
// C: locks_copy_conflock, fs/locks.c
func (v *VFS) LocksCopyConflock(dst, fl *FileLock) {
	dst.FlOwner = fl.FlOwner
	dst.FlPid = fl.FlPid
	dst.FlFile = nil
	dst.FlFlags = fl.FlFlags
	dst.FlType = fl.FlType
	dst.FlStart = fl.FlStart
	dst.FlEnd = fl.FlEnd
	dst.FlLmops = fl.FlLmops
	dst.FlOps = nil
	if fl.FlLmops != nil && fl.FlLmops.LmGetOwner != nil {
		fl.FlLmops.LmGetOwner(dst, fl)
	}
}

// LocksCopyLock makes dst, which is empty, the same lock as fl; not its place on any list.
//
// C: locks_copy_lock, fs/locks.c
func (v *VFS) LocksCopyLock(dst, fl *FileLock) {
	v.m.WarnOnOnce(dst.FlOps != nil, "locks_copy_lock: the copy is in use")
	v.LocksCopyConflock(dst, fl)
	dst.FlFile = fl.FlFile
	dst.FlOps = fl.FlOps
	if fl.FlOps != nil && fl.FlOps.FlCopyLock != nil {
		fl.FlOps.FlCopyLock(dst, fl)
	}
}

// locksOverlap tells whether two ranges have a byte in common.
//
// C: locks_overlap, fs/locks.c
func locksOverlap(a, b *FileLock) bool { return a.FlEnd >= b.FlStart && b.FlEnd >= a.FlStart }

// posixSameOwner tells whether two locks have one owner. The manager of the first one decides.
//
// C: posix_same_owner, fs/locks.c
func posixSameOwner(a, b *FileLock) bool {
	if a.FlLmops != nil && a.FlLmops.LmCompareOwner != nil {
		return b.FlLmops == a.FlLmops && a.FlLmops.LmCompareOwner(a, b)
	}
	return a.FlOwner == b.FlOwner
}

// posixOwnerKey gives the bucket of blockedHash for an owner.
//
// Differs: owners without LmOwnerKey share a bucket; C has their address, which would not be the same in every run.
//
// C: posix_owner_key, fs/locks.c
func posixOwnerKey(fl *FileLock) uint64 {
	if fl.FlLmops != nil && fl.FlLmops.LmOwnerKey != nil {
		return fl.FlLmops.LmOwnerKey(fl) % (1 << BLOCKED_HASH_BITS)
	}
	return 0
}

// locksInsertGlobalBlocked makes waiter findable by its owner. BlockedLockLock is held.
//
// C: locks_insert_global_blocked, fs/locks.c
func (v *VFS) locksInsertGlobalBlocked(waiter *FileLock) {
	bucket := &v.blockedHash[posixOwnerKey(waiter)]
	*bucket = slices.Insert(*bucket, 0, waiter)
}

// locksDeleteGlobalBlocked undoes locksInsertGlobalBlocked. BlockedLockLock is held.
//
// C: locks_delete_global_blocked, fs/locks.c
func (v *VFS) locksDeleteGlobalBlocked(waiter *FileLock) {
	bucket := &v.blockedHash[posixOwnerKey(waiter)]
	if i := slices.Index(*bucket, waiter); i >= 0 {
		*bucket = slices.Delete(*bucket, i, i+1)
	}
}

// locksUnblock takes waiter off the lists of those who wait. BlockedLockLock is held.
//
// C: __locks_delete_block, fs/locks.c
func (v *VFS) locksUnblock(waiter *FileLock) {
	v.locksDeleteGlobalBlocked(waiter)
	if waiter.flBlocker != nil {
		waiter.flBlocker.blocked.Del(&waiter.flBlock)
	}
	waiter.flBlocker = nil
	if waiter.slab != nil {
		waiter.slab.waiting.Set(0)
	}
}

// locksDeleteBlock ends the waiting of waiter if it still waits. Takes BlockedLockLock.
//
// C: locks_delete_block, fs/locks.c
func (v *VFS) locksDeleteBlock(waiter *FileLock) {
	v.BlockedLockLock.Lock()
	v.locksUnblock(waiter)
	v.BlockedLockLock.Unlock()
}

// locksInsertBlock makes waiter wait for blocker, behind all who do already. ILock and BlockedLockLock are held.
//
// C: __locks_insert_block, fs/locks.c
func (v *VFS) locksInsertBlock(blocker, waiter *FileLock) {
	v.m.BugOn(waiter.flBlocker != nil || waiter.flBlock.Linked(), "locks_insert_block: the lock waits already")
	if waiter.Obj == nil {
		waiter.Obj = &v.Obj // nobody said what it is a part of
	}
	waiter.flBlocker = blocker.slab
	waiter.flBlock.Init(waiter)
	if waiter.slab != nil {
		waiter.slab.waiting.Set(1)
	}
	blocker.slab.blocked.AddTail(&waiter.flBlock)
	v.locksInsertGlobalBlocked(waiter)
}

// locksWakeUpBlocks tells all who wait for blocker to try again, oldest first. ILock is held: nobody can begin to
// wait meanwhile.
//
// C: locks_wake_up_blocks, fs/locks.c
func (v *VFS) locksWakeUpBlocks(blocker *FileLock) {
	if blocker.slab.blocked.Empty() { // they may leave without ILock, so it is looked at again
		return
	}
	v.BlockedLockLock.Lock()
	for waiter := blocker.slab.blocked.First(); waiter != nil; waiter = blocker.slab.blocked.First() {
		v.locksUnblock(waiter)
		switch {
		case waiter.FlLmops != nil && waiter.FlLmops.LmNotify != nil:
			waiter.FlLmops.LmNotify(waiter)
		case waiter.slab != nil:
			waiter.slab.flWait.WakeUp()
		}
	}
	v.BlockedLockLock.Unlock()
}

// locksInsertLock puts fl into the list of its inode at pos, on behalf of cur. ILock is held.
//
// Differs: does not keep the list of all locks for /proc/locks.
//
// C: locks_insert_lock, fs/locks.c
func locksInsertLock(cur *kernel.Task, pos **FileLock, fl *FileLock) {
	fl.FlNspid = cur.Pid()
	fl.FlNext = *pos
	*pos = fl
}

// locksUnlinkLock takes the lock at pos off the list and lets those who wait for it try again. ILock is held.
//
// C: locks_unlink_lock, fs/locks.c
func (v *VFS) locksUnlinkLock(pos **FileLock) {
	fl := *pos
	*pos = fl.FlNext
	fl.FlNext = nil
	fl.FlNspid = 0
	v.locksWakeUpBlocks(fl)
}

// locksDeleteLock unlinks the lock at pos, which the caller disposes of when it has given ILock back.
//
// C: locks_delete_lock, fs/locks.c
func (v *VFS) locksDeleteLock(pos **FileLock, dispose *[]*FileLock) {
	fl := *pos
	v.locksUnlinkLock(pos)
	*dispose = append(*dispose, fl)
}

// locksConflict tells whether two locks of different owners on one byte exclude each other.
//
// C: locks_conflict, fs/locks.c
func locksConflict(caller, sys *FileLock) bool {
	return sys.FlType == F_WRLCK || caller.FlType == F_WRLCK
}

// posixLocksConflict tells whether sys is in the way of caller.
//
// C: posix_locks_conflict, fs/locks.c
func posixLocksConflict(caller, sys *FileLock) bool {
	if sys.FlFlags&FL_POSIX == 0 || posixSameOwner(caller, sys) {
		return false
	}
	return locksOverlap(caller, sys) && locksConflict(caller, sys)
}

// PosixTestLock makes fl the first lock that is in its way; F_UNLCK is its type if there is none. FlPid then is the
// process of this host that got the lock: for those of a remote client, its lock manager. Takes ILock.
//
// C: posix_test_lock, fs/locks.c
func (v *VFS) PosixTestLock(filp *File, fl *FileLock) {
	inode := filp.FInode
	inode.ILock.Lock()
	cfl := inode.IFlock
	for cfl != nil && !posixLocksConflict(fl, cfl) {
		cfl = cfl.FlNext
	}
	if cfl != nil {
		v.LocksCopyConflock(fl, cfl)
		if cfl.FlNspid != 0 {
			fl.FlPid = cfl.FlNspid
		}
	} else {
		fl.FlType = F_UNLCK
	}
	inode.ILock.Unlock()
}

// whatOwnerIsWaitingFor finds the lock that the owner of fl waits for, nil if it does not wait. BlockedLockLock is
// held.
//
// C: what_owner_is_waiting_for, fs/locks.c
func (v *VFS) whatOwnerIsWaitingFor(fl *FileLock) *FileLock {
	for _, waiter := range v.blockedHash[posixOwnerKey(fl)] {
		if posixSameOwner(waiter, fl) {
			return &waiter.flBlocker.fl
		}
	}
	return nil
}

// posixLocksDeadlock tells whether the owner of blocker waits, perhaps over others, for the owner of caller.
// BlockedLockLock is held.
//
// C: posix_locks_deadlock, fs/locks.c
func (v *VFS) posixLocksDeadlock(caller, blocker *FileLock) bool {
	blocker = v.whatOwnerIsWaitingFor(blocker)
	for i := 0; blocker != nil && i <= MAX_DEADLK_ITERATIONS; i++ {
		if posixSameOwner(caller, blocker) {
			return true
		}
		blocker = v.whatOwnerIsWaitingFor(blocker)
	}
	return false
}

// posixRequest is one run of __posix_lock_file.
type posixRequest struct {
	*VFS
	cur     *kernel.Task
	inode   *Inode
	request *FileLock    // what is asked for; from the first lock on that it was merged with, that lock
	fresh   [2]*FileLock // made in advance; nil: none left, or no memory
	dispose []*FileLock

	before      **FileLock // where the walk over the owner's locks ended
	added       bool       // request is among the locks of the inode, or is an unlocking that found something
	left, right *FileLock  // locks of another type that reach out of the request on that side
}

// posixLockInode is PosixLockFile on the inode. May sleep.
//
// C: __posix_lock_file, fs/locks.c
func (v *VFS) posixLockInode(cur *kernel.Task, inode *Inode, request, conflock *FileLock) int {
	r := posixRequest{VFS: v, cur: cur, inode: inode, request: request}
	// Cutting a hole takes a second lock, and ILock does not let us wait for memory. To unlock everything takes none.
	whole := request.FlType == F_UNLCK && request.FlStart == 0 && request.FlEnd == OFFSET_MAX
	if request.FlFlags&FL_ACCESS == 0 && !whole {
		r.fresh[0] = locksAllocLock(v.m)
		r.fresh[1] = locksAllocLock(v.m)
	}

	inode.ILock.Lock()
	err := r.conflict(conflock)
	if err == 0 && request.FlFlags&FL_ACCESS == 0 {
		err = r.apply()
	}
	inode.ILock.Unlock()

	for _, fl := range r.fresh {
		if fl != nil {
			v.locksFreeLock(fl)
		}
	}
	v.locksDisposeList(r.dispose)
	return err
}

// conflict looks for a lock in the way and makes the request wait for it if it wants to. ILock is held.
//
// C: __posix_lock_file (conflicts), fs/locks.c
func (r *posixRequest) conflict(conflock *FileLock) int {
	if r.request.FlType == F_UNLCK {
		return 0
	}
	fl := r.inode.IFlock
	for fl != nil && !posixLocksConflict(r.request, fl) {
		fl = fl.FlNext
	}
	if fl == nil {
		return 0
	}
	if conflock != nil {
		r.LocksCopyConflock(conflock, fl)
	}
	if r.request.FlFlags&FL_SLEEP == 0 {
		return -kernel.EAGAIN
	}
	err := -kernel.EDEADLK
	r.BlockedLockLock.Lock() // over both, or two could begin to wait for each other
	if !r.posixLocksDeadlock(r.request, fl) {
		err = FILE_LOCK_DEFERRED
		r.locksInsertBlock(fl, r.request)
	}
	r.BlockedLockLock.Unlock()
	return err
}

// apply puts the request among the locks of its owner. ILock is held and nothing is in the way; -ENOLCK: a lock was
// needed that there is no memory for, and what is granted has not shrunk.
//
// C: __posix_lock_file (the owner's locks), fs/locks.c
func (r *posixRequest) apply() int {
	if err := r.walk(); err != 0 {
		return err
	}
	hole := r.right != nil && r.left == r.right
	if hole && r.fresh[1] == nil {
		return -kernel.ENOLCK
	}
	if !r.added {
		if r.request.FlType == F_UNLCK {
			if r.request.FlFlags&FL_EXISTS != 0 {
				return -kernel.ENOENT
			}
			return 0
		}
		if r.fresh[0] == nil {
			return -kernel.ENOLCK
		}
		locksInsertLock(r.cur, r.before, r.take(0, r.request))
	}
	if r.right != nil {
		if hole {
			r.left = r.take(1, r.right)
			locksInsertLock(r.cur, r.before, r.left)
		}
		r.right.FlStart = r.request.FlEnd + 1
		r.locksWakeUpBlocks(r.right)
	}
	if r.left != nil {
		r.left.FlEnd = r.request.FlStart - 1
		r.locksWakeUpBlocks(r.left)
	}
	return 0
}

// take makes one of the locks that were allocated in advance a copy of fl.
func (r *posixRequest) take(i int, fl *FileLock) *FileLock {
	fresh := r.fresh[i]
	r.fresh[i] = nil
	r.LocksCopyLock(fresh, fl)
	return fresh
}

// walk goes through the locks of the request's owner: merges those of its type that touch it, replaces those of
// another type inside it, and finds those that reach out of it. ILock is held.
//
// Differs: goes on behind a lock that it replaced. 3.19 goes on from the replaced one, which is on no list any more, so
// that the owner's next locks inside the request stay there (bd61e0a9c852).
//
// C: __posix_lock_file (the owner's locks), fs/locks.c
func (r *posixRequest) walk() int {
	r.before = &r.inode.IFlock
	for fl := *r.before; fl != nil && (fl.FlFlags&FL_POSIX == 0 || !posixSameOwner(r.request, fl)); fl = *r.before {
		r.before = &fl.FlNext
	}
	for fl := *r.before; fl != nil && posixSameOwner(r.request, fl); fl = *r.before {
		if fl.FlType == r.request.FlType {
			if !r.merge(fl) {
				break
			}
		} else if on, err := r.displace(fl); !on {
			return err
		}
	}
	return 0
}

// merge lets fl, of the request's type, swallow it or be swallowed if they touch. Moves before on; false: this lock
// and all further ones lie behind the request. The comparisons leave OFFSET_MAX alone.
//
// C: __posix_lock_file (same type), fs/locks.c
func (r *posixRequest) merge(fl *FileLock) bool {
	if fl.FlEnd < r.request.FlStart-1 {
		r.before = &fl.FlNext
		return true
	}
	if fl.FlStart-1 > r.request.FlEnd {
		return false
	}
	fl.FlStart = min(fl.FlStart, r.request.FlStart)
	r.request.FlStart = fl.FlStart
	fl.FlEnd = max(fl.FlEnd, r.request.FlEnd)
	r.request.FlEnd = fl.FlEnd
	if r.added {
		r.locksDeleteLock(r.before, &r.dispose)
		return true
	}
	r.request = fl
	r.added = true
	r.before = &fl.FlNext
	return true
}

// displace makes room for the request in fl, of another type. Moves before on; false: this lock reaches over the end
// of the request or lies behind it. -ENOLCK.
//
// C: __posix_lock_file (other type), fs/locks.c
func (r *posixRequest) displace(fl *FileLock) (bool, int) {
	if fl.FlEnd < r.request.FlStart {
		r.before = &fl.FlNext
		return true, 0
	}
	if fl.FlStart > r.request.FlEnd {
		return false, 0
	}
	if r.request.FlType == F_UNLCK {
		r.added = true
	}
	if fl.FlStart < r.request.FlStart {
		r.left = fl
	}
	if fl.FlEnd > r.request.FlEnd {
		r.right = fl
		return false, 0
	}
	switch {
	case r.left == fl:
		r.before = &fl.FlNext
	case r.added:
		r.locksDeleteLock(r.before, &r.dispose)
	case r.fresh[0] == nil:
		return false, -kernel.ENOLCK
	default:
		r.request = r.take(0, r.request)
		r.locksDeleteLock(r.before, &r.dispose)
		locksInsertLock(r.cur, r.before, r.request)
		r.before = &r.request.FlNext
		r.added = true
	}
	return true, 0
}

// PosixLockFile sets, changes or (F_UNLCK) removes a lock. With FL_SLEEP a conflict makes fl wait: FILE_LOCK_DEFERRED,
// and LmNotify will say when to ask again. Without: -EAGAIN, and conflock, if not nil, is what is in the way. -EDEADLK,
// -ENOLCK. FL_ACCESS only looks; FL_EXISTS: -ENOENT if there is nothing to unlock. fl may grow to what it is merged
// with. May sleep.
//
// C: posix_lock_file, fs/locks.c
func (v *VFS) PosixLockFile(cur *kernel.Task, filp *File, fl, conflock *FileLock) int {
	return v.posixLockInode(cur, filp.FInode, fl, conflock)
}

// lockFileWait is VfsLockFile that sleeps until it has an answer; -ERESTARTSYS on a signal. fl is one of
// locksAllocLock.
//
// C: do_lock_file_wait, fs/locks.c
func (v *VFS) lockFileWait(cur *kernel.Task, filp *File, cmd int, fl *FileLock) int {
	for {
		err := v.VfsLockFile(cur, filp, cmd, fl, nil)
		if err != FILE_LOCK_DEFERRED {
			return err
		}
		var w kernel.WaitEntry
		fl.slab.flWait.PrepareToWait(cur, &w, kernel.TASK_INTERRUPTIBLE)
		for fl.slab.waiting.Read() != 0 && !cur.SignalPending() {
			kernel.Schedule(cur)
			fl.slab.flWait.PrepareToWait(cur, &w, kernel.TASK_INTERRUPTIBLE)
		}
		fl.slab.flWait.FinishWait(cur, &w)
		if fl.slab.waiting.Read() != 0 {
			v.locksDeleteBlock(fl)
			return -kernel.ERESTARTSYS
		}
	}
}

// VfsTestLock makes fl the lock that is in its way; F_UNLCK is its type if there is none. 0 or -errno. May sleep.
//
// C: vfs_test_lock, fs/locks.c
func (v *VFS) VfsTestLock(cur *kernel.Task, filp *File, fl *FileLock) int {
	if lock := filp.FInode.IFop.Lock; lock != nil {
		return lock(cur, filp, F_GETLK, fl)
	}
	v.PosixTestLock(filp, fl)
	return 0
}

// VfsLockFile is PosixLockFile for whatever file system filp is on. One that answers later says FILE_LOCK_DEFERRED and
// calls LmGrant, if the lock has it; it leaves conf alone. May sleep.
//
// C: vfs_lock_file, fs/locks.c
func (v *VFS) VfsLockFile(cur *kernel.Task, filp *File, cmd int, fl, conf *FileLock) int {
	if lock := filp.FInode.IFop.Lock; lock != nil {
		return lock(cur, filp, cmd, fl)
	}
	return v.PosixLockFile(cur, filp, fl, conf)
}

// FcntlSetlk is fcntl(F_SETLK or F_SETLKW) of a process of this host, which owner and pid name: 0, -EAGAIN, -EBADF if
// the file is not open for this, -EDEADLK, -ENOLCK, -ERESTARTSYS on a signal. May sleep.
//
// Differs: the range comes as first and last byte, and who asks with it. There are no descriptors, so that a close that
// came first is not looked for, and no mandatory locks and none that belong to an open file.
//
// C: fcntl_setlk, fs/locks.c
func (v *VFS) FcntlSetlk(cur *kernel.Task, filp *File, cmd int, flock *FileLock) int {
	fl := locksAllocLock(v.m)
	if fl == nil {
		return -kernel.ENOLCK
	}
	fl.FlOwner, fl.FlPid, fl.FlFile = flock.FlOwner, flock.FlPid, filp
	fl.FlFlags, fl.FlType, fl.FlStart, fl.FlEnd = FL_POSIX, flock.FlType, flock.FlStart, flock.FlEnd
	if cmd == F_SETLKW {
		fl.FlFlags |= FL_SLEEP
	}
	err := -kernel.EBADF
	switch {
	case fl.FlType == F_RDLCK && filp.FMode&FMODE_READ == 0:
	case fl.FlType == F_WRLCK && filp.FMode&FMODE_WRITE == 0:
	default:
		err = v.lockFileWait(cur, filp, cmd, fl)
	}
	v.locksFreeLock(fl)
	return err
}

// LocksRemovePosix removes all POSIX locks of owner, a process of this host, when it closes a descriptor of filp. May
// sleep.
//
// Differs: looks under ILock whether there are any, since the list is a plain field of its own.
//
// C: locks_remove_posix, fs/locks.c
func (v *VFS) LocksRemovePosix(cur *kernel.Task, filp *File, owner any) {
	inode := filp.FInode
	inode.ILock.Lock()
	none := inode.IFlock == nil
	inode.ILock.Unlock()
	if none {
		return
	}
	lock := FileLock{
		FlOwner: owner, FlPid: cur.Pid(), FlFlags: FL_POSIX | FL_CLOSE, FlType: F_UNLCK, FlFile: filp,
		FlEnd: OFFSET_MAX,
	}
	v.VfsLockFile(cur, filp, F_SETLK, &lock, nil)
}

// locksRemoveFile removes what the last user of filp has left behind, with a warning. Takes ILock.
//
// Differs: there are no locks of flock and none that belong to an open file; C removes those here without a warning.
//
// C: locks_remove_file, fs/locks.c
func (v *VFS) locksRemoveFile(filp *File) {
	var dispose []*FileLock
	inode := filp.FInode
	inode.ILock.Lock()
	for before := &inode.IFlock; *before != nil; {
		if (*before).FlFile != filp {
			before = &(*before).FlNext
			continue
		}
		v.m.WarnOnOnce(true, "locks_remove_file: leftover lock")
		v.locksDeleteLock(before, &dispose)
	}
	inode.ILock.Unlock()
	v.locksDisposeList(dispose)
}

// PosixUnblockLock ends the waiting of waiter; -ENOENT if it does not wait (any more). Takes BlockedLockLock.
//
// C: posix_unblock_lock, fs/locks.c
func (v *VFS) PosixUnblockLock(waiter *FileLock) int {
	status := 0
	v.BlockedLockLock.Lock()
	if waiter.flBlocker != nil {
		v.locksUnblock(waiter)
	} else {
		status = -kernel.ENOENT
	}
	v.BlockedLockLock.Unlock()
	return status
}

// VfsCancelLock tells the file system that nobody waits any more for a lock that it has not answered. May sleep.
//
// C: vfs_cancel_lock, fs/locks.c
func (v *VFS) VfsCancelLock(cur *kernel.Task, filp *File, fl *FileLock) int {
	if lock := filp.FInode.IFop.Lock; lock != nil {
		return lock(cur, filp, F_CANCELLK, fl)
	}
	return 0
}
