// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
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
// C: xprt_get, net/sunrpc/xprt.c
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

// XprtReconnected notes that the transport has a new connection: calls half received over the old one are void.
//
// C: xs_tcp_finish_connecting, net/sunrpc/xprtsock.c
func XprtReconnected(xprt *RpcXprt) {
	xprt.ConnectCookie.Inc()
}
