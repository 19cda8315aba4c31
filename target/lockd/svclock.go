// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"bytes"

	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// nlmsvcInsertBlockLocked puts a block on the list of those that lockd has to look at, or moves it there: when jiffies
// from now, behind all that are due by then, or at the end for NLM_NEVER. The list has a reference of its own.
// NlmBlockedLock is held.
//
// C: nlmsvc_insert_block_locked, fs/lockd/svclock.c
func (l *Lockd) nlmsvcInsertBlockLocked(block *NlmBlock, when kernel.Jiffies) {
	if !block.BList.Linked() {
		block.BCount.Get()
	} else {
		l.NlmBlocked.DelInit(&block.BList)
	}

	var pos *NlmBlock
	if when != NLM_NEVER {
		when += l.Machine().Jiffies()
		for pos = l.NlmBlocked.First(); pos != nil; pos = l.NlmBlocked.Next(&pos.BList) {
			if pos.BWhen > when {
				break
			}
		}
	}
	if pos != nil {
		l.NlmBlocked.AddBefore(&block.BList, &pos.BList)
	} else {
		l.NlmBlocked.AddTail(&block.BList)
	}
	block.BWhen = when
}

// nlmsvcInsertBlock moves a block on the list to another time. Takes NlmBlockedLock.
//
// Differs: 3.19 also inserts a block that somebody has taken off the list meanwhile, for good; such a block would come
// back to life (ours).
//
// C: nlmsvc_insert_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcInsertBlock(block *NlmBlock, when kernel.Jiffies) {
	l.NlmBlockedLock.Lock()
	if block.BList.Linked() {
		l.nlmsvcInsertBlockLocked(block, when)
	}
	l.NlmBlockedLock.Unlock()
}

// nlmsvcRemoveBlock takes a block off the list if it is there, with the reference of the list. The caller has one of
// its own. Takes NlmBlockedLock; may sleep.
//
// Differs: looks under the lock; in 3.19 two callers may both find the block there and drop the reference twice
// (be2be5f7f443).
//
// C: nlmsvc_remove_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcRemoveBlock(cur *kernel.Task, block *NlmBlock) {
	l.NlmBlockedLock.Lock()
	listed := block.BList.Linked()
	if listed {
		l.NlmBlocked.DelInit(&block.BList)
	}
	l.NlmBlockedLock.Unlock()
	if listed {
		l.nlmsvcReleaseBlock(cur, block)
	}
}

// nlmsvcLookupBlock finds the block of a lock that a client asks for again, cancels or unlocks, and returns it with a
// reference; nil if there is none. Takes NlmBlockedLock.
//
// Differs: 3.19 walks the list without the lock (be2be5f7f443).
//
// C: nlmsvc_lookup_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcLookupBlock(file *NlmFile, lock *NlmLock) *NlmBlock {
	l.NlmBlockedLock.Lock()
	block := l.NlmBlocked.First()
	for ; block != nil; block = l.NlmBlocked.Next(&block.BList) {
		if block.BFile == file && nlmCompareLocks(&block.BLock, &lock.Fl) {
			block.BCount.Get()
			break
		}
	}
	l.NlmBlockedLock.Unlock()
	return block
}

// nlmCookieMatch tells whether two cookies are the same.
//
// C: nlm_cookie_match, fs/lockd/svclock.c
func nlmCookieMatch(a, b *NlmCookie) bool {
	return a.Len == b.Len && bytes.Equal(a.Data[:a.Len], b.Data[:b.Len])
}

// nlmsvcFindBlock finds the block whose GRANTED call bears a cookie, and returns it with a reference; nil if there is
// none. Takes NlmBlockedLock.
//
// Differs: 3.19 walks the list without the lock (be2be5f7f443).
//
// C: nlmsvc_find_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcFindBlock(cookie *NlmCookie) *NlmBlock {
	l.NlmBlockedLock.Lock()
	block := l.NlmBlocked.First()
	for ; block != nil; block = l.NlmBlocked.Next(&block.BList) {
		if nlmCookieMatch(&block.BCall.AArgs.Cookie, cookie) {
			block.BCount.Get()
			break
		}
	}
	l.NlmBlockedLock.Unlock()
	return block
}

