// SPDX-License-Identifier: GPL-2.0-only

package fs

import (
	"slices"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// plocks are the locks of an inode whose file system has to ask others first, as that of a cluster has to.
//
// Differs: one for each inode, and the others are a delay: there is one node, whose locks decide.
//
// C: fs/dlm/plock.c
type plocks struct {
	kernel.Obj
	vfs     *VFS
	inode   *Inode
	opsLock kernel.Spinlock
	ops     []*plockOp     // not answered, oldest first; opsLock
	delay   kernel.Jiffies // until an answer comes; opsLock
	again   kernel.Jiffies // until those that wait for a conflict are looked at again; opsLock
	answer  int            // 0: as the locks are; -errno: what every lock is answered with; opsLock
	work    kernel.DelayedWork
}

// plockOp is a lock that has not been answered.
//
// C: struct plock_xop, fs/dlm/plock.c
type plockOp struct {
	kernel.Obj
	file *File    // with a reference
	fl   FileLock // what the caller asked for: its own lock may be gone when the answer comes
}

// Poison drops the pointers of an op that is done.
func (op *plockOp) Poison() { op.file, op.fl = nil, FileLock{FlType: 0x6b} }

// SetAsync makes the locks of inode be answered after a delay, through LmGrant, for those that have it. To be called
// before the inode is used.
func (v *VFS) SetAsync(inode *Inode, delay kernel.Jiffies) {
	p := kernel.StaticObj[plocks](v.m, "plocks")
	p.vfs, p.inode, p.delay = v, inode, delay
	p.opsLock.Init(&p.Obj, "ops_lock")
	p.work.Init(&p.Obj, "plock", p.deliver)
	inode.plocks = p
	inode.IFop.Lock = p.lock
}

// SetAsyncAnswer makes the locks of an asynchronous inode that are not answered yet fail with answer, -errno, until
// it is 0 again: then the locks that are there decide. Takes a spinlock.
func (v *VFS) SetAsyncAnswer(inode *Inode, answer int) {
	p := inode.plocks
	p.opsLock.Lock()
	p.answer = answer
	p.opsLock.Unlock()
}

// AsyncPending counts the locks of an asynchronous inode that are not answered. Takes a spinlock.
func (v *VFS) AsyncPending(inode *Inode) int {
	p := inode.plocks
	p.opsLock.Lock()
	n := len(p.ops)
	p.opsLock.Unlock()
	return n
}

// AsyncIdle tells whether the clock of an asynchronous inode is not set. It may be although nobody waits any more. Takes
// a spinlock.
func (v *VFS) AsyncIdle(inode *Inode) bool { return !inode.plocks.work.Pending() }

// lock is the file operation. Questions, unlocking and locks without LmGrant are answered at once. -ENOMEM. May sleep.
//
// C: dlm_posix_lock, fs/dlm/plock.c
func (p *plocks) lock(cur *kernel.Task, filp *File, cmd int, fl *FileLock) int {
	v := p.vfs
	switch {
	case cmd == F_GETLK:
		v.PosixTestLock(filp, fl)
		return 0
	case cmd == F_CANCELLK:
		return p.cancel(cur, filp, fl)
	case fl.FlType == F_UNLCK || fl.FlLmops == nil || fl.FlLmops.LmGrant == nil:
		return v.PosixLockFile(cur, filp, fl, nil)
	}
	op := kernel.Kzalloc[plockOp](v.m, "plock_op", kernel.GFP_KERNEL)
	if op == nil {
		return -kernel.ENOMEM
	}
	op.file = GetFile(filp)
	v.LocksCopyLock(&op.fl, fl)
	p.opsLock.Lock()
	p.ops = append(p.ops, op)
	delay := p.delay
	p.again = delay
	p.opsLock.Unlock()
	p.work.Schedule(delay)
	return FILE_LOCK_DEFERRED
}

// cancel forgets a lock that has not been answered; if it is not there, it was granted just now, and is taken back
// with whatever else its owner holds of the range. May sleep.
//
// C: gfs2_lock, fs/gfs2/file.c
func (p *plocks) cancel(cur *kernel.Task, filp *File, fl *FileLock) int {
	var op *plockOp
	p.opsLock.Lock()
	i := slices.IndexFunc(p.ops, func(op *plockOp) bool {
		return posixSameOwner(fl, &op.fl) && op.fl.FlStart == fl.FlStart && op.fl.FlEnd == fl.FlEnd
	})
	if i >= 0 {
		op = p.ops[i]
		p.ops = append(p.ops[:i:i], p.ops[i+1:]...)
	}
	p.opsLock.Unlock()
	if op == nil {
		return p.vfs.unlockRange(cur, filp, fl)
	}
	p.done(op)
	return 0
}

// unlockRange removes what the owner of fl holds of its range. May sleep.
func (v *VFS) unlockRange(cur *kernel.Task, filp *File, fl *FileLock) int {
	lock := FileLock{
		FlOwner: fl.FlOwner, FlPid: fl.FlPid, FlFlags: FL_POSIX, FlType: F_UNLCK, FlFile: filp,
		FlStart: fl.FlStart, FlEnd: fl.FlEnd, FlLmops: fl.FlLmops,
	}
	return v.PosixLockFile(cur, filp, &lock, nil)
}

// done frees an op that is on no list. The file may be closed by it.
func (p *plocks) done(op *plockOp) {
	p.vfs.LocksReleasePrivate(&op.fl)
	p.vfs.Fput(op.file)
	kernel.Kfree(op)
}

// deliver answers all ops that can be answered; those that have to wait for a conflict are looked at again after the
// same delay, then after twice that, up to a second: who waits for long costs little.
func (p *plocks) deliver(cur *kernel.Task) {
	p.opsLock.Lock()
	n, again := len(p.ops), p.again
	p.again = min(max(2*again, 1), kernel.HZ)
	p.opsLock.Unlock()
	for ; n > 0; n-- {
		p.opsLock.Lock()
		var op *plockOp
		if len(p.ops) > 0 { // some may have been cancelled
			op = p.ops[0]
			p.ops = append([]*plockOp(nil), p.ops[1:]...)
		}
		answer := p.answer
		p.opsLock.Unlock()
		if op == nil {
			return
		}
		if !p.deliverOne(cur, op, answer) {
			// Whoever sees it on the list, and takes it off, finds the clock set that he has to wait for.
			p.opsLock.Lock()
			p.ops = append(p.ops, op)
			p.work.Schedule(again)
			p.opsLock.Unlock()
		}
	}
}

// deliverOne gives the answer to one op and frees it; false if it has to wait. A lock that nobody waits for any more is
// given back.
//
// C: dlm_plock_callback, fs/dlm/plock.c
func (p *plocks) deliverOne(cur *kernel.Task, op *plockOp, answer int) bool {
	v := p.vfs
	sleep := op.fl.FlFlags & FL_SLEEP
	op.fl.FlFlags &^= FL_SLEEP
	asked := op.fl // which the locking may widen
	err := answer
	if err == 0 {
		err = v.PosixLockFile(cur, op.file, &op.fl, nil)
	}
	if answer == 0 && err == -kernel.EAGAIN && sleep != 0 {
		op.fl.FlFlags |= sleep
		return false
	}
	if asked.FlLmops.LmGrant(&asked, err) != 0 && err == 0 {
		v.m.Printk("plock: granted after the request was given up, unlocked again")
		v.unlockRange(cur, op.file, &asked)
	}
	p.done(op)
	return true
}
