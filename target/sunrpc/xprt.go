// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// XprtAlloc makes a client's TCP connection to the server at addr, with one reference and without reservations for
// the back channel; nil if there is no memory. sink takes the answers to the server's calls. May sleep.
//
// C: xprt_alloc, net/sunrpc/xprt.c
func XprtAlloc(cur *kernel.Task, net *sock.Net, addr SockAddr,
	sink func(cur *kernel.Task, req *RpcRqst, record []byte) int) *RpcXprt {
	xprt := kernel.Kzalloc[RpcXprt](cur.Machine(), "rpc_xprt", kernel.GFP_KERNEL)
	if xprt == nil {
		return nil
	}
	xprt.XprtNet = net
	xprt.Prot = IPPROTO_TCP
	xprt.Addr = addr
	xprt.BcSink = sink
	xprt.Kref.Init(&xprt.Obj, "rpc_xprt.kref")
	xprt.ConnectCookie.Init(&xprt.Obj, "connect_cookie")
	xprt.ConnectCookie.Set(1)
	xprt.Disconnects.Init(&xprt.Obj, "xprt.state")
	xprt.BcServ.Init(&xprt.Obj, "bc_serv")
	xprt.BcPaLock.Init(&xprt.Obj, "bc_pa_lock")
	xprt.BcPaList.Init(&xprt.Obj, "bc_pa_list")
	return xprt
}

// XprtGet takes a reference; the caller holds one. Any context.
//
// C: xprt_get, include/linux/sunrpc/xprt.h
func XprtGet(xprt *RpcXprt) *RpcXprt {
	xprt.Kref.Get()
	return xprt
}

// XprtPut drops a reference. With the last one the transport is freed; its reservations have been taken back by then.
// Any context.
//
// C: xprt_put, net/sunrpc/xprt.c
func XprtPut(xprt *RpcXprt) {
	xprt.Kref.Put(func() {
		xprt.Machine().WarnOnOnce(!xprt.BcPaList.Empty(), "xprt_destroy: back channel requests left")
		kernel.Kfree(xprt)
	})
}

// XprtForceDisconnect makes the transport drop its connection. Any context.
//
// Differs: the connection is not torn down by a worker; the scenario sees the counter and calls XprtReconnected.
//
// C: xprt_force_disconnect, net/sunrpc/xprt.c
func XprtForceDisconnect(xprt *RpcXprt) {
	xprt.Disconnects.Inc()
}

// xprtConditionalDisconnect makes the transport drop its connection if that is still the one of cookie.
//
// Differs: without transport_lock, under which 3.19 compares: who drops a connection too many only makes another call
// of the server necessary.
//
// C: xprt_conditional_disconnect, net/sunrpc/xprt.c
func xprtConditionalDisconnect(xprt *RpcXprt, cookie uint32) {
	if uint32(xprt.ConnectCookie.Read()) == cookie {
		XprtForceDisconnect(xprt)
	}
}

// XprtReconnected notes that the transport has a new connection: calls half received over the old one are void.
//
// C: xs_tcp_state_change, net/sunrpc/xprtsock.c
func XprtReconnected(xprt *RpcXprt) {
	xprt.ConnectCookie.Inc()
}

// xprtResetMajortimeo sets the point in time at which the next major timeout is due.
//
// C: xprt_reset_majortimeo, net/sunrpc/xprt.c
func xprtResetMajortimeo(task *RpcTask) {
	to := &task.TkClient.ClTimeout
	major := task.timeout
	if to.ToExponential {
		major <<= to.ToRetries
	} else {
		major += to.ToIncrement * kernel.Jiffies(to.ToRetries)
	}
	if major > to.ToMaxval || major == 0 {
		major = to.ToMaxval
	}
	task.majortimeo = task.Machine().Jiffies() + major
}

// xprtAdjustTimeout makes the next repetition wait longer: 0, or -ETIMEDOUT if a major timeout is over, after which it
// all begins again.
//
// C: xprt_adjust_timeout, net/sunrpc/xprt.c
func xprtAdjustTimeout(task *RpcTask) int {
	to := &task.TkClient.ClTimeout
	if task.Machine().Jiffies() < task.majortimeo {
		if to.ToExponential {
			task.timeout <<= 1
		} else {
			task.timeout += to.ToIncrement
		}
		if to.ToMaxval != 0 && task.timeout >= to.ToMaxval {
			task.timeout = to.ToMaxval
		}
		task.retries++
		return 0
	}
	task.timeout, task.retries = to.ToInitval, 0
	xprtResetMajortimeo(task)
	if task.timeout == 0 {
		task.Machine().Printk("xprt_adjust_timeout: rq_timeout = 0!")
		task.timeout = 5 * kernel.HZ
	}
	return -kernel.ETIMEDOUT
}

