// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// XsTcpReadCallback takes a call that arrived from the server: one whole record without its marker. What does not fit
// into the request's page is cut off. -EAGAIN: no request was free, and the connection is to be dropped; -EINVAL: less
// than an XID and a direction. The caller holds a reference to the transport. Softirq context.
//
// Differs: C reads the record piece by piece as it arrives.
//
// C: xs_tcp_read_callback, net/sunrpc/xprtsock.c
func XsTcpReadCallback(xprt *RpcXprt, record []byte) int {
	if len(record) < 8 {
		return -kernel.EINVAL
	}
	req := XprtLookupBcRequest(xprt, binary.BigEndian.Uint32(record))
	if req == nil {
		xprt.Machine().Printk("Callback slot table overflowed")
		XprtForceDisconnect(xprt)
		return -kernel.EAGAIN
	}
	copied := copy(req.RqPrivateBuf.Head.Bytes(), record)
	XprtCompleteBcRequest(req, uint32(copied))
	return 0
}
