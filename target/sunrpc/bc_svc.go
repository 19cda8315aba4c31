// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// rpcLastStreamFragment is the bit of a record marker that says: nothing follows.
const rpcLastStreamFragment = 1 << 31

// SvcIsBackchannel tells whether a thread, and so its request, belongs to a back channel service. Takes no lock.
//
// Differs: the service has a mark instead of a transport that all its namespaces share (d4b09acf924b).
//
// C: svc_is_backchannel, include/linux/sunrpc/bc_xprt.h
func SvcIsBackchannel(rqstp *SvcRqst) bool {
	return rqstp.RqServer.SvBcEnabled.Read() != 0
}

// BcSend sends the answer in RqSndBuf over the connection the call came by, and gives the request back. The first word
// of the buffer is free for the record marker. 0 or -errno, and in both cases the request is gone. May sleep.
//
// Differs: C makes an RPC task that the transport's state machine sends and that gives the request back when it is
// released; here the transport's sink takes the bytes at once.
//
// C: bc_send, net/sunrpc/bc_svc.c; rpc_run_bc_task, call_bc_transmit, net/sunrpc/clnt.c
func BcSend(cur *kernel.Task, req *RpcRqst) int {
	if cur.Machine().AllocFails("rpc_task") {
		XprtFreeBcRequest(req)
		return -kernel.ENOMEM
	}
	buf := &req.RqSndBuf
	buf.Len = uint32(buf.Head.IovLen) + buf.PageLen + uint32(buf.Tail.IovLen)
	record := buf.Flatten()
	ret := -kernel.EINVAL
	if len(record) >= 4 {
		binary.BigEndian.PutUint32(record, rpcLastStreamFragment|uint32(len(record)-4))
		ret = -kernel.ENOTCONN
		if sink := req.RqXprt.BcSink; sink != nil {
			ret = sink(cur, req, record)
		}
	}
	if ret != 0 {
		cur.Machine().Printk("RPC: Could not send backchannel reply error: %d", ret)
	}
	switch ret {
	case -kernel.EHOSTDOWN, -kernel.EHOSTUNREACH, -kernel.ENETUNREACH, -kernel.ETIMEDOUT:
		// The server has to call again, over another connection.
		xprtConditionalDisconnect(req.RqXprt, req.RqConnectCookie)
	}
	XprtFreeBcRequest(req)
	return ret
}
