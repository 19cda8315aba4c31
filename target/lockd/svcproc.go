// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"github.com/seed17199236/svcfuzz/target/fs"
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NLM_PROGRAM is the program number of the network lock manager.
const NLM_PROGRAM = 100021

// Procedures of the network lock manager.
const (
	NLMPROC_NULL        = 0
	NLMPROC_TEST        = 1
	NLMPROC_LOCK        = 2
	NLMPROC_CANCEL      = 3
	NLMPROC_UNLOCK      = 4
	NLMPROC_GRANTED     = 5
	NLMPROC_TEST_MSG    = 6
	NLMPROC_LOCK_MSG    = 7
	NLMPROC_CANCEL_MSG  = 8
	NLMPROC_UNLOCK_MSG  = 9
	NLMPROC_GRANTED_MSG = 10
	NLMPROC_TEST_RES    = 11
	NLMPROC_LOCK_RES    = 12
	NLMPROC_CANCEL_RES  = 13
	NLMPROC_UNLOCK_RES  = 14
	NLMPROC_GRANTED_RES = 15
	NLMPROC_NSM_NOTIFY  = 16
	NLMPROC_SHARE       = 20
	NLMPROC_UNSHARE     = 21
	NLMPROC_NM_LOCK     = 22
	NLMPROC_FREE_ALL    = 23
)

// castToNlm is a status as a version can say it: all that version 4 added is NLM_LCK_DENIED_NOLOCKS to the others, but
// for a deadlock, which is NLM_LCK_DENIED.
//
// C: cast_to_nlm, fs/lockd/svcproc.c
func castToNlm(status, vers uint32) uint32 {
	if vers == 4 {
		return status
	}
	switch status {
	case NLM_LCK_GRANTED, NLM_LCK_DENIED, NLM_LCK_DENIED_NOLOCKS, NLM_LCK_BLOCKED, NLM_LCK_DENIED_GRACE_PERIOD,
		NLM_DROP_REPLY:
		return status
	case NLM_DEADLCK:
		return NLM_LCK_DENIED
	}
	return NLM_LCK_DENIED_NOLOCKS
}

// nlmsvcRetrieveArgs finds the client and, if the procedure works on one, the file that the arguments name, and
// completes the file lock. Called by the lockd thread; may sleep. A status other than 0 is the answer, and then there
// is nothing to give back; otherwise the caller ends with nlmsvcReleaseArgs.
//
// Differs: refuses a range that leaves the offsets of a file, which 3.19 wraps to one that ends before it begins or
// lies in front of the file (6930bcbfb6ce). Only version 4 stores LockStart and LockLen.
//
// C: nlmsvc_retrieve_args, fs/lockd/svcproc.c; nlm4svc_retrieve_args, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcRetrieveArgs(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, wantFile bool) (*NlmHost,
	*NlmFile, uint32) {
	lock := &argp.Lock
	if l.NlmsvcOps.Dereference() == nil {
		return nil, nil, NLM_LCK_DENIED_NOLOCKS
	}
	if lock.LockStart > fs.OFFSET_MAX || lock.LockLen != 0 && lock.LockLen-1 > fs.OFFSET_MAX-lock.LockStart {
		return nil, nil, NLM_FBIG
	}

	host := l.NlmsvcLookupHost(cur, rqstp, lock.Caller)
	if host == nil || argp.Monitor && l.NsmMonitor(cur, host) < 0 {
		l.NlmsvcReleaseHost(cur, host)
		return nil, nil, NLM_LCK_DENIED_NOLOCKS
	}
	if !wantFile {
		return host, nil, 0
	}

	file, status := l.NlmLookupFile(cur, rqstp, &lock.Fh)
	if status = castToNlm(status, rqstp.RqVers); status != 0 {
		l.NlmsvcReleaseHost(cur, host)
		return nil, nil, status
	}
	lock.Fl.FlFile = file.FFile
	lock.Fl.FlOwner = host
	lock.Fl.FlLmops = l.NlmsvcLockOperations
	return host, file, 0
}

