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

// nlmsvcReply is the accept status of a procedure whose status is stored.
func nlmsvcReply(resp *NlmRes) uint32 {
	if resp.Status == NLM_DROP_REPLY {
		return sunrpc.RPC_DROP_REPLY
	}
	return sunrpc.RPC_SUCCESS
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
	resp.Cookie = argp.Cookie

	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcTestlock(cur, rqstp, file, host, &argp.Lock, &resp.Lock, &resp.Cookie),
		rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return nlmsvcReply(resp)
}

// nlmsvcProcLock locks a range, now or, if the client will wait, later.
//
// C: nlmsvc_proc_lock, fs/lockd/svcproc.c; nlm4svc_proc_lock, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcLock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	resp.Cookie = argp.Cookie

	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcLock(cur, rqstp, file, host, &argp.Lock, argp.Block, &argp.Cookie, argp.Reclaim),
		rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return nlmsvcReply(resp)
}

// nlmsvcProcCancel gives up a lock that the client waits for. Not during a grace period.
//
// C: nlmsvc_proc_cancel, fs/lockd/svcproc.c; nlm4svc_proc_cancel, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcCancel(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	net := sunrpc.SvcNet(rqstp)
	resp.Cookie = argp.Cookie

	if l.netInGrace(net) {
		resp.Status = NLM_LCK_DENIED_GRACE_PERIOD
		return sunrpc.RPC_SUCCESS
	}
	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcCancelBlocked(cur, net, file, &argp.Lock), rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcUnlock releases a range. Not during a grace period.
//
// C: nlmsvc_proc_unlock, fs/lockd/svcproc.c; nlm4svc_proc_unlock, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcUnlock(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	net := sunrpc.SvcNet(rqstp)
	resp.Cookie = argp.Cookie

	if l.netInGrace(net) {
		resp.Status = NLM_LCK_DENIED_GRACE_PERIOD
		return sunrpc.RPC_SUCCESS
	}
	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcUnlock(cur, net, file, &argp.Lock), rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return sunrpc.RPC_SUCCESS
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
	fn func(*kernel.Task, *sunrpc.SvcRqst, *NlmArgs, *NlmRes) uint32) uint32 {
	host := l.NlmsvcLookupHost(cur, rqstp, argp.Lock.Caller)
	if host == nil {
		return sunrpc.RPC_SYSTEM_ERR
	}
	call := l.NlmAllocCall(cur, host)
	l.NlmsvcReleaseHost(cur, host)
	if call == nil {
		return sunrpc.RPC_SYSTEM_ERR
	}

	if stat := fn(cur, rqstp, argp, &call.ARes); stat != sunrpc.RPC_SUCCESS {
		l.NlmsvcReleaseCall(cur, call)
		return stat
	}

	if l.NlmAsyncReply(cur, call, proc, l.nlmsvcCallbackOps()) < 0 {
		return sunrpc.RPC_SYSTEM_ERR
	}
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcTestMsg is TEST with its result in a call.
//
// C: nlmsvc_proc_test_msg, fs/lockd/svcproc.c; nlm4svc_proc_test_msg, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcTestMsg(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	return l.nlmsvcCallback(cur, rqstp, NLMPROC_TEST_RES, argp, l.nlmsvcProcTest)
}

// nlmsvcProcLockMsg is LOCK with its result in a call.
//
// C: nlmsvc_proc_lock_msg, fs/lockd/svcproc.c; nlm4svc_proc_lock_msg, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcLockMsg(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	return l.nlmsvcCallback(cur, rqstp, NLMPROC_LOCK_RES, argp, l.nlmsvcProcLock)
}

// nlmsvcProcCancelMsg is CANCEL with its result in a call.
//
// C: nlmsvc_proc_cancel_msg, fs/lockd/svcproc.c; nlm4svc_proc_cancel_msg, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcCancelMsg(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	return l.nlmsvcCallback(cur, rqstp, NLMPROC_CANCEL_RES, argp, l.nlmsvcProcCancel)
}

// nlmsvcProcUnlockMsg is UNLOCK with its result in a call.
//
// C: nlmsvc_proc_unlock_msg, fs/lockd/svcproc.c; nlm4svc_proc_unlock_msg, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcUnlockMsg(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	return l.nlmsvcCallback(cur, rqstp, NLMPROC_UNLOCK_RES, argp, l.nlmsvcProcUnlock)
}