// xprtRetransTimeout is how long the call waits for an answer before it is repeated: over UDP twice as long each time,
// over TCP as RpcTimeout says. No time at all is for ever.
//
// Differs: no round trip is measured; no procedure of ours says that it wants that.
//
// C: xprt_set_retrans_timeout_rtt, xprt_set_retrans_timeout_def, net/sunrpc/xprt.c
func xprtRetransTimeout(task *RpcTask) kernel.Jiffies {
	clnt := task.TkClient
	timeout := task.timeout
	if clnt.ClProt == IPPROTO_UDP {
		timeout = clnt.ClTimeout.ToInitval << task.retries
		if timeout > clnt.ClTimeout.ToMaxval || timeout == 0 {
			timeout = clnt.ClTimeout.ToMaxval
		}
	}
	if timeout == 0 {
		return kernel.MaxScheduleTimeout
	}
	return timeout
}

// xprtAllocXid gives a call its number. ClLock is held.
//
// C: xprt_alloc_xid, net/sunrpc/xprt.c
func xprtAllocXid(clnt *RpcClnt) uint32 {
	xid := clnt.clXid
	clnt.clXid++
	return xid
}

// xprtBind finds out the peer's port if it is not known. clWrite is held. 0, or -errno as rpcbGetport.
//
// C: call_bind, net/sunrpc/clnt.c
func xprtBind(cur *kernel.Task, task *RpcTask) int {
	clnt := task.TkClient
	if task.addr.Port != 0 {
		return 0
	}
	port, err := rpcbGetport(cur, task)
	if err != 0 {
		return err
	}
	clnt.ClLock.Lock()
	clnt.ClAddr.Port = port
	task.addr = clnt.ClAddr
	clnt.ClLock.Unlock()
	return 0
}

// xprtPrepareTransmit notes where the message goes and, if there is a socket to send it by, ready, that its answer is
// waited for from now on, for the first message also that its time begins only now, whatever the way to the peer took.
// An answer that came to an earlier copy of the message makes it unnecessary to send another. clWrite is held.
//
// C: xprt_prepare_transmit, xprt_transmit, net/sunrpc/xprt.c
func xprtPrepareTransmit(task *RpcTask) (send, ready bool) {
	clnt := task.TkClient
	first := false
	clnt.ClLock.Lock()
	task.addr = clnt.ClAddr
	ready = task.addr.Port != 0 && xsConnected(clnt)
	if ready {
		task.connectCookie = clnt.clCookie
		send = task.reply == nil
		first = send && !task.waiting
		if first {
			task.waiting = true
			clnt.ClRecv = append(clnt.ClRecv, task)
		}
	}
	clnt.ClLock.Unlock()
	if first {
		xprtResetMajortimeo(task)
	}
	return send, ready
}

// xprtCompleteRqst gives an answer to the call that it belongs to: one that is longer than a page is cut. Answers that
// nobody waits for are dropped. ClLock is held.
//
// C: xprt_lookup_rqst, xprt_complete_rqst, net/sunrpc/xprt.c
func xprtCompleteRqst(clnt *RpcClnt, answer []byte) {
	xid := binary.BigEndian.Uint32(answer)
	for _, task := range clnt.ClRecv {
		if task.xid == xid {
			task.reply = append([]byte(nil), answer[:min(len(answer), PAGE_SIZE)]...)
			task.waiting = false
			clnt.ClRecv = withoutTask(clnt.ClRecv, task)
			return
		}
	}
}

// xprtWaitReply waits until the call has its answer: 0; -ETIMEDOUT: it is to be repeated; -ENOTCONN: the connection is
// gone; -EIO: the call was killed. Whoever waits reads the socket, and what he reads may be another call's answer.
//
// C: xprt_timer, xprt_disconnect_done, net/sunrpc/xprt.c
func xprtWaitReply(cur *kernel.Task, task *RpcTask) int {
	clnt := task.TkClient
	m := task.Machine()
	end := m.Jiffies() + xprtRetransTimeout(task)
	var wait kernel.WaitEntry
	for status := 1; ; {
		clnt.clPending.PrepareToWait(cur, &wait, kernel.TASK_UNINTERRUPTIBLE)
		clnt.ClLock.Lock()
		more := xsDataReady(clnt, task)
		task.answer, task.reply = task.reply, nil
		gone := clnt.clBroken || clnt.clCookie != task.connectCookie
		clnt.ClLock.Unlock()
		left := end - m.Jiffies()
		if end >= kernel.MaxScheduleTimeout {
			left = kernel.MaxScheduleTimeout
		}
		switch {
		case task.answer != nil:
			status = 0
		case rpcKilled(task):
			status = -kernel.EIO
		case gone:
			status = -kernel.ENOTCONN
		case left <= 0:
			status = -kernel.ETIMEDOUT
		case !more:
			kernel.ScheduleTimeout(cur, left)
		}
		if status <= 0 {
			clnt.clPending.FinishWait(cur, &wait)
			return status
		}
	}
}