// nlmsvcCreateBlock makes a block for a lock that a client wants, with the GRANTED call that will answer it. The call
// has a cookie of its own, so that its answer leads back to the block whoever sends it. The block is one of the file
// and not yet on the list; the one reference is the caller's. nil if there is no memory. FMutex of the file is held;
// may sleep.
//
// C: nlmsvc_create_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcCreateBlock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, host *NlmHost, file *NlmFile,
	lock *NlmLock) *NlmBlock {
	call := l.NlmAllocCall(cur, host)
	if call == nil {
		return nil
	}
	block := kernel.Kzalloc[NlmBlock](l.Machine(), "nlm_block", kernel.GFP_KERNEL)
	if block == nil {
		l.NlmsvcReleaseCall(cur, call)
		return nil
	}
	block.BCount.Init(&block.Obj, "b_count")
	block.BList.Init(block)
	block.BFlist.Init(block)
	if !l.nlmsvcSetgrantargs(call, lock) {
		kernel.Kfree(block)
		l.NlmsvcReleaseCall(cur, call)
		return nil
	}

	fl := &call.AArgs.Lock.Fl
	fl.Obj = &call.Obj
	fl.FlFlags |= fs.FL_SLEEP
	fl.FlLmops = l.NlmsvcLockOperations
	l.NlmclntNextCookie(&call.AArgs.Cookie)

	block.BLock = nlmLockKeyOf(fl)
	block.BDaemon = rqstp.RqServer
	block.BHost = host
	block.BFile = file
	file.FCount.Inc()
	file.FBlocks.Add(&block.BFlist)

	block.BCall = call
	call.ABlock = block
	return block
}

// nlmsvcUnlinkBlock ends the waiting of a block: it hears of the file system no more and leaves the list. The caller
// has a reference. 0, or -ENOENT if the file system did not have it wait. May sleep.
//
// C: nlmsvc_unlink_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcUnlinkBlock(cur *kernel.Task, block *NlmBlock) int {
	status := l.Fs.PosixUnblockLock(&block.BCall.AArgs.Lock.Fl)
	l.nlmsvcRemoveBlock(cur, block)
	return status
}

// nlmsvcFreeBlock frees a block whose last reference is gone. FMutex of its file is held, and is given back; may
// sleep.
//
// Differs: gives up the request that may still wait for the block. 3.19 forgets it, and with it a reference to its
// transport, which then outlives the service (ours).
//
// C: nlmsvc_free_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcFreeBlock(cur *kernel.Task, block *NlmBlock) {
	file := block.BFile
	file.FBlocks.DelInit(&block.BFlist)
	file.FMutex.Unlock(cur)

	if dreq := block.BDeferredReq; dreq != nil {
		dreq.Revisit(cur, dreq, true)
	}
	l.nlmsvcFreegrantargs(block.BCall)
	l.NlmsvcReleaseCall(cur, block.BCall)
	l.NlmReleaseFile(cur, file)
	kernel.Kfree(block)
}

// nlmsvcReleaseBlock drops a reference. nil is allowed. FMutex of the file is not held; may sleep.
//
// C: nlmsvc_release_block, fs/lockd/svclock.c
func (l *Lockd) nlmsvcReleaseBlock(cur *kernel.Task, block *NlmBlock) {
	if block != nil {
		block.BCount.PutMutex(cur, &block.BFile.FMutex, func() { l.nlmsvcFreeBlock(cur, block) })
	}
}

// NlmsvcTraverseBlocks unlinks the blocks of a file whose host matches. One that is not on the list is being worked on
// or is on its way out, and is left alone. Takes FMutex; may sleep.
//
// Differs: looks for the block on the list under NlmBlockedLock (be2be5f7f443).
//
// C: nlmsvc_traverse_blocks, fs/lockd/svclock.c
func (l *Lockd) NlmsvcTraverseBlocks(cur *kernel.Task, host *NlmHost, file *NlmFile, match func(a, b *NlmHost) bool) {
	for {
		file.FMutex.Lock(cur)
		block := l.nlmsvcMatchingBlock(host, file, match)
		file.FMutex.Unlock(cur)
		if block == nil {
			return
		}
		l.nlmsvcUnlinkBlock(cur, block)
		l.nlmsvcReleaseBlock(cur, block)
	}
}

// nlmsvcMatchingBlock finds a listed block of a file whose host matches, and returns it with a reference; nil if
// there is none. FMutex is held.
//
// C: nlmsvc_traverse_blocks, fs/lockd/svclock.c
func (l *Lockd) nlmsvcMatchingBlock(host *NlmHost, file *NlmFile, match func(a, b *NlmHost) bool) *NlmBlock {
	l.NlmBlockedLock.Lock()
	block := file.FBlocks.First()
	for ; block != nil; block = file.FBlocks.Next(&block.BFlist) {
		if match(block.BHost, host) && block.BList.Linked() {
			block.BCount.Get()
			break
		}
	}
	l.NlmBlockedLock.Unlock()
	return block
}

