// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// Bits of RpcRqst.RqBcPaState.
const (
	RPC_BC_PA_IN_USE = 0 // handed to the callback service and not given back
)

var bcPaStateNames = []string{"PA_IN_USE"}

// RpcXprt is struct rpc_xprt as far as the back channel sees it: a client's connection to a server, over which that
// server may call back.
type RpcXprt struct {
	kernel.Obj
	Kref    kernel.Kref
	XprtNet *sock.Net
	Prot    uint32   // IPPROTO_*
	Addr    SockAddr // the server
	// ConnectCookie changes with every reconnect; an answer must go back over the connection its call came by.
	ConnectCookie kernel.Atomic
	Disconnects   kernel.Atomic // how often xprt_force_disconnect was called

	// BcServ is the service that serves callbacks from this server; BcPaLock.
	//
	// Differs: read and written under bc_pa_lock (9e9fdd0ad0fb); 3.19 reads it without and never clears it.
	BcServ       kernel.Var[*SvcServ]
	BcAllocCount uint32               // requests reserved for the back channel, free or in use; BcPaLock
	BcPaLock     kernel.Spinlock      // taken by softirqs
	BcPaList     kernel.List[RpcRqst] // free requests, through RqBcPaList; BcPaLock

	// BcSink takes what goes out on the connection as the answer to req: one record with its marker. The bytes are
	// the sink's. It returns 0 or -errno and may sleep. Set when the transport is made.
	BcSink func(cur *kernel.Task, req *RpcRqst, record []byte) int
}

// Poison drops the pointers of a freed transport.
func (xprt *RpcXprt) Poison() { xprt.XprtNet, xprt.BcSink = nil, nil }

// RpcRqst is struct rpc_rqst as far as the back channel sees it: one call from the server and the answer to it.
// Whoever took it off a list owns what is not a cell.
type RpcRqst struct {
	kernel.Obj
	RqXprt          *RpcXprt
	RqXid           uint32
	RqConnectCookie uint32
	RqRcvBuf        XdrBuf // the call; one page
	RqSndBuf        XdrBuf // the answer; one page
	RqPrivateBuf    XdrBuf // RqRcvBuf while a call is being received, with the bytes received as Len

	RqBcPaState kernel.Flags         // RPC_BC_PA_*
	RqBcPaList  kernel.Node[RpcRqst] // in BcPaList; BcPaLock
	RqBcList    kernel.Node[RpcRqst] // in SvCbList; SvCbLock

	pageRcv *kernel.Page
	pageSnd *kernel.Page
}

// Poison drops the pointers of a freed request.
func (req *RpcRqst) Poison() {
	req.RqXprt, req.pageRcv, req.pageSnd = nil, nil, nil
	req.RqRcvBuf, req.RqSndBuf, req.RqPrivateBuf = XdrBuf{}, XdrBuf{}, XdrBuf{}
}

// xprtNeedToRequeue tells whether a request that comes back is still reserved for the back channel. BcPaLock is held.
//
// Differs: called with the lock held; 3.19 looks without it (0d2a970d0ae5).
//
// C: xprt_need_to_requeue, net/sunrpc/backchannel_rqst.c
func xprtNeedToRequeue(xprt *RpcXprt) bool {
	return xprt.BcAllocCount > 0
}

// xprtIncAllocCount reserves n more requests. BcPaLock is held.
//
// C: xprt_inc_alloc_count, net/sunrpc/backchannel_rqst.c
func xprtIncAllocCount(xprt *RpcXprt, n uint32) {
	xprt.BcAllocCount += n
}

// xprtDecAllocCount takes n reservations back. BcPaLock is held.
//
// C: xprt_dec_alloc_count, net/sunrpc/backchannel_rqst.c
func xprtDecAllocCount(xprt *RpcXprt, n uint32) {
	xprt.BcAllocCount -= n
}

// xprtFreeAllocation frees a request with its pages. It is on no list. Any context.
//
// Differs: 3.19 looks for the page of the call where only a request has it that was used once ("SUNRPC: Fix a memory
// leak in the backchannel code", 2015).
//
// C: xprt_free_allocation, net/sunrpc/backchannel_rqst.c
func xprtFreeAllocation(req *RpcRqst) {
	req.Machine().WarnOnOnce(req.RqBcPaState.TestBit(RPC_BC_PA_IN_USE), "xprt_free_allocation: request in use")
	if req.pageRcv != nil {
		req.pageRcv.Put()
	}
	if req.pageSnd != nil {
		req.pageSnd.Put()
	}
	kernel.Kfree(req)
}

