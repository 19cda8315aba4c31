// SPDX-License-Identifier: GPL-2.0-only

package fs

import "github.com/seed17199236/svcfuzz/target/kernel"

// ROOT_INO is the number of the root directory's inode; the next ones follow.
const ROOT_INO = 1

// Inode is a file or a directory. It is there as long as the machine is: only its name can go.
//
// C: struct inode, include/linux/fs.h
type Inode struct {
	kernel.Obj
	IName       string
	IIno        uint64
	IGeneration uint32
	IDir        bool

	ILock  kernel.Spinlock
	IFlock *FileLock // through FlNext, by owner and start; ILock

	IFop   FileOperations // nil functions: the local ones
	plocks *plocks        // asynchronous locks, or nil
}

// FileOperations are what a file system does itself about locks.
//
// C: struct file_operations, include/linux/fs.h
type FileOperations struct {
	// Lock obeys F_SETLK, F_GETLK and F_CANCELLK; 0, -errno or FILE_LOCK_DEFERRED. May sleep.
	Lock func(cur *kernel.Task, filp *File, cmd int, fl *FileLock) int
}

// Create makes a file, or a directory, with the next inode number. Nobody looks for the name; it is for traces. No
// visible failure. Any context.
func (v *VFS) Create(name string, dir bool, gen uint32) *Inode {
	inode := kernel.StaticObj[Inode](v.m, "inode")
	inode.IName, inode.IDir, inode.IGeneration = name, dir, gen
	inode.ILock.Init(&inode.Obj, "i_lock")
	v.inodeLock.Lock()
	v.lastIno++
	inode.IIno = v.lastIno
	v.inodes = append(v.inodes, inode)
	v.inodeLock.Unlock()
	return inode
}

// Remove makes the handles of inode stale. Open files of it go on working. Any context.
func (v *VFS) Remove(inode *Inode) {
	v.inodeLock.Lock()
	for i, other := range v.inodes {
		if other == inode {
			v.inodes = append(v.inodes[:i:i], v.inodes[i+1:]...)
			break
		}
	}
	v.inodeLock.Unlock()
}

// Root is the directory that handles of the export's root lead to.
func (v *VFS) Root() *Inode {
	v.inodeLock.Lock()
	root := v.inodes[0]
	v.inodeLock.Unlock()
	return root
}

// ilookup finds the inode of a number and generation, nil if there is none.
//
// C: ilookup5, fs/inode.c
func (v *VFS) ilookup(ino uint64, gen uint32) *Inode {
	var found *Inode
	v.inodeLock.Lock()
	for _, inode := range v.inodes {
		if inode.IIno == ino && inode.IGeneration == gen {
			found = inode
		}
	}
	v.inodeLock.Unlock()
	return found
}

// Locks copies the locks of the inode, by owner and start. Takes ILock.
func (inode *Inode) Locks() []*FileLock {
	inode.ILock.Lock()
	locks := inode.PeekLocks()
	inode.ILock.Unlock()
	return locks
}

// PeekLocks is Locks without the lock and without a visible operation, for oracles.
func (inode *Inode) PeekLocks() []*FileLock {
	var locks []*FileLock
	for fl := inode.IFlock; fl != nil; fl = fl.FlNext {
		locks = append(locks, &FileLock{
			FlOwner: fl.FlOwner, FlFlags: fl.FlFlags, FlType: fl.FlType, FlPid: fl.FlPid, FlNspid: fl.FlNspid,
			FlFile: fl.FlFile, FlStart: fl.FlStart, FlEnd: fl.FlEnd, FlOps: fl.FlOps, FlLmops: fl.FlLmops,
		})
	}
	return locks
}

// PeekInodes lists the inodes without a visible operation, for oracles.
func (v *VFS) PeekInodes() []*Inode { return v.inodes }