// nlmsvcSetgrantargs makes the arguments of a GRANTED call out of a lock. The owner handle is copied: the one in lock
// goes with the request. False if there is no memory.
//
// C: nlmsvc_setgrantargs, fs/lockd/svclock.c
func (l *Lockd) nlmsvcSetgrantargs(call *NlmRqst, lock *NlmLock) bool {
	args := &call.AArgs.Lock
	l.Fs.LocksCopyLock(&args.Fl, &lock.Fl)
	args.Fh = lock.Fh
	args.Caller = []byte(l.Rpc.Nodename)
	args.Svid = lock.Fl.FlPid
	if len(lock.Oh) > NLMCLNT_OHSIZE && l.Machine().AllocFails("nlm_owner_handle") {
		return false
	}
	args.Oh = bytes.Clone(lock.Oh)
	return true
}

// nlmsvcFreegrantargs undoes nlmsvcSetgrantargs.
//
// C: nlmsvc_freegrantargs, fs/lockd/svclock.c
func (l *Lockd) nlmsvcFreegrantargs(call *NlmRqst) {
	call.AArgs.Lock.Oh = nil
	l.Fs.LocksReleasePrivate(&call.AArgs.Lock.Fl)
}

// nlmsvcDeferLockRqst puts a request aside whose lock the file system has promised an answer for: NLM_DROP_REPLY, and
// the request comes back when the answer is there or NLM_TIMEOUT is over. FMutex is held; may sleep.
//
// Differs: the block is due at once if the answer is there already; 3.19 lets it wait for NLM_TIMEOUT. And a request
// that cannot be put aside takes its block with it: in 3.19 the client hears of no memory, and the file system
// grants the lock to nobody (ours).
//
// C: nlmsvc_defer_lock_rqst, fs/lockd/svclock.c
func (l *Lockd) nlmsvcDeferLockRqst(cur *kernel.Task, rqstp *sunrpc.SvcRqst, block *NlmBlock) uint32 {
	l.NlmBlockedLock.Lock()
	if block.BList.Linked() && block.BFlags&B_GOT_CALLBACK == 0 {
		l.nlmsvcInsertBlockLocked(block, NLM_TIMEOUT)
	}
	l.NlmBlockedLock.Unlock()

	block.BCacheReq = &rqstp.RqChandle
	if block.BCacheReq.Defer != nil {
		block.BDeferredReq = block.BCacheReq.Defer(cur, block.BCacheReq)
		if block.BDeferredReq != nil {
			return NLM_DROP_REPLY
		}
	}
	l.nlmsvcUnlinkBlock(cur, block)
	if _, granted := l.nlmsvcBlockState(block); granted {
		return NLM_LCK_GRANTED
	}
	l.Fs.VfsCancelLock(cur, block.BFile.FFile, &block.BCall.AArgs.Lock.Fl)
	return NLM_LCK_DENIED_NOLOCKS
}

// nlmsvcBlockState reads what the file system has said about a block. Takes NlmBlockedLock.
//
// Differs: in 3.19 these fields are read without the lock under which the file system writes them (ours).
func (l *Lockd) nlmsvcBlockState(block *NlmBlock) (flags uint32, granted bool) {
	l.NlmBlockedLock.Lock()
	flags, granted = block.BFlags, block.BGranted
	l.NlmBlockedLock.Unlock()
	return flags, granted
}

// NlmsvcLock takes a lock for a client: NLM_LCK_GRANTED; NLM_LCK_DENIED if it conflicts, or NLM_LCK_BLOCKED if the
// client will wait, and then a GRANTED call follows; NLM_DEADLCK; NLM_LCK_DENIED_GRACE_PERIOD for anything but a
// reclaim in grace and for a reclaim outside; NLM_DROP_REPLY if the file system answers later; NLM_LCK_DENIED_NOLOCKS
// for all other failures. The client may ask again for a lock that it waits for. May sleep.
//
// C: nlmsvc_lock, fs/lockd/svclock.c
func (l *Lockd) NlmsvcLock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, file *NlmFile, host *NlmHost, lock *NlmLock,
	wait bool, cookie *NlmCookie, reclaim bool) uint32 {
	file.FMutex.Lock(cur)
	ret := uint32(NLM_LCK_DENIED_NOLOCKS)
	block := l.nlmsvcLookupBlock(file, lock)
	if block != nil {
		lock.Fl.FlFlags &^= fs.FL_SLEEP
		ret = l.nlmsvcLockAgain(cur, rqstp, block, lock, wait, reclaim)
	} else if block = l.nlmsvcCreateBlock(cur, rqstp, host, file, lock); block != nil {
		ret = l.nlmsvcLockFirst(cur, rqstp, block, wait, reclaim)
	}
	file.FMutex.Unlock(cur)
	l.nlmsvcReleaseBlock(cur, block)
	return ret
}

