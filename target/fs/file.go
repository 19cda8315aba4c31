// SPDX-License-Identifier: GPL-2.0-only

package fs

import "github.com/seed17199236/svcfuzz/target/kernel"

// Open modes.
const (
	FMODE_READ  = 1
	FMODE_WRITE = 2
)

// File is an open file.
//
// C: struct file, include/linux/fs.h
type File struct {
	kernel.Obj
	FCount kernel.Kref
	FInode *Inode
	FMode  uint32 // FMODE_*
	vfs    *VFS
}

// Poison drops the pointers of a freed file.
func (filp *File) Poison() { filp.FInode, filp.vfs = nil, nil }

// Open opens inode with one reference; -ENOMEM, or -EISDIR for a directory that is to be written. May sleep.
//
// C: dentry_open, fs/open.c
func (v *VFS) Open(cur *kernel.Task, inode *Inode, mode uint32) (*File, int) {
	if inode.IDir && mode&FMODE_WRITE != 0 {
		return nil, -kernel.EISDIR
	}
	filp := kernel.Kzalloc[File](cur.Machine(), "file", kernel.GFP_KERNEL)
	if filp == nil {
		return nil, -kernel.ENOMEM
	}
	filp.FCount.Init(&filp.Obj, "f_count")
	filp.FInode, filp.FMode, filp.vfs = inode, mode, v
	return filp, 0
}

// GetFile takes a reference; the caller holds one.
//
// C: get_file, include/linux/fs.h
func GetFile(filp *File) *File {
	filp.FCount.Get()
	return filp
}

// Fput drops a reference and closes the file with the last one; locks of it that are still there are a warning. Any
// context that may take ILock.
//
// Differs: closes at once; the kernel leaves it to the end of the system call, or to a worker for its own threads.
//
// C: fput, fs/file_table.c
func (v *VFS) Fput(filp *File) {
	filp.FCount.Put(func() {
		v.locksRemoveFile(filp)
		kernel.Kfree(filp)
	})
}

// FilpClose is a process closing its descriptor of filp: all its POSIX locks of the inode go. May sleep.
//
// C: filp_close, fs/open.c
func (v *VFS) FilpClose(cur *kernel.Task, filp *File, owner any) {
	v.LocksRemovePosix(cur, filp, owner)
	v.Fput(filp)
}
