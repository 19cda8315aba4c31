// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/kernel"

// NlmsvcBinding is what nfsd hands to lockd so that lockd can open files. That one is set is all that matters as
// long as no procedure opens a file.
//
// C: struct nlmsvc_binding, include/linux/lockd/bind.h
type NlmsvcBinding struct {
	kernel.Obj
}

// NlmsvcInvalidateAll drops the locks that clients hold. May sleep on NlmFileMutex.
//
// Differs: no procedure of this cut opens a file, so the file table is always empty and the walk over it is the
// taking of its mutex; the walk comes with the lock procedures (see Unported).
//
// C: nlmsvc_invalidate_all, fs/lockd/svcsubs.c
func (l *Lockd) NlmsvcInvalidateAll(cur *kernel.Task) {
	l.NlmFileMutex.Lock(cur)
	l.NlmFileMutex.Unlock(cur)
}