// nlmsvcReleaseArgs gives back what nlmsvcRetrieveArgs found. May sleep.
//
// C: nlmsvc_release_host and nlm_release_file at the end of each procedure, fs/lockd/svcproc.c
func (l *Lockd) nlmsvcReleaseArgs(cur *kernel.Task, host *NlmHost, file *NlmFile) {
	l.NlmsvcReleaseHost(cur, host)
	l.NlmReleaseFile(cur, file)
}

// nlmsvcOnFile is what all procedures do that work on a file: it finds what the arguments name, and stores what do says
// to it as the version can say it. The result is the accept status. May sleep.
//
// C: the frame of nlmsvc_proc_test and the like, fs/lockd/svcproc.c; of nlm4svc_proc_test and the like,
// fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcOnFile(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes,
	do func(host *NlmHost, file *NlmFile) uint32) uint32 {
	resp.Cookie = argp.Cookie

	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if status == 0 {
		status = castToNlm(do(host, file), rqstp.RqVers)
		l.nlmsvcReleaseArgs(cur, host, file)
	}
	resp.Status = status
	if status == NLM_DROP_REPLY {
		return sunrpc.RPC_DROP_REPLY
	}
	return sunrpc.RPC_SUCCESS
}

// nlmsvcOutOfGrace is nlmsvcOnFile for what a grace period refuses, unless it is a reclaim. May sleep.
//
// C: the frame of nlmsvc_proc_cancel and the like, fs/lockd/svcproc.c; of nlm4svc_proc_cancel and the like,
// fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcOutOfGrace(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes, reclaim bool,
	do func(host *NlmHost, file *NlmFile) uint32) uint32 {
	if l.locksInGrace(rqstp) && !reclaim {
		resp.Cookie, resp.Status = argp.Cookie, NLM_LCK_DENIED_GRACE_PERIOD
		return sunrpc.RPC_SUCCESS
	}
	return l.nlmsvcOnFile(cur, rqstp, argp, resp, do)
}

// nlmsvcProcNull is the NULL procedure, and every procedure that only has to be answered: the results of calls that
// this host never makes, and the numbers that the protocol leaves out.
//
// C: nlmsvc_proc_null, fs/lockd/svcproc.c; nlm4svc_proc_null, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcNull(_ *kernel.Task, _ *sunrpc.SvcRqst, _, _ *nlmVoid) uint32 {
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcTest looks for a lock that is in the way of another. Like all procedures that follow it is called by the
// lockd thread, may sleep, and returns an accept status; what it has to say about the lock is in resp.
//
// C: nlmsvc_proc_test, fs/lockd/svcproc.c; nlm4svc_proc_test, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcTest(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOnFile(cur, rqstp, argp, resp, func(host *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcTestlock(cur, rqstp, file, host, &argp.Lock, &resp.Lock, &resp.Cookie)
	})
}

// nlmsvcProcLock locks a range, now or, if the client will wait, later.
//
// C: nlmsvc_proc_lock, fs/lockd/svcproc.c; nlm4svc_proc_lock, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcLock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOnFile(cur, rqstp, argp, resp, func(host *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcLock(cur, rqstp, file, host, &argp.Lock, argp.Block, &argp.Cookie, argp.Reclaim)
	})
}

// nlmsvcProcCancel gives up a lock that the client waits for. Not during a grace period.
//
// C: nlmsvc_proc_cancel, fs/lockd/svcproc.c; nlm4svc_proc_cancel, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcCancel(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOutOfGrace(cur, rqstp, argp, resp, false, func(_ *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcCancelBlocked(cur, sunrpc.SvcNet(rqstp), file, &argp.Lock)
	})
}

// nlmsvcProcUnlock releases a range. Not during a grace period.
//
// C: nlmsvc_proc_unlock, fs/lockd/svcproc.c; nlm4svc_proc_unlock, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcUnlock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOutOfGrace(cur, rqstp, argp, resp, false, func(_ *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcUnlock(cur, sunrpc.SvcNet(rqstp), file, &argp.Lock)
	})
}

