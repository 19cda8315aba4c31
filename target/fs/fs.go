// SPDX-License-Identifier: GPL-2.0-only

// Package fs is the file system below lockd: a small one in memory, with the POSIX byte-range locks of the kernel.
package fs

import "github.com/seed17199236/svcfuzz/target/kernel"

// FileLock is a byte-range lock, a request for one, or a range to ask about. Ranges are inclusive, in bytes.
//
// C: struct file_lock, include/linux/fs.h
type FileLock struct {
	FlOwner any // lock owner: locks of the same owner and pid never conflict, unless FlLmops compares otherwise
	FlFlags uint32
	FlType  uint8
	FlPid   uint32
	FlFile  *File
	FlStart int64
	FlEnd   int64 // OFFSET_MAX: to the end of the file

	FlOps   *FileLockOperations    // of the file system
	FlLmops *LockManagerOperations // of the lock manager

	flNext    *FileLock   // granted: the next lock of the inode; ILock
	flBlockOn *FileLock   // waiting: the lock that is in the way; BlockedLockLock
	flWaiters []*FileLock // who waits for this one, oldest first; BlockedLockLock
}

// FileLockOperations are what a file system wants to know of its locks.
//
// C: struct file_lock_operations, include/linux/fs.h
type FileLockOperations struct {
	FlCopyLock       func(dst, src *FileLock)
	FlReleasePrivate func(fl *FileLock)
}

// LockManagerOperations are what a lock manager wants to know of its locks.
//
// C: struct lock_manager_operations, include/linux/fs.h
type LockManagerOperations struct {
	LmCompareOwner func(a, b *FileLock) bool
	// LmNotify tells that the lock in the way of fl is gone. Called with BlockedLockLock held: no sleeping.
	LmNotify func(fl *FileLock)
	// LmGrant brings the answer of a file system that had said FILE_LOCK_DEFERRED: result 0 or -errno, conf the lock
	// in the way or nil. It returns 0, or -ENOENT if nobody waits for fl any more. Called without locks.
	LmGrant func(fl, conf *FileLock, result int) int
}

// Types, flags and results of locks.
const (
	F_RDLCK = 0
	F_WRLCK = 1
	F_UNLCK = 2

	F_GETLK    = 5
	F_SETLK    = 6
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

// File is an open file.
type File struct {
	kernel.Obj
	FInode *Inode
	FMode  uint32 // FMODE_READ, FMODE_WRITE
}

// Open modes.
const (
	FMODE_READ  = 1
	FMODE_WRITE = 2
)

// Inode is a file or a directory.
type Inode struct {
	kernel.Obj
	IIno        uint64
	IGeneration uint32
	IDir        bool
}