// nlmsvcLockFirst is NlmsvcLock for a lock that has just got its block. FMutex is held; may sleep.
//
// Differs: the block is on the list before the file system hears of it, and leaves it again if it need not wait.
// 3.19 puts it there afterwards: what is in the way may go in between, its notice finds no block, and nobody ever
// looks at it again (upstream: afb13302aa66).
//
// C: nlmsvc_lock, fs/lockd/svclock.c
func (l *Lockd) nlmsvcLockFirst(cur *kernel.Task, rqstp *sunrpc.SvcRqst, block *NlmBlock, wait, reclaim bool) uint32 {
	if l.locksInGrace(rqstp) != reclaim {
		return NLM_LCK_DENIED_GRACE_PERIOD
	}

	listed := wait || nlmsvcFileAsync(block.BFile)
	if listed {
		l.NlmBlockedLock.Lock()
		if !wait {
			block.BFlags |= B_QUEUED
		}
		l.nlmsvcInsertBlockLocked(block, NLM_NEVER)
		l.NlmBlockedLock.Unlock()
	}

	fl := &block.BCall.AArgs.Lock.Fl
	if !wait {
		fl.FlFlags &^= fs.FL_SLEEP
	}
	err := l.Fs.VfsLockFile(cur, block.BFile.FFile, fs.F_SETLK, fl, nil)
	fl.FlFlags &^= fs.FL_SLEEP

	ret, waits := nlmsvcLockStatus(err, wait)
	switch {
	case waits && !wait:
		return l.nlmsvcDeferLockRqst(cur, rqstp, block)
	case !waits && listed:
		l.nlmsvcRemoveBlock(cur, block)
	}
	return ret
}

// nlmsvcLockAgain is NlmsvcLock for a client that asks again for the lock of block: the file system may have answered
// meanwhile, or may answer now. FMutex is held; may sleep.
//
// Differs: a lock that is got now needs no GRANTED call any more; 3.19 leaves the block on the list, and a client that
// waits no longer rejects the call, whereupon the lock would be taken from it (6.7, with the above). A block that
// still waits stays where it is on the list: 3.19 moves it to the end, even if what was in its way has just gone
// (ours). A file system that answers later is not asked twice (b743612c0aaa).
//
// C: nlmsvc_lock, fs/lockd/svclock.c
func (l *Lockd) nlmsvcLockAgain(cur *kernel.Task, rqstp *sunrpc.SvcRqst, block *NlmBlock, lock *NlmLock,
	wait, reclaim bool) uint32 {
	if flags, granted := l.nlmsvcBlockState(block); flags&B_QUEUED != 0 {
		switch {
		case granted:
			l.nlmsvcUnlinkBlock(cur, block)
			return NLM_LCK_GRANTED
		case flags&B_TIMED_OUT != 0:
			l.nlmsvcUnlinkBlock(cur, block)
			return NLM_LCK_DENIED
		}
		return NLM_DROP_REPLY
	}
	if l.locksInGrace(rqstp) != reclaim {
		return NLM_LCK_DENIED_GRACE_PERIOD
	}
	if nlmsvcFileAsync(block.BFile) {
		return NLM_LCK_BLOCKED
	}

	err := l.Fs.VfsLockFile(cur, block.BFile.FFile, fs.F_SETLK, &lock.Fl, nil)
	if err == 0 {
		l.nlmsvcUnlinkBlock(cur, block)
	}
	ret, _ := nlmsvcLockStatus(err, wait)
	return ret
}