// nlmsvcProcGranted is a server telling this host that it has got the lock it waits for.
//
// C: nlmsvc_proc_granted, fs/lockd/svcproc.c; nlm4svc_proc_granted, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcGranted(_ *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	resp.Cookie = argp.Cookie
	resp.Status = l.NlmclntGrant(&rqstp.RqAddr, &argp.Lock)
	return sunrpc.RPC_SUCCESS
}

// nlmsvcCallbackOps ends the calls that carry a result to a client: whether they arrived does not matter.
//
// C: nlmsvc_callback_ops, fs/lockd/svcproc.c; nlm4svc_callback_ops, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcCallbackOps() *sunrpc.RpcCallOps {
	return &sunrpc.RpcCallOps{
		RpcRelease: func(cur *kernel.Task, data any) { l.NlmsvcReleaseCall(cur, data.(*NlmRqst)) },
	}
}

// NlmsvcReleaseCall drops a reference to a call on behalf of a client of ours; the last one releases the host too. May
// sleep.
//
// C: nlmsvc_release_call, fs/lockd/svcproc.c
func (l *Lockd) NlmsvcReleaseCall(cur *kernel.Task, call *NlmRqst) {
	if !call.ACount.DecAndTest() {
		return
	}
	l.NlmsvcReleaseHost(cur, call.AHost)
	kernel.Kfree(call)
}

// nlmsvcCallback does a procedure whose result goes to the client in a call of ours, to procedure proc, which is sent
// before the reply: that one is empty.
//
// C: nlmsvc_callback, fs/lockd/svcproc.c; nlm4svc_callback, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcCallback(cur *kernel.Task, rqstp *sunrpc.SvcRqst, proc uint32, argp *NlmArgs,
	fn nlmFunc) uint32 {
	host := l.NlmsvcLookupHost(cur, rqstp, argp.Lock.Caller)
	if host == nil {
		return sunrpc.RPC_SYSTEM_ERR
	}
	call := l.NlmAllocCall(cur, host)
	l.NlmsvcReleaseHost(cur, host)
	if call == nil {
		return sunrpc.RPC_SYSTEM_ERR
	}

	if stat := fn(l, cur, rqstp, argp, &call.ARes); stat != sunrpc.RPC_SUCCESS {
		l.NlmsvcReleaseCall(cur, call)
		return stat
	}

	if l.NlmAsyncReply(cur, call, proc, l.nlmsvcCallbackOps()) < 0 {
		return sunrpc.RPC_SYSTEM_ERR
	}
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcShare makes a share reservation or changes the one the owner has. Not during a grace period unless it is
// a reclaim, which the decoder never says.
//
// C: nlmsvc_proc_share, fs/lockd/svcproc.c; nlm4svc_proc_share, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcShare(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOutOfGrace(cur, rqstp, argp, resp, argp.Reclaim, func(host *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcShareFile(cur, host, file, argp)
	})
}

// nlmsvcProcUnshare ends a share reservation. Not during a grace period.
//
// C: nlmsvc_proc_unshare, fs/lockd/svcproc.c; nlm4svc_proc_unshare, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcUnshare(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	return l.nlmsvcOutOfGrace(cur, rqstp, argp, resp, false, func(host *NlmHost, file *NlmFile) uint32 {
		return l.NlmsvcUnshareFile(cur, host, file, argp)
	})
}

// nlmsvcProcNmLock is LOCK for a client that nobody watches: its locks stay when it dies.
//
// C: nlmsvc_proc_nm_lock, fs/lockd/svcproc.c; nlm4svc_proc_nm_lock, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcNmLock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	argp.Monitor = false
	return l.nlmsvcProcLock(cur, rqstp, argp, resp)
}