// nlmsvcProcGrantedMsg is GRANTED with its result in a call.
//
// C: nlmsvc_proc_granted_msg, fs/lockd/svcproc.c; nlm4svc_proc_granted_msg, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcGrantedMsg(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, _ *nlmVoid) uint32 {
	return l.nlmsvcCallback(cur, rqstp, NLMPROC_GRANTED_RES, argp, l.nlmsvcProcGranted)
}

// nlmsvcProcShare makes a share reservation or changes the one the owner has. Not during a grace period unless it is
// a reclaim, which the decoder never says.
//
// C: nlmsvc_proc_share, fs/lockd/svcproc.c; nlm4svc_proc_share, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcShare(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	resp.Cookie = argp.Cookie

	if l.locksInGrace(rqstp) && !argp.Reclaim {
		resp.Status = NLM_LCK_DENIED_GRACE_PERIOD
		return sunrpc.RPC_SUCCESS
	}
	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcShareFile(cur, host, file, argp), rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return sunrpc.RPC_SUCCESS
}

// nlmsvcProcUnshare ends a share reservation. Not during a grace period.
//
// C: nlmsvc_proc_unshare, fs/lockd/svcproc.c; nlm4svc_proc_unshare, fs/lockd/svc4proc.c
func (l *Lockd) nlmsvcProcUnshare(cur *kernel.Task, rqstp *sunrpc.SvcRqst, argp *NlmArgs, resp *NlmRes) uint32 {
	resp.Cookie = argp.Cookie

	if l.locksInGrace(rqstp) {
		resp.Status = NLM_LCK_DENIED_GRACE_PERIOD
		return sunrpc.RPC_SUCCESS
	}
	host, file, status := l.nlmsvcRetrieveArgs(cur, rqstp, argp, true)
	if resp.Status = status; status != 0 {
		return nlmsvcReply(resp)
	}
	resp.Status = castToNlm(l.NlmsvcUnshareFile(cur, host, file, argp), rqstp.RqVers)
	l.nlmsvcReleaseArgs(cur, host, file)
	return sunrpc.RPC_SUCCESS
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

// Words of a reply, for the space that is reserved before a procedure runs.
const (
	nlmCk  = 1 + (NLM_MAXCOOKIELEN+3)/4 // cookie
	nlmSt  = 1                          // status
	nlmNo  = 1 + 1024/4                 // netobj
	nlmRg  = 2                          // range
	nlm4Rg = 4                          // range, 64 bits
)

// nlmsvcTable and nlm4svcTable are made once: a machine needs them for every run.
var nlmsvcTable, nlm4svcTable = nlmsvcProcedures(), nlmsvcProcedures4()

// nlmsvcProcedures makes the procedures of versions 1 and 3, which share them: version 1 ends behind NSM_NOTIFY.
// Each service has its own table, since the core counts calls in it.
//
// C: nlmsvc_procedures, fs/lockd/svcproc.c
func nlmsvcProcedures() []nlmProcedure {
	lock, fh := nlmLockXdr(nlmDecodeLock), nlmFhXdr(nlmDecodeFh)
	args, void := nlmProc[NlmArgs, NlmRes], nlmProc[NlmArgs, nlmVoid]
	return []nlmProcedure{
		NLMPROC_NULL: nlmNullProc("NULL", 1),
		NLMPROC_TEST: args("TEST", (*Lockd).nlmsvcProcTest, lock.decodeTestargs, nlmsvcEncodeTestres,
			nlmCk+nlmSt+2+nlmNo+nlmRg),
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
		17:                  nlmNullProc("none", 1),
		18:                  nlmNullProc("none", 1),
		19:                  nlmNullProc("none", 1),
		NLMPROC_SHARE:       args("SHARE", (*Lockd).nlmsvcProcShare, fh.decodeShareargs, nlmsvcEncodeShareres, nlmCk+nlmSt+1),
		NLMPROC_UNSHARE: args("UNSHARE", (*Lockd).nlmsvcProcUnshare, fh.decodeShareargs, nlmsvcEncodeShareres,
			nlmCk+nlmSt+1),
		NLMPROC_NM_LOCK:  args("NM_LOCK", (*Lockd).nlmsvcProcNmLock, lock.decodeLockargs, nlmsvcEncodeRes, nlmCk+nlmSt),
		NLMPROC_FREE_ALL: void("FREE_ALL", (*Lockd).nlmsvcProcFreeAll, nlmsvcDecodeNotify, nlmsvcEncodeVoid, 0),
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