// nlmsvcLockStatus turns what the file system says to a request into what the client is told. waits: the request is
// not over, be it that it waits for its turn or for the file system.
//
// C: nlmsvc_lock, fs/lockd/svclock.c
func nlmsvcLockStatus(err int, wait bool) (ret uint32, waits bool) {
	switch err {
	case 0:
		return NLM_LCK_GRANTED, false
	case -kernel.EAGAIN:
		if !wait {
			return NLM_LCK_DENIED, false
		}
		return NLM_LCK_BLOCKED, true
	case fs.FILE_LOCK_DEFERRED:
		return NLM_LCK_BLOCKED, true
	case -kernel.EDEADLK:
		return NLM_DEADLCK, false
	}
	return NLM_LCK_DENIED_NOLOCKS, false
}

// nlmsvcFileAsync tells whether the file system of a file has locks of its own, which it may answer later.
//
// C: locks_can_async_lock (later), include/linux/filelock.h
func nlmsvcFileAsync(file *NlmFile) bool { return file.FFile.FInode.IFop.Lock != nil }

// locksInGrace is LocksInGrace for the namespace of a request.
func (l *Lockd) locksInGrace(rqstp *sunrpc.SvcRqst) bool {
	return l.netInGrace(sunrpc.SvcNet(rqstp))
}

// netInGrace is LocksInGrace for a namespace that lockd serves.
func (l *Lockd) netInGrace(net *sock.Net) bool {
	return l.Grace.LocksInGrace(l.LockdNet(net).GraceNet)
}

// NlmsvcTestlock tells whether a lock could be got now: NLM_LCK_GRANTED, or NLM_LCK_DENIED with the first lock in its
// way in conflock, without owner handle. NLM_LCK_DENIED_GRACE_PERIOD in grace. May sleep.
//
// C: nlmsvc_testlock, fs/lockd/svclock.c
func (l *Lockd) NlmsvcTestlock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, file *NlmFile, host *NlmHost,
	lock, conflock *NlmLock, cookie *NlmCookie) uint32 {
	if l.locksInGrace(rqstp) {
		return NLM_LCK_DENIED_GRACE_PERIOD
	}

	if err := l.Fs.VfsTestLock(cur, file.FFile, &lock.Fl); err != 0 {
		l.Machine().WarnOnOnce(err == fs.FILE_LOCK_DEFERRED, "nlmsvc_testlock: a test that is answered later")
		return NLM_LCK_DENIED_NOLOCKS
	}
	if lock.Fl.FlType == fs.F_UNLCK {
		return NLM_LCK_GRANTED
	}

	conflock.Caller = []byte("somehost")
	conflock.Oh = nil
	conflock.Svid = lock.Fl.FlPid
	conflock.Fl.FlType = lock.Fl.FlType
	conflock.Fl.FlStart = lock.Fl.FlStart
	conflock.Fl.FlEnd = lock.Fl.FlEnd
	l.Fs.LocksReleasePrivate(&lock.Fl)
	return NLM_LCK_DENIED
}

// NlmsvcUnlock gives back what a client has of a range. That ends waiting for the range as well: the client may have
// been granted it and have answered so, with the answer lost. NLM_LCK_GRANTED, also if there was nothing, or
// NLM_LCK_DENIED_NOLOCKS. May sleep.
//
// C: nlmsvc_unlock, fs/lockd/svclock.c
func (l *Lockd) NlmsvcUnlock(cur *kernel.Task, net *sock.Net, file *NlmFile, lock *NlmLock) uint32 {
	l.NlmsvcCancelBlocked(cur, net, file, lock)

	lock.Fl.FlType = fs.F_UNLCK
	if l.Fs.VfsLockFile(cur, file.FFile, fs.F_SETLK, &lock.Fl, nil) < 0 {
		return NLM_LCK_DENIED_NOLOCKS
	}
	return NLM_LCK_GRANTED
}

// NlmsvcCancelBlocked ends a client's waiting for a lock, also if the GRANTED call is on its way: NLM_LCK_GRANTED, also
// if the client did not wait; NLM_LCK_DENIED if it had just got the lock, which it keeps unless the file system answers
// later: that takes it back; NLM_LCK_DENIED_GRACE_PERIOD in grace. May sleep.
//
// C: nlmsvc_cancel_blocked, fs/lockd/svclock.c
func (l *Lockd) NlmsvcCancelBlocked(cur *kernel.Task, net *sock.Net, file *NlmFile, lock *NlmLock) uint32 {
	if l.netInGrace(net) {
		return NLM_LCK_DENIED_GRACE_PERIOD
	}

	file.FMutex.Lock(cur)
	block := l.nlmsvcLookupBlock(file, lock)
	file.FMutex.Unlock(cur)
	if block == nil {
		return NLM_LCK_GRANTED
	}
	l.Fs.VfsCancelLock(cur, block.BFile.FFile, &block.BCall.AArgs.Lock.Fl)
	status := l.nlmsvcUnlinkBlock(cur, block)
	l.nlmsvcReleaseBlock(cur, block)
	if status != 0 {
		return NLM_LCK_DENIED
	}
	return NLM_LCK_GRANTED
}