// nlmsvcProcFreeAll drops all locks and shares of a client. It has nothing to say, not even that it failed.
//
// C: nlmsvc_proc_free_all, fs/lockd/svcproc.c; nlm4svc_proc_free_all, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcFreeAll(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	host, _, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, false)
	if status != 0 {
		return sunrpc.RPC_SUCCESS
	}
	l.NlmsvcFreeHostResources(cur, host)
	l.NlmsvcReleaseHost(cur, host)
	return sunrpc.RPC_SUCCESS
}

// nlmPrivilegedRequester tells whether a request comes from this host's own status monitor, as far as its address can
// tell: the loopback interface and a privileged port.
//
// C: nlm_privileged_requester, include/linux/lockd/lockd.h
func nlmPrivilegedRequester(rqstp *sunrpc.SvcRqst) bool {
	sap := &rqstp.RqAddr
	mapped := sap.Family == sock.AF_INET6 && [12]byte(sap.IP[:12]) == [12]byte{10: 0xff, 11: 0xff}
	return sunrpc.SvcPortIsPrivileged(sap) && (sap.IsLoopback() || mapped && sap.IP[12] == 127)
}

// nlmsvcProcSmNotify is the status monitor's news that a host rebooted. Anybody else gets SYSTEM_ERR.
//
// C: nlmsvc_proc_sm_notify, fs/lockd/svcproc.c; nlm4svc_proc_sm_notify, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcSmNotify(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmReboot, _ *nlmVoid) uint32 {
	if !nlmPrivilegedRequester(rqstp) {
		l.Machine().Printk("lockd: rejected NSM callback from %s", rqstp.RqAddr)
		return sunrpc.RPC_SYSTEM_ERR
	}
	l.NlmHostRebooted(cur, sunrpc.SvcNet(rqstp), argp)
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcGrantedRes is a client's answer to GRANTED_MSG.
//
// C: nlmsvc_proc_granted_res, fs/lockd/svcproc.c; nlm4svc_proc_granted_res, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcGrantedRes(cur *kernel.Task, _ *sunrpc.SvcRqst, argp *NlmRes, _ *nlmVoid) uint32 {
	if l.NlmsvcOps.Dereference() == nil {
		return sunrpc.RPC_SUCCESS
	}
	l.NlmsvcGrantReply(cur, &argp.Cookie, argp.Status)
	return sunrpc.RPC_SUCCESS
}

// nlmFunc is a procedure that asks something of a lock or a share and tells a status.
type nlmFunc = func(l *Lockd, cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32

// nlmProc makes an entry of a procedure table from functions of definite types; words is the size of the reply.
//
// C: PROC, fs/lockd/svcproc.c
func nlmProc[A, R any](name string, fn func(*Lockd, *kernel.Task, *sunrpc.SvcRqst, *A, *R) uint32,
	decode func(*sunrpc.SvcRqst, sunrpc.XdrPtr, *A) bool, encode func(*sunrpc.SvcRqst, sunrpc.XdrPtr, *R) bool,
	words uint32) nlmProcedure {
	return nlmProcedure{
		fn: func(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp, resp any) uint32 {
			return fn(rqstp.RqServer.SvProgram.PgData.(*Lockd), cur, rqstp, argp.(*A), resp.(*R))
		},
		decode: func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp any) bool {
			return decode(rqstp, p, argp.(*A))
		},
		encode: func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp any) bool {
			return encode(rqstp, p, resp.(*R))
		},
		newArgs: func() any { return new(A) },
		newRes:  func() any { return new(R) },
		words:   words,
		name:    name,
	}
}

// nlmProcedure is what is constant of an entry of a procedure table.
type nlmProcedure struct {
	fn              func(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp, resp any) uint32
	decode          func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, argp any) bool
	encode          func(rqstp *sunrpc.SvcRqst, p sunrpc.XdrPtr, resp any) bool
	newArgs, newRes func() any
	words           uint32
	name            string
}

// nlmProcedures makes the table of a service: the core counts calls in it.
func nlmProcedures(table []nlmProcedure) []sunrpc.SvcProcedure {
	procs := make([]sunrpc.SvcProcedure, len(table))
	for i := range table {
		pc, entry := &procs[i], &table[i]
		pc.PcFunc, pc.PcDecode, pc.PcEncode = entry.fn, entry.decode, entry.encode
		pc.PcNewArgs, pc.PcNewRes = entry.newArgs, entry.newRes
		pc.PcXdrressize, pc.PcName = entry.words, entry.name
	}
	return procs
}

