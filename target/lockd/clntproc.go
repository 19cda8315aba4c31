// SPDX-License-Identifier: GPL-2.0-only

package lockd

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/sunrpc"
)

// NlmclntNextCookie gives a call of ours a cookie that none had before.
//
// C: nlmclnt_next_cookie, fs/lockd/clntproc.c
func (l *Lockd) NlmclntNextCookie(cookie *NlmCookie) {
	cookie.Len = 4
	binary.LittleEndian.PutUint32(cookie.Data[:], uint32(l.NlmCookie.AddReturn(1)))
}

// NlmAllocCall makes a call to a host, with one reference of its own to the host. It waits for memory as long as it
// takes; nil only if a signal ended that. May sleep.
//
// C: nlm_alloc_call, fs/lockd/clntproc.c
func (l *Lockd) NlmAllocCall(cur *kernel.Task, host *NlmHost) *NlmRqst {
	for {
		call := kernel.Kzalloc[NlmRqst](cur.Machine(), "nlm_rqst", kernel.GFP_KERNEL)
		if call != nil {
			call.ACount.Init(&call.Obj, "a_count")
			call.ACount.Preset(1)
			call.AHost = l.NlmGetHost(host)
			return call
		}
		if cur.SignalPending() {
			return nil
		}
		l.Machine().Printk("nlm_alloc_call: failed, waiting for memory")
		kernel.ScheduleTimeoutInterruptible(cur, 5*kernel.HZ)
	}
}

// NlmclntReleaseCall drops a reference to a call to a server of ours; the last one frees it. May sleep.
//
// C: nlmclnt_release_call, fs/lockd/clntproc.c
func (l *Lockd) NlmclntReleaseCall(cur *kernel.Task, call *NlmRqst) {
	if !call.ACount.DecAndTest() {
		return
	}
	l.NlmclntReleaseHost(cur, call.AHost)
	kernel.Kfree(call)
}

// nlmDoAsyncCall starts a call of procedure proc to the host of req: 0; -ENOLCK if the host cannot be called, -ENOMEM
// if the call cannot be made. ops.RpcRelease runs in every case. May sleep.
//
// Differs: HMutex is held until the client knows of the call. In C a shutdown of the host can free the client before
// that; nothing upstream closes that gap.
//
// C: __nlm_async_call, nlm_do_async_call, fs/lockd/clntproc.c
func (l *Lockd) nlmDoAsyncCall(cur *kernel.Task, req *NlmRqst, proc uint32, msg *sunrpc.RpcMessage,
	ops *sunrpc.RpcCallOps) int {
	host := req.AHost
	if !host.HServer {
		// A failing call lets go of the host, perhaps as the last, and HMutex is in it.
		l.NlmGetHost(host)
		defer l.NlmclntReleaseHost(cur, host)
	}
	host.HMutex.Lock(cur)
	defer host.HMutex.Unlock(cur)
	clnt := l.nlmBindHost(cur, host)
	if clnt == nil {
		ops.RpcRelease(cur, req)
		return -kernel.ENOLCK
	}
	msg.RpcProc = nlmCallTable.Version[host.HVersion].Procs[proc]
	return sunrpc.RpcCallAsync(cur, clnt, msg, 0, ops, req)
}

// NlmAsyncCall starts a call of procedure proc with req.AArgs; what comes back is put into req.ARes. Results and rules
// as nlmDoAsyncCall.
//
// C: nlm_async_call, fs/lockd/clntproc.c
func (l *Lockd) NlmAsyncCall(cur *kernel.Task, req *NlmRqst, proc uint32, ops *sunrpc.RpcCallOps) int {
	return l.nlmDoAsyncCall(cur, req, proc, &sunrpc.RpcMessage{RpcArgp: &req.AArgs, RpcResp: &req.ARes}, ops)
}

// NlmAsyncReply starts a call of procedure proc that carries an answer, req.ARes. Results and rules as nlmDoAsyncCall.
//
// C: nlm_async_reply, fs/lockd/clntproc.c
func (l *Lockd) NlmAsyncReply(cur *kernel.Task, req *NlmRqst, proc uint32, ops *sunrpc.RpcCallOps) int {
	return l.nlmDoAsyncCall(cur, req, proc, &sunrpc.RpcMessage{RpcArgp: &req.ARes}, ops)
}