// xprtReinitBcRqst gives the buffers of a request the lengths they were born with.
//
// Differs: 3.19 leaves the lengths of the previous call in place (6622e3a73112).
//
// C: xprt_setup_backchannel (buffers), net/sunrpc/backchannel_rqst.c
func xprtReinitBcRqst(req *RpcRqst) {
	req.RqRcvBuf = XdrBuf{Head: KvecPage(req.pageRcv, PAGE_SIZE), Buflen: PAGE_SIZE, Len: PAGE_SIZE}
	req.RqSndBuf = XdrBuf{Head: KvecPage(req.pageSnd, 0), Buflen: PAGE_SIZE}
}

// XprtSetupBackchannel reserves minReqs more requests for calls from the server; -ENOMEM, and none is. May sleep.
//
// C: xprt_setup_backchannel, net/sunrpc/backchannel_rqst.c
func XprtSetupBackchannel(cur *kernel.Task, xprt *RpcXprt, minReqs uint32) int {
	m := cur.Machine()
	var tmp []*RpcRqst
	for range minReqs {
		req := kernel.Kzalloc[RpcRqst](m, "rpc_rqst", kernel.GFP_KERNEL)
		if req == nil {
			return xprtSetupFailed(m, tmp)
		}
		tmp = append(tmp, req)
		req.RqXprt = xprt
		req.RqBcPaState.Init(&req.Obj, "rq_bc_pa_state", bcPaStateNames)
		req.RqBcPaList.Init(req)
		req.RqBcList.Init(req)
		if req.pageRcv = m.AllocPage(kernel.GFP_KERNEL); req.pageRcv == nil {
			return xprtSetupFailed(m, tmp)
		}
		if req.pageSnd = m.AllocPage(kernel.GFP_KERNEL); req.pageSnd == nil {
			return xprtSetupFailed(m, tmp)
		}
		xprtReinitBcRqst(req)
	}

	xprt.BcPaLock.LockBH()
	// The private list of C has the newest first, and goes in front as it is.
	for _, req := range tmp {
		xprt.BcPaList.Add(&req.RqBcPaList)
	}
	xprtIncAllocCount(xprt, minReqs)
	xprt.BcPaLock.UnlockBH()
	return 0
}

// xprtSetupFailed is the error exit of XprtSetupBackchannel.
//
// C: xprt_setup_backchannel (out_free), net/sunrpc/backchannel_rqst.c
func xprtSetupFailed(m *kernel.Machine, tmp []*RpcRqst) int {
	m.Printk("Failed to create bc rpc_rqst")
	for i := len(tmp) - 1; i >= 0; i-- {
		xprtFreeAllocation(tmp[i])
	}
	return -kernel.ENOMEM
}

// XprtDestroyBackchannel takes maxReqs reservations back and frees as many free requests; those in use are freed when
// they come back. Process context.
//
// C: xprt_destroy_backchannel, net/sunrpc/backchannel_rqst.c
func XprtDestroyBackchannel(xprt *RpcXprt, maxReqs uint32) {
	if maxReqs == 0 {
		return
	}
	xprt.BcPaLock.LockBH()
	xprtDecAllocCount(xprt, maxReqs)
	for req := xprt.BcPaList.First(); req != nil; {
		next := xprt.BcPaList.Next(&req.RqBcPaList)
		xprt.BcPaList.Del(&req.RqBcPaList)
		xprtFreeAllocation(req)
		maxReqs--
		if maxReqs == 0 {
			break
		}
		req = next
	}
	xprt.BcPaLock.UnlockBH()
}

// xprtAllocBcRequest prepares the first free request for the call xid and leaves it on the list; nil if there is
// none. BcPaLock is held.
//
// C: xprt_alloc_bc_request, net/sunrpc/backchannel_rqst.c
func xprtAllocBcRequest(xprt *RpcXprt, xid uint32) *RpcRqst {
	req := xprt.BcPaList.First()
	if req == nil {
		return nil
	}
	req.RqPrivateBuf = req.RqRcvBuf
	req.RqXid = xid
	req.RqConnectCookie = uint32(xprt.ConnectCookie.Read())
	return req
}

// XprtFreeBcRequest gives a request back after its call was answered or given up: to the free ones, or to memory if
// its reservation is gone. It is on no list. Drops the request's reference to the transport. Process context.
//
// Differs: whether the reservation is gone is looked up under the lock (0d2a970d0ae5); drops the reference that a
// queued request holds (875f0706accd).
//
// C: xprt_free_bc_request, net/sunrpc/backchannel_rqst.c
func XprtFreeBcRequest(req *RpcRqst) {
	xprt := req.RqXprt
	xprtGiveBackBcRequest(req)
	XprtPut(xprt)
}