// nlmsvcUpdateDeferredBlock notes the answer of the file system for a request that was put aside. NlmBlockedLock is
// held.
//
// C: nlmsvc_update_deferred_block, fs/lockd/svclock.c
func nlmsvcUpdateDeferredBlock(block *NlmBlock, result int) {
	block.BFlags |= B_GOT_CALLBACK
	if result == 0 {
		block.BGranted = true
	} else {
		block.BFlags |= B_TIMED_OUT
	}
}

// nlmsvcGrantDeferred is the answer of a file system that had promised one: result 0 or -errno. lockd does the rest
// when it finds the block at the head of the list. 0; -ENOENT if nobody waits for the lock, -ENOLCK if the client has
// been told that it took too long: the file system has to take the lock back then. Takes NlmBlockedLock; does not
// sleep.
//
// C: nlmsvc_grant_deferred, fs/lockd/svclock.c
func (l *Lockd) nlmsvcGrantDeferred(fl *fs.FileLock, result int) int {
	rc := -kernel.ENOENT

	l.NlmBlockedLock.Lock()
	for block := l.NlmBlocked.First(); block != nil; block = l.NlmBlocked.Next(&block.BList) {
		if !nlmCompareLocks(&block.BLock, fl) {
			continue
		}
		if block.BFlags&B_QUEUED != 0 {
			if block.BFlags&B_TIMED_OUT != 0 {
				rc = -kernel.ENOLCK
				break
			}
			nlmsvcUpdateDeferredBlock(block, result)
		} else if result == 0 {
			block.BGranted = true
		}
		l.nlmsvcInsertBlockLocked(block, 0)
		sunrpc.SvcWakeUp(block.BDaemon)
		rc = 0
		break
	}
	l.NlmBlockedLock.Unlock()
	if rc == -kernel.ENOENT {
		l.Machine().Printk("lockd: grant for unknown block")
	}
	return rc
}

// nlmsvcNotifyBlocked hears that the lock in the way of fl is gone. The block becomes due, and lockd tries again.
// Called with BlockedLockLock of the file system held, which also keeps the block: it has to leave the file system
// before it can be freed. Takes NlmBlockedLock; does not sleep.
//
// C: nlmsvc_notify_blocked, fs/lockd/svclock.c
func (l *Lockd) nlmsvcNotifyBlocked(fl *fs.FileLock) {
	l.NlmBlockedLock.Lock()
	for block := l.NlmBlocked.First(); block != nil; block = l.NlmBlocked.Next(&block.BList) {
		if nlmCompareLocks(&block.BLock, fl) {
			l.nlmsvcInsertBlockLocked(block, 0)
			l.NlmBlockedLock.Unlock()
			sunrpc.SvcWakeUp(block.BDaemon)
			return
		}
	}
	l.NlmBlockedLock.Unlock()
	l.Machine().Printk("lockd: notification for unknown block!")
}

// nlmsvcSameOwner tells whether two locks have one owner: a process of a client.
//
// C: nlmsvc_same_owner, fs/lockd/svclock.c
func nlmsvcSameOwner(a, b *fs.FileLock) bool {
	return a.FlOwner == b.FlOwner && a.FlPid == b.FlPid
}

// nlmsvcOwnerKey gives the locks of one owner one key.
//
// Differs: the process alone; C mixes in the address of the host, which would not be the same in every run.
//
// C: nlmsvc_owner_key, fs/lockd/svclock.c
func nlmsvcOwnerKey(fl *fs.FileLock) uint64 {
	return uint64(fl.FlPid)
}

// nlmsvcLockOperations makes what every lock of this lock manager points to.
//
// C: nlmsvc_lock_operations, fs/lockd/svclock.c
func (l *Lockd) nlmsvcLockOperations() *fs.LockManagerOperations {
	return &fs.LockManagerOperations{
		LmCompareOwner: nlmsvcSameOwner,
		LmOwnerKey:     nlmsvcOwnerKey,
		LmNotify:       l.nlmsvcNotifyBlocked,
		LmGrant:        l.nlmsvcGrantDeferred,
	}
}