// nlmNullProc is an entry for a procedure that only has to be answered.
func nlmNullProc(name string, words uint32) nlmProcedure {
	return nlmProc(name, (*Lockd).nlmsvcProcNull, nlmsvcDecodeVoid, nlmsvcEncodeVoid, words)
}

// nlmMsgProc is an entry for a procedure that does what fn does, and whose result goes to the client in a call of
// ours, to procedure proc.
//
// C: nlmsvc_proc_test_msg, nlmsvc_proc_lock_msg, nlmsvc_proc_cancel_msg, nlmsvc_proc_unlock_msg,
// nlmsvc_proc_granted_msg, fs/lockd/svcproc.c; nlm4svc_proc_test_msg, nlm4svc_proc_lock_msg, nlm4svc_proc_cancel_msg,
// nlm4svc_proc_unlock_msg, nlm4svc_proc_granted_msg, fs/lockd/svc4proc.c
func nlmMsgProc(name string, fn nlmFunc, decode func(*sunrpc.SvcRqst, sunrpc.XdrPtr, *NlmArgs) bool, proc uint32,
) nlmProcedure {
	msg := func(l *Lockd, cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
		return l.nlmsvcCallback(cur, rqstp, proc, argp, fn)
	}
	return nlmProc(name, msg, decode, nlmsvcEncodeVoid, 1)
}

// Words of a reply, for the space that is reserved before a procedure runs.
const (
	nlmCk = 1 + (NLM_MAXCOOKIELEN+3)/4 // cookie
	nlmSt = 1                          // status
	nlmNo = 1 + 1024/4                 // netobj
)

// nlmsvcTable and nlm4svcTable are made once: a machine needs them for every run.
var nlmsvcTable, nlm4svcTable = nlmsvcProcedures(), nlmsvcProcedures4()

// nlmsvcProcedures makes the procedures of versions 1 and 3, which share them: version 1 ends behind NSM_NOTIFY.
//
// C: nlmsvc_procedures, fs/lockd/svcproc.c
func nlmsvcProcedures() []nlmProcedure {
	return nlm1Xdr.procedures(1, 0)
}