// xprtGiveBackBcRequest is XprtFreeBcRequest for a request that holds no reference. It does not touch req when it
// returns. Any context.
//
// C: xprt_free_bc_request, net/sunrpc/backchannel_rqst.c
func xprtGiveBackBcRequest(req *RpcRqst) {
	xprt := req.RqXprt
	m := req.Machine()
	req.RqConnectCookie = uint32(xprt.ConnectCookie.Read()) - 1
	m.SmpMb()
	m.WarnOnOnce(!req.RqBcPaState.TestBit(RPC_BC_PA_IN_USE), "xprt_free_bc_request: request not in use")
	req.RqBcPaState.ClearBit(RPC_BC_PA_IN_USE)
	m.SmpMb()

	xprtReinitBcRqst(req)
	xprt.BcPaLock.LockBH()
	keep := xprtNeedToRequeue(xprt)
	if keep {
		xprt.BcPaList.AddTail(&req.RqBcPaList)
	}
	xprt.BcPaLock.UnlockBH()
	if !keep {
		xprtFreeAllocation(req)
	}
}

// XprtLookupBcRequest returns the request into which the call xid of the present connection is being received, or
// prepares a free one for it; nil if there is none. The request stays on BcPaList until the call is complete. Softirq
// context.
//
// C: xprt_lookup_bc_request, net/sunrpc/backchannel_rqst.c
func XprtLookupBcRequest(xprt *RpcXprt, xid uint32) *RpcRqst {
	xprt.BcPaLock.Lock()
	cookie := uint32(xprt.ConnectCookie.Read())
	req := xprt.BcPaList.First()
	for req != nil && (req.RqConnectCookie != cookie || req.RqXid != xid) {
		req = xprt.BcPaList.Next(&req.RqBcPaList)
	}
	if req == nil {
		req = xprtAllocBcRequest(xprt, xid)
	}
	xprt.BcPaLock.Unlock()
	return req
}

// XprtCompleteBcRequest hands a received call of copied bytes to the callback service and wakes it. If the transport
// has no such service (any more) the request is given back. The request is on BcPaList and its transport is
// referenced by the caller. Softirq context.
//
// Differs: the free list is changed under its own lock ("SUNRPC: Always manipulate rpc_rqst::rq_bc_pa_list under
// xprt->bc_pa_lock", 4.0); the service is looked up and given the request under bc_pa_lock, under which it is also
// taken away (9e9fdd0ad0fb), and the loser gives the request back ("SUNRPC: close backchannel before destroying
// callback service", posted 2026-05-28); a queued request pins its transport (875f0706accd).
//
// C: xprt_complete_bc_request, net/sunrpc/backchannel_rqst.c
func XprtCompleteBcRequest(req *RpcRqst, copied uint32) {
	xprt := req.RqXprt

	xprt.BcPaLock.Lock()
	xprt.BcPaList.Del(&req.RqBcPaList)
	req.RqPrivateBuf.Len = copied
	req.RqBcPaState.SetBit(RPC_BC_PA_IN_USE)
	serv := xprt.BcServ.Load()
	if serv != nil {
		XprtGet(xprt)
		serv.SvCbLock.Lock()
		serv.SvCbList.Add(&req.RqBcList)
		serv.SvCbWaitq.WakeUp()
		serv.SvCbLock.Unlock()
	}
	xprt.BcPaLock.Unlock()

	if serv == nil {
		xprtGiveBackBcRequest(req)
	}
}

// XprtSvcSetBc makes serv the service of calls that arrive over xprt. serv lives at least until XprtSvcShutdownBc.
// Process context.
//
// Differs: 3.19 stores the pointer without a lock (9e9fdd0ad0fb).
//
// C: nfs_callback_bc_serv, fs/nfs/callback.c
func XprtSvcSetBc(xprt *RpcXprt, serv *SvcServ) {
	xprt.BcPaLock.LockBH()
	xprt.BcServ.Store(serv)
	xprt.BcPaLock.UnlockBH()
}

// XprtSvcShutdownBc ends the flow of calls from xprt to its callback service; it comes before that service's threads
// are stopped. When it returns nobody is using the service through xprt. Process context.
//
// Differs: 3.19 never clears the pointer ("SUNRPC: close backchannel before destroying callback
// service", posted 2026-05-28).
//
// C: xprt_svc_shutdown_bc (later), net/sunrpc/backchannel_rqst.c
func XprtSvcShutdownBc(xprt *RpcXprt) {
	XprtSvcSetBc(xprt, nil)
}

// XprtSvcDrainBc gives back the calls that serv's threads left in its queue. No thread of serv runs, and every
// transport went through XprtSvcShutdownBc. Process context.
//
// Differs: 3.19 leaves them linked to a freed service ("SUNRPC: close backchannel before destroying callback
// service", posted 2026-05-28).
//
// C: nfs_callback_down, fs/nfs/callback.c
func XprtSvcDrainBc(serv *SvcServ) {
	for {
		serv.SvCbLock.LockBH()
		req := serv.SvCbList.First()
		if req != nil {
			serv.SvCbList.Del(&req.RqBcList)
		}
		serv.SvCbLock.UnlockBH()
		if req == nil {
			return
		}
		XprtFreeBcRequest(req)
	}
}