// nlmsvcGrantBlocked tries again to get the lock of a block and tells the client by a GRANTED_MSG call, which is also
// understood by lock managers that know no GRANTED; or makes the call once more if the lock has been got before. The
// call is asynchronous: lockd must not wait for the client or its portmapper. Called by lockd, which has a reference,
// without locks; may sleep.
//
// Differs: keeps the block on the list meanwhile, at NLM_NEVER, where a notice or an answer of the file system finds
// it. 3.19 takes it off and puts it back behind vfs_lock_file, and what comes in between is lost (ours; upstream
// has done so in nlmsvc_lock only). A block that somebody else has taken off is left alone.
//
// C: nlmsvc_grant_blocked, fs/lockd/svclock.c
func (l *Lockd) nlmsvcGrantBlocked(cur *kernel.Task, block *NlmBlock) {
	l.Fs.PosixUnblockLock(&block.BCall.AArgs.Lock.Fl)

	l.NlmBlockedLock.Lock()
	listed, granted := block.BList.Linked(), block.BGranted
	if listed {
		l.nlmsvcInsertBlockLocked(block, NLM_NEVER)
	}
	l.NlmBlockedLock.Unlock()
	if !listed {
		return
	}

	// Granted before, so the client has not answered: it may have another port by now.
	if granted {
		l.NlmRebindHost(cur, block.BHost)
	} else if !l.nlmsvcLockBlocked(cur, block) {
		return
	}

	// The call has a reference of its own until nlmsvcGrantRelease.
	block.BCount.Get()
	if l.NlmAsyncCall(cur, block.BCall, NLMPROC_GRANTED_MSG, l.nlmsvcGrantOps) < 0 {
		l.nlmsvcInsertBlock(block, 10*kernel.HZ)
	}
}

// nlmsvcLockBlocked asks the file system again for the lock of a block, and tells whether it is granted. If not, the
// block waits on, or is due again in 10 s if the file system fails. May sleep.
//
// Differs: a lock is given back if its block was taken off the list before it was got. Who takes from a client all that
// it has looks for blocks first and then for locks; 3.19 lets the client have a lock that comes in between (ours).
//
// C: nlmsvc_grant_blocked, fs/lockd/svclock.c
func (l *Lockd) nlmsvcLockBlocked(cur *kernel.Task, block *NlmBlock) bool {
	// What is got may be merged with what the client has; the call has to name what it asked for.
	fl := &block.BCall.AArgs.Lock.Fl
	start, end := fl.FlStart, fl.FlEnd
	fl.FlFlags |= fs.FL_SLEEP
	err := l.Fs.VfsLockFile(cur, block.BFile.FFile, fs.F_SETLK, fl, nil)
	fl.FlFlags &^= fs.FL_SLEEP
	if err == fs.FILE_LOCK_DEFERRED { // as it was; and the file system may be giving notice of it already
		return false
	}
	fl.FlStart, fl.FlEnd = start, end

	if err == 0 {
		l.NlmBlockedLock.Lock()
		block.BGranted = block.BList.Linked()
		granted := block.BGranted
		l.NlmBlockedLock.Unlock()
		if !granted {
			l.nlmsvcTakeBack(cur, block)
		}
		return granted
	}
	l.Machine().Printk("lockd: unexpected error %d in nlmsvc_grant_blocked!", -err)
	l.nlmsvcInsertBlock(block, 10*kernel.HZ)
	return false
}

// nlmsvcGrantCallback hears how a GRANTED_MSG call went. It is made again in 10 s if it failed; if it arrived, the
// client has 60 s to answer. A block that is off the list is not wanted any more. Takes NlmBlockedLock.
//
// C: nlmsvc_grant_callback, fs/lockd/svclock.c
func (l *Lockd) nlmsvcGrantCallback(_ *kernel.Task, task *sunrpc.RpcTask, data any) {
	block := data.(*NlmRqst).ABlock

	l.NlmBlockedLock.Lock()
	if block.BList.Linked() {
		timeout := 60 * kernel.HZ
		if task.TkStatus < 0 {
			timeout = 10 * kernel.HZ
		}
		l.nlmsvcInsertBlockLocked(block, timeout)
		sunrpc.SvcWakeUp(block.BDaemon)
	}
	l.NlmBlockedLock.Unlock()
}

// nlmsvcGrantRelease drops the reference of a GRANTED_MSG call. May sleep.
//
// C: nlmsvc_grant_release, fs/lockd/svclock.c
func (l *Lockd) nlmsvcGrantRelease(cur *kernel.Task, data any) {
	l.nlmsvcReleaseBlock(cur, data.(*NlmRqst).ABlock)
}

