// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NfsdLockdInit is nfsd coming: lockd may lock the files of v from now on. Nobody else is nfsd at the moment.
//
// C: nfsd_lockd_init, fs/nfsd/lockd.c
func (l *Lockd) NfsdLockdInit(v *fs.VFS) {
	if l.Fs != v { // nfsd comes back to the same files while lockd looks at them
		l.Fs = v
	}
	l.NlmsvcOps.Assign(NewBinding(v))
}

// NfsdLockdShutdown is nfsd going, which waits until nobody runs in it any more. What clients have locked stays. May
// sleep.
//
// Differs: 3.19 stores NULL and goes ("lockd, nfsd: RCU-protect nlmsvc_ops dispatch", 7.3).
//
// C: nfsd_lockd_shutdown, fs/nfsd/lockd.c; free_module, kernel/module.c
func (l *Lockd) NfsdLockdShutdown(cur *kernel.Task) {
	b := l.NlmsvcOps.Dereference()
	l.NlmsvcOps.Assign(nil)
	l.Machine().SynchronizeRcu(cur)
	b.put()
	b.gone.Wait(cur)
	b.Poison()
}

// NewBinding is what nfsd stores in NlmsvcOps while it exports v. Store v in Fs before it.
//
// C: nfsd_nlm_ops, fs/nfsd/lockd.c
func NewBinding(v *fs.VFS) *NlmsvcBinding {
	b := kernel.StaticObj[NlmsvcBinding](v.Machine(), "nlmsvc_binding")
	b.Owner.Init(&b.Obj, "owner")
	b.gone.Init(&b.Obj, "gone")
	b.Fopen = func(cur *kernel.Task, _ *sunrpc.SvcRqst, fh *NfsFh) (*fs.File, uint32) { return nlmFopen(cur, v, fh) }
	b.Fclose = func(cur *kernel.Task, filp *fs.File) { nlmFclose(v, filp) }
	return b
}

// nlmFopen opens a regular file for locking. 0, NLM_STALE_FH for a handle whose file is gone, NLM_FAILED for all else:
// a handle that never was one, or that of a directory. May sleep.
//
// C: nlm_fopen, fs/nfsd/lockd.c
func nlmFopen(cur *kernel.Task, v *fs.VFS, fh *NfsFh) (*fs.File, uint32) {
	inode, err := v.FhToInode(fh.Data[:fh.Size])
	if err == 0 && inode.IDir {
		err = -kernel.EISDIR
	}
	var filp *fs.File
	if err == 0 {
		filp, err = v.Open(cur, inode, fs.FMODE_READ)
	}
	switch err {
	case 0:
		return filp, 0
	case -kernel.ESTALE:
		return nil, NLM_STALE_FH
	}
	return nil, NLM_FAILED
}

// nlmFclose gives back what nlmFopen opened. Its locks on the file are gone then.
//
// C: nlm_fclose, fs/nfsd/lockd.c
func nlmFclose(v *fs.VFS, filp *fs.File) {
	v.Fput(filp)
}
