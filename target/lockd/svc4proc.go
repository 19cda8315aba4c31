// SPDX-License-Identifier: GPL-2.0-only

package lockd

// nlmsvcProcedures4 makes the procedures of version 4, one table a service. C has a second set of functions for them
// that differ from those of versions 1 and 3 in what they do to a status alone, and castToNlm knows the version.
//
// C: nlmsvc_procedures4, fs/lockd/svc4proc.c
func nlmsvcProcedures4() []nlmProcedure {
	lock, fh := nlmLockXdr(nlm4DecodeLock), nlmFhXdr(nlm4DecodeFh)
	args, void := nlmProc[NlmArgs, NlmRes], nlmProc[NlmArgs, nlmVoid]
	return []nlmProcedure{
		NLMPROC_NULL: nlmNullProc("NULL", 1),
		NLMPROC_TEST: args("TEST", (*Lockd).nlmsvcProcTest, lock.decodeTestargs, nlm4svcEncodeTestres,
			nlmCk+nlmSt+2+nlmNo+nlm4Rg),
		NLMPROC_LOCK:        args("LOCK", (*Lockd).nlmsvcProcLock, lock.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_CANCEL:      args("CANCEL", (*Lockd).nlmsvcProcCancel, lock.decodeCancargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_UNLOCK:      args("UNLOCK", (*Lockd).nlmsvcProcUnlock, lock.decodeUnlockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_GRANTED:     args("GRANTED", (*Lockd).nlmsvcProcGranted, lock.decodeTestargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_TEST_MSG:    void("TEST_MSG", (*Lockd).nlmsvcProcTestMsg, lock.decodeTestargs, nlmsvcEncodeVoid, 1),
		NLMPROC_LOCK_MSG:    void("LOCK_MSG", (*Lockd).nlmsvcProcLockMsg, lock.decodeLockargs, nlmsvcEncodeVoid, 1),
		NLMPROC_CANCEL_MSG:  void("CANCEL_MSG", (*Lockd).nlmsvcProcCancelMsg, lock.decodeCancargs, nlmsvcEncodeVoid, 1),
		NLMPROC_UNLOCK_MSG:  void("UNLOCK_MSG", (*Lockd).nlmsvcProcUnlockMsg, lock.decodeUnlockargs, nlmsvcEncodeVoid, 1),
		NLMPROC_GRANTED_MSG: void("GRANTED_MSG", (*Lockd).nlmsvcProcGrantedMsg, lock.decodeTestargs, nlmsvcEncodeVoid, 1),
		NLMPROC_TEST_RES:    nlmNullProc("TEST_RES", 1),
		NLMPROC_LOCK_RES:    nlmNullProc("LOCK_RES", 1),
		NLMPROC_CANCEL_RES:  nlmNullProc("CANCEL_RES", 1),
		NLMPROC_UNLOCK_RES:  nlmNullProc("UNLOCK_RES", 1),
		NLMPROC_GRANTED_RES: nlmProc("GRANTED_RES", (*Lockd).nlmsvcProcGrantedRes, nlmsvcDecodeRes, nlmsvcEncodeVoid, 1),
		NLMPROC_NSM_NOTIFY:  nlmProc("NSM_NOTIFY", (*Lockd).nlmsvcProcSmNotify, nlmsvcDecodeReboot, nlmsvcEncodeVoid, 1),
		17:                  nlmNullProc("none", 0),
		18:                  nlmNullProc("none", 0),
		19:                  nlmNullProc("none", 0),
		NLMPROC_SHARE:       args("SHARE", (*Lockd).nlmsvcProcShare, fh.decodeShareargs, nlmsvcEncodeShareres, nlmCk+nlmSt+1),
		NLMPROC_UNSHARE: args("UNSHARE", (*Lockd).nlmsvcProcUnshare, fh.decodeShareargs, nlmsvcEncodeShareres,
			nlmCk+nlmSt+1),
		NLMPROC_NM_LOCK:  args("NM_LOCK", (*Lockd).nlmsvcProcNmLock, lock.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_FREE_ALL: void("FREE_ALL", (*Lockd).nlmsvcProcFreeAll, nlmsvcDecodeNotify, nlmsvcEncodeVoid, 1),
	}
}
