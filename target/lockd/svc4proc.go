// SPDX-License-Identifier: GPL-2.0-only

package lockd

import "github.com/seed17199236/svcfuzz/target/sunrpc"

// nlmsvcProcedures4 makes the procedures of version 4, one table a service. C has a second set of functions for them
// that differ from those of versions 1 and 3 in what they do to a status alone, and castToNlm knows the version.
//
// C: nlmsvc_procedures4, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcedures4() []sunrpc.SvcProcedure {
	lock, fh := nlmLockXdr(nlm4DecodeLock), nlmFhXdr(nlm4DecodeFh)
	args, void := nlmProc[NlmArgs, NlmRes], nlmProc[NlmArgs, nlmVoid]
	return []sunrpc.SvcProcedure{
		NLMPROC_NULL: nlmNullProc("NULL", 1),
		NLMPROC_TEST: args("TEST", l.nlmsvcProcTest, lock.decodeTestargs, nlm4svcEncodeTestres,
			nlmCk+nlmSt+2+nlmNo+nlm4Rg),
		NLMPROC_LOCK:        args("LOCK", l.nlmsvcProcLock, lock.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_CANCEL:      args("CANCEL", l.nlmsvcProcCancel, lock.decodeCancargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_UNLOCK:      args("UNLOCK", l.nlmsvcProcUnlock, lock.decodeUnlockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_GRANTED:     args("GRANTED", l.nlmsvcProcGranted, lock.decodeTestargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_TEST_MSG:    void("TEST_MSG", l.nlmsvcProcTestMsg, lock.decodeTestargs, nlmsvcEncodeVoid, 1),
		NLMPROC_LOCK_MSG:    void("LOCK_MSG", l.nlmsvcProcLockMsg, lock.decodeLockargs, nlmsvcEncodeVoid, 1),
		NLMPROC_CANCEL_MSG:  void("CANCEL_MSG", l.nlmsvcProcCancelMsg, lock.decodeCancargs, nlmsvcEncodeVoid, 1),
		NLMPROC_UNLOCK_MSG:  void("UNLOCK_MSG", l.nlmsvcProcUnlockMsg, lock.decodeUnlockargs, nlmsvcEncodeVoid, 1),
		NLMPROC_GRANTED_MSG: void("GRANTED_MSG", l.nlmsvcProcGrantedMsg, lock.decodeTestargs, nlmsvcEncodeVoid, 1),
		NLMPROC_TEST_RES:    nlmNullProc("TEST_RES", 1),
		NLMPROC_LOCK_RES:    nlmNullProc("LOCK_RES", 1),
		NLMPROC_CANCEL_RES:  nlmNullProc("CANCEL_RES", 1),
		NLMPROC_UNLOCK_RES:  nlmNullProc("UNLOCK_RES", 1),
		NLMPROC_GRANTED_RES: nlmProc("GRANTED_RES", l.nlmsvcProcGrantedRes, nlmsvcDecodeRes, nlmsvcEncodeVoid, 1),
		NLMPROC_NSM_NOTIFY:  nlmProc("NSM_NOTIFY", l.nlmsvcProcSmNotify, nlmsvcDecodeReboot, nlmsvcEncodeVoid, 1),
		17:                  nlmNullProc("none", 0),
		18:                  nlmNullProc("none", 0),
		19:                  nlmNullProc("none", 0),
		NLMPROC_SHARE:       args("SHARE", l.nlmsvcProcShare, fh.decodeShareargs, nlmsvcEncodeShareres, nlmCk+nlmSt+1),
		NLMPROC_UNSHARE: args("UNSHARE", l.nlmsvcProcUnshare, fh.decodeShareargs, nlmsvcEncodeShareres,
			nlmCk+nlmSt+1),
		NLMPROC_NM_LOCK:  args("NM_LOCK", l.nlmsvcProcNmLock, lock.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_FREE_ALL: void("FREE_ALL", l.nlmsvcProcFreeAll, nlmsvcDecodeNotify, nlmsvcEncodeVoid, 1),
	}
}