// procedures makes the procedures of a version that writes as x does. The words of the replies to the numbers that the
// protocol leaves out and to FREE_ALL, none and freeAll, are another matter.
//
// C: nlmsvc_procedures, fs/lockd/svcproc.c; nlmsvc_procedures4, fs/lockd/svc4proc.c
func (x *nlmXdr) procedures(none, freeAll uint32) []nlmProcedure {
	args := nlmProc[NlmArgs, NlmRes]
	return []nlmProcedure{
		NLMPROC_NULL: nlmNullProc("NULL", 1),
		NLMPROC_TEST: args("TEST", (*Lockd).nlmsvcProcTest, x.decodeTestargs, x.encodeTestres,
			nlmCk+nlmSt+2+nlmNo+x.rangeWords),
		NLMPROC_LOCK:        args("LOCK", (*Lockd).nlmsvcProcLock, x.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_CANCEL:      args("CANCEL", (*Lockd).nlmsvcProcCancel, x.decodeCancargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_UNLOCK:      args("UNLOCK", (*Lockd).nlmsvcProcUnlock, x.decodeUnlockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_GRANTED:     args("GRANTED", (*Lockd).nlmsvcProcGranted, x.decodeTestargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_TEST_MSG:    nlmMsgProc("TEST_MSG", (*Lockd).nlmsvcProcTest, x.decodeTestargs, NLMPROC_TEST_RES),
		NLMPROC_LOCK_MSG:    nlmMsgProc("LOCK_MSG", (*Lockd).nlmsvcProcLock, x.decodeLockargs, NLMPROC_LOCK_RES),
		NLMPROC_CANCEL_MSG:  nlmMsgProc("CANCEL_MSG", (*Lockd).nlmsvcProcCancel, x.decodeCancargs, NLMPROC_CANCEL_RES),
		NLMPROC_UNLOCK_MSG:  nlmMsgProc("UNLOCK_MSG", (*Lockd).nlmsvcProcUnlock, x.decodeUnlockargs, NLMPROC_UNLOCK_RES),
		NLMPROC_GRANTED_MSG: nlmMsgProc("GRANTED_MSG", (*Lockd).nlmsvcProcGranted, x.decodeTestargs, NLMPROC_GRANTED_RES),
		NLMPROC_TEST_RES:    nlmNullProc("TEST_RES", 1),
		NLMPROC_LOCK_RES:    nlmNullProc("LOCK_RES", 1),
		NLMPROC_CANCEL_RES:  nlmNullProc("CANCEL_RES", 1),
		NLMPROC_UNLOCK_RES:  nlmNullProc("UNLOCK_RES", 1),
		NLMPROC_GRANTED_RES: nlmProc("GRANTED_RES", (*Lockd).nlmsvcProcGrantedRes, nlmsvcDecodeRes, nlmsvcEncodeVoid, 1),
		NLMPROC_NSM_NOTIFY:  nlmProc("NSM_NOTIFY", (*Lockd).nlmsvcProcSmNotify, nlmsvcDecodeReboot, nlmsvcEncodeVoid, 1),
		17:                  nlmNullProc("none", none),
		18:                  nlmNullProc("none", none),
		19:                  nlmNullProc("none", none),
		NLMPROC_SHARE:       args("SHARE", (*Lockd).nlmsvcProcShare, x.decodeShareargs, nlmsvcEncodeShareres, nlmCk+nlmSt+1),
		NLMPROC_UNSHARE: args("UNSHARE", (*Lockd).nlmsvcProcUnshare, x.decodeShareargs, nlmsvcEncodeShareres,
			nlmCk+nlmSt+1),
		NLMPROC_NM_LOCK:  args("NM_LOCK", (*Lockd).nlmsvcProcNmLock, x.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_FREE_ALL: nlmProc("FREE_ALL", (*Lockd).nlmsvcProcFreeAll, nlmsvcDecodeNotify, nlmsvcEncodeVoid, freeAll),
	}
}

// NlmDecodeArgs decodes octets as the arguments of a procedure of version 1 or 3, with the decoder that the procedure
// table names, on a request that consists of them alone. args is a *NlmArgs, for NSM_NOTIFY a *NlmReboot, for
// GRANTED_RES a *NlmRes, else nil; it may alias octets. consumed is how many bytes the decoder asked for.
func NlmDecodeArgs(proc uint32, octets []byte) (args any, consumed int, ok bool) {
	return decodeArgs(nlmsvcTable, proc, octets)
}

// Nlm4DecodeArgs is NlmDecodeArgs for version 4.
func Nlm4DecodeArgs(proc uint32, octets []byte) (args any, consumed int, ok bool) {
	return decodeArgs(nlm4svcTable, proc, octets)
}

// decodeArgs runs one decoder of a table. How far it read shows in how short the request may be said to be.
func decodeArgs(procs []nlmProcedure, proc uint32, octets []byte) (args any, consumed int, ok bool) {
	if proc >= uint32(len(procs)) {
		return nil, 0, false
	}
	pc := &procs[proc]
	try := func(n int) bool {
		rqstp := &sunrpc.SvcRqst{}
		rqstp.RqArg.Head = sunrpc.KvecOf(octets, uint64(n))
		args = pc.newArgs()
		return pc.decode(rqstp, rqstp.RqArg.Head.P(), args)
	}
	if !try(len(octets)) {
		return nil, 0, false
	}
	low, high := 0, len(octets) // the least that is enough lies between them
	for low < high {
		if mid := (low + high) / 2; try(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	if _, void := args.(*nlmVoid); void {
		args = nil
	}
	return args, high, true
}