// nlmsvcGrantCallOps makes what a GRANTED_MSG call tells us.
//
// C: nlmsvc_grant_ops, fs/lockd/svclock.c
func (l *Lockd) nlmsvcGrantCallOps() *sunrpc.RpcCallOps {
	return &sunrpc.RpcCallOps{RpcCallDone: l.nlmsvcGrantCallback, RpcRelease: l.nlmsvcGrantRelease}
}

// NlmsvcGrantReply is the client's answer to a GRANTED call, found by its cookie. A client in grace is asked again in
// 10 s. Otherwise the matter is settled. May sleep.
//
// Differs: a client that rejects the lock does not have it; 3.19 keeps it for good (244cc19196d2).
//
// C: nlmsvc_grant_reply, fs/lockd/svclock.c
func (l *Lockd) NlmsvcGrantReply(cur *kernel.Task, cookie *NlmCookie, status uint32) {
	block := l.nlmsvcFindBlock(cookie)
	if block == nil {
		return
	}
	if status == NLM_LCK_DENIED_GRACE_PERIOD {
		l.nlmsvcInsertBlock(block, 10*kernel.HZ)
	} else {
		l.nlmsvcUnlinkBlock(cur, block)
		if _, granted := l.nlmsvcBlockState(block); granted && status == NLM_LCK_DENIED {
			l.nlmsvcTakeBack(cur, block)
		}
	}
	l.nlmsvcReleaseBlock(cur, block)
}

// nlmsvcTakeBack unlocks what has been granted to a block. May sleep.
//
// C: nlmsvc_grant_reply, fs/lockd/svclock.c
func (l *Lockd) nlmsvcTakeBack(cur *kernel.Task, block *NlmBlock) {
	var fl fs.FileLock
	l.Fs.LocksCopyLock(&fl, &block.BCall.AArgs.Lock.Fl)
	fl.FlType = fs.F_UNLCK
	if l.Fs.VfsLockFile(cur, block.BFile.FFile, fs.F_SETLK, &fl, nil) != 0 {
		l.Machine().Printk("lockd: unable to unlock lock rejected by client!")
	}
	l.Fs.LocksReleasePrivate(&fl)
}

// retryDeferredBlock brings back the request that was put aside for a block, because the file system has answered or
// has taken too long. The block waits for the request. Called by lockd, which has a reference; may sleep.
//
// C: retry_deferred_block, fs/lockd/svclock.c
func (l *Lockd) retryDeferredBlock(cur *kernel.Task, block *NlmBlock) {
	l.NlmBlockedLock.Lock()
	if block.BFlags&B_GOT_CALLBACK == 0 {
		block.BFlags |= B_TIMED_OUT
	}
	if block.BList.Linked() {
		l.nlmsvcInsertBlockLocked(block, NLM_TIMEOUT)
	}
	l.NlmBlockedLock.Unlock()
	if dreq := block.BDeferredReq; dreq != nil {
		block.BDeferredReq = nil
		dreq.Revisit(cur, dreq, false)
	}
}

// NlmsvcRetryBlocked looks after the blocked locks whose time has come and returns how many jiffies lockd may sleep
// until the next one, MaxScheduleTimeout if there is none. Called by the lockd thread; may sleep.
//
// Differs: holds a reference to the block that it works on; in 3.19 whoever takes the block off the list frees it
// (ours).
//
// C: nlmsvc_retry_blocked, fs/lockd/svclock.c
func (l *Lockd) NlmsvcRetryBlocked(cur *kernel.Task) kernel.Jiffies {
	timeout := kernel.MaxScheduleTimeout

	l.NlmBlockedLock.Lock()
	for block := l.NlmBlocked.First(); block != nil && !cur.KthreadShouldStop(); block = l.NlmBlocked.First() {
		if block.BWhen == NLM_NEVER {
			break
		}
		if now := l.Machine().Jiffies(); block.BWhen > now {
			timeout = block.BWhen - now
			break
		}
		queued := block.BFlags&B_QUEUED != 0
		block.BCount.Get()
		l.NlmBlockedLock.Unlock()

		if queued {
			l.retryDeferredBlock(cur, block)
		} else {
			l.nlmsvcGrantBlocked(cur, block)
		}
		l.nlmsvcReleaseBlock(cur, block)
		l.NlmBlockedLock.Lock()
	}
	l.NlmBlockedLock.Unlock()

	return timeout
}
