// SPDX-License-Identifier: GPL-2.0-only

// Package fs is the file system below lockd: a small one in memory, with the POSIX byte-range locks of the kernel.
package fs

import "github.com/seed17199236/svcfuzz/target/kernel"

// FileLock is a byte-range lock, a request for one, or a range to ask about. Ranges are inclusive, in bytes.
//
// The locks of an inode are made by locksAllocLock. Every other FileLock is a value inside something else; who makes
// it wait sets Obj to that something, which must not be freed as long as the lock waits.
//
// C: struct file_lock, include/linux/fs.h
type FileLock struct {
	*kernel.Obj // what the lock is a part of, or nil

	FlOwner any // lock owner: locks of the same owner never conflict, unless FlLmops compares otherwise
	FlFlags uint32
	FlType  uint8
	FlPid   uint32
	// FlNspid is the process that put the lock into the list of its inode, 0 if it is in none; ILock.
	//
	// Differs: a number; C keeps a struct pid, which every namespace numbers by itself.
	FlNspid uint32
	FlFile  *File
	FlStart int64
	FlEnd   int64 // OFFSET_MAX: to the end of the file

	FlOps   *FileLockOperations    // of the file system
	FlLmops *LockManagerOperations // of the lock manager

	FlNext    *FileLock             // granted: the next lock of the inode; ILock
	flBlocker *allocatedLock        // waiting: the lock that is in the way; BlockedLockLock. C has it in fl_next, too
	flBlock   kernel.Node[FileLock] // waiting: in the blocked list of flBlocker; BlockedLockLock
	slab      *allocatedLock        // if it is one of its own
}

// allocatedLock is a FileLock with memory of its own.
type allocatedLock struct {
	kernel.Obj
	fl      FileLock
	blocked kernel.List[FileLock] // who waits for fl, oldest first; BlockedLockLock, ILock too for additions
	waiting kernel.Atomic         // 1 if fl itself waits; written under BlockedLockLock, read by the sleeper without
	flWait  kernel.WaitQueueHead  // the sleeper
}

// Poison drops the pointers of a freed lock.
func (a *allocatedLock) Poison() { a.fl = FileLock{FlType: 0x6b, FlStart: -1, FlEnd: -1} }

// FileLockOperations are what a file system wants to know of its locks.
//
// C: struct file_lock_operations, include/linux/fs.h
type FileLockOperations struct {
	FlCopyLock       func(dst, src *FileLock)
	FlReleasePrivate func(fl *FileLock)
}

// LockManagerOperations are what a lock manager wants to know of its locks. Any of them may be nil.
//
// C: struct lock_manager_operations, include/linux/fs.h
type LockManagerOperations struct {
	// LmCompareOwner tells whether two locks of this manager belong to one owner, LmOwnerKey gives both the same key
	// then. Called with ILock or BlockedLockLock held: no sleeping.
	LmCompareOwner func(a, b *FileLock) bool
	LmOwnerKey     func(fl *FileLock) uint64
	// LmGetOwner takes a reference for dst to the owner of src, LmPutOwner drops that of fl. Called with ILock held.
	LmGetOwner func(dst, src *FileLock)
	LmPutOwner func(fl *FileLock)
	// LmNotify tells that the lock in the way of fl is gone. Called with BlockedLockLock held: no sleeping.
	LmNotify func(fl *FileLock)
	// LmGrant brings the answer of a file system that had said FILE_LOCK_DEFERRED: result 0 or -errno. It returns 0, or
	// -ENOENT if nobody waits for fl any more. Called without locks.
	LmGrant func(fl *FileLock, result int) int
}

// Types, flags and results of locks.
const (
	F_RDLCK = 0
	F_WRLCK = 1
	F_UNLCK = 2

	F_GETLK    = 5
	F_SETLK    = 6
	F_SETLKW   = 7
	F_CANCELLK = 1029

	FL_POSIX  = 1
	FL_ACCESS = 8
	FL_EXISTS = 16
	FL_CLOSE  = 64
	FL_SLEEP  = 128

	OFFSET_MAX = 1<<63 - 1

	// FILE_LOCK_DEFERRED says that the answer comes later, through LmNotify or LmGrant.
	FILE_LOCK_DEFERRED = 1
)

// VFS is the file system: one tree of one level, exported as a whole.
type VFS struct {
	kernel.Obj
	m *kernel.Machine

	Fsid uint32 // number of the export in file handles; set it before the first one is made

	// BlockedLockLock guards who waits for which lock. Taken inside ILock.
	BlockedLockLock kernel.Spinlock
	blockedHash     [1 << BLOCKED_HASH_BITS][]*FileLock // waiting locks by owner, newest first; BlockedLockLock

	inodeLock kernel.Spinlock
	inodes    []*Inode // all that are not removed, the root first; inodeLock
	lastIno   uint64   // inodeLock
}

// New makes an empty file system. May sleep.
func New(cur *kernel.Task, m *kernel.Machine) *VFS {
	v := kernel.StaticObj[VFS](m, "vfs")
	v.m = m
	v.BlockedLockLock.Init(&v.Obj, "blocked_lock_lock")
	v.inodeLock.Init(&v.Obj, "inode_hash_lock")
	v.Create("/", true, 0)
	return v
}
