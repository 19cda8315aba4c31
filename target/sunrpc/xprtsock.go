// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// XsTcpReadCallback takes what arrived from the server, one whole record without its marker: a call, of which is cut
// off what does not fit into the request's page. An answer is dropped, nobody waits for one. -EAGAIN: no request was
// free; -EINVAL: less than an XID and a direction, or no direction; in both cases the connection is dropped. The caller
// holds a reference to the transport. Softirq context.
//
// Differs: C reads the record piece by piece as it arrives, each under transport_lock; one softirq does it all here.
//
// C: xs_tcp_read_fraghdr, xs_tcp_read_calldir, xs_tcp_read_callback, net/sunrpc/xprtsock.c
func XsTcpReadCallback(xprt *RpcXprt, record []byte) int {
	dir := uint32(1 << 31)
	if len(record) >= 8 {
		dir = binary.BigEndian.Uint32(record[4:])
	}
	switch dir {
	case RPC_CALL:
	case RPC_REPLY:
		return 0
	default:
		XprtForceDisconnect(xprt)
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

// Ports that only root may bind, as far as clients use them.
//
// C: RPC_DEF_MIN_RESVPORT, RPC_DEF_MAX_RESVPORT, include/linux/sunrpc/xprtsock.h
const (
	rpcMinResvport = 665
	rpcMaxResvport = 1023
)

// Pauses between two connections to a peer that does not answer.
//
// C: XS_TCP_INIT_REEST_TO, XS_TCP_MAX_REEST_TO, net/sunrpc/xprtsock.c
const (
	xsTcpInitReestTo = 3 * kernel.HZ
	xsTcpMaxReestTo  = 5 * 60 * kernel.HZ
)

// xsReadMost bounds how much is read from a socket with ClLock held: datagrams, or pieces of a page.
const xsReadMost = 64

// tcpRecord is the record that is being received: what its markers said and its octets so far. ClLock.
type tcpRecord struct {
	mark  [rpcFraghdrSize]byte
	have  int    // octets of mark
	left  uint32 // octets of the fragment that are still to come, once mark is whole
	bytes []byte // the record, no more than a page of it
}

// xsConnected tells whether there is a socket that a message can be sent by. ClLock is held.
//
// C: xprt_connected, include/linux/sunrpc/xprt.h
func xsConnected(clnt *RpcClnt) bool {
	return clnt.clSock != nil && !clnt.clBroken &&
		(clnt.ClProt == IPPROTO_UDP || clnt.clSock.SkState.Read() == sock.TCP_ESTABLISHED)
}

// xsDataReady reads what has arrived and gives answers to their calls, until there is nothing or task has its own.
// ClLock is held. True: there may be more.
//
// Differs: called by those who wait for an answer; in C the socket's callback does it.
//
// C: xs_udp_data_ready, xs_tcp_data_ready, net/sunrpc/xprtsock.c
func xsDataReady(clnt *RpcClnt, task *RpcTask) bool {
	if clnt.clSock == nil || clnt.clBroken {
		return false
	}
	read := xsUdpDataReady
	if clnt.ClProt == IPPROTO_TCP {
		read = xsTcpDataReady
	}
	for range xsReadMost {
		if task.reply != nil {
			return true
		}
		if !read(clnt) {
			return false
		}
	}
	return true
}

// xsUdpDataReady reads one datagram; those too short to name a call are dropped. False: there was none.
//
// C: xs_udp_data_ready, net/sunrpc/xprtsock.c
func xsUdpDataReady(clnt *RpcClnt) bool {
	skb, err := clnt.clSock.RecvDatagram()
	if err != 0 {
		return err != -kernel.EAGAIN
	}
	if b := skb.Octets(); len(b) >= 4 {
		xprtCompleteRqst(clnt, b)
	}
	sock.FreeSkb(skb)
	return true
}

// xsTcpDataReady reads a piece of the stream. Its end, an error, or what cannot be a record breaks the connection.
// False: there was nothing, or there will be nothing more.
//
// C: xs_tcp_data_ready, xs_tcp_data_recv, net/sunrpc/xprtsock.c
func xsTcpDataReady(clnt *RpcClnt) bool {
	var buf [PAGE_SIZE]byte
	n := clnt.clSock.RecvMsg([][]byte{buf[:]}, 0)
	if n == -kernel.EAGAIN {
		return false
	}
	if n <= 0 || !xsTcpReadRecord(clnt, buf[:n]) {
		clnt.clBroken = true
		return false
	}
	return true
}

// xsTcpReadRecord takes the next octets of the stream: false if they make no sense.
//
// Differs: a record is collected and then given to its call; C puts it into the call's buffer as it comes. What makes
// no sense is the end of the connection at once; in C a worker closes it, and what arrives until then is still read.
//
// C: xs_tcp_read_fraghdr, xs_tcp_read_common, net/sunrpc/xprtsock.c
func xsTcpReadRecord(clnt *RpcClnt, b []byte) bool {
	r := &clnt.clRecord
	for len(b) > 0 {
		if r.have < rpcFraghdrSize {
			n := copy(r.mark[r.have:], b)
			r.have += n
			b = b[n:]
			if r.have == rpcFraghdrSize {
				r.left = binary.BigEndian.Uint32(r.mark[:]) & rpcFragmentSizeMask
				if r.left < 8 {
					return false
				}
			}
			continue
		}
		n := int(min(r.left, uint32(len(b))))
		r.bytes = append(r.bytes, b[:min(n, PAGE_SIZE-len(r.bytes))]...)
		r.left -= uint32(n)
		b = b[n:]
		if r.left > 0 {
			continue
		}
		r.have = 0
		if binary.BigEndian.Uint32(r.mark[:])&rpcLastStreamFragment != 0 {
			if !xsTcpRecord(clnt, r.bytes) {
				return false
			}
			r.bytes = r.bytes[:0]
		}
	}
	return true
}

// xsTcpRecord takes a whole record, which has at least two words: an answer. False for a call, for which no client of
// ours has reserved requests, and for anything else.
//
// Differs: an answer alone ends the pauses between connections; in 3.19 any octets do, even the end of the stream, and
// a peer that closes every connection is connected to without any, see xsPause.
//
// C: xs_tcp_read_calldir, xs_tcp_read_reply, xs_tcp_read_callback, net/sunrpc/xprtsock.c
func xsTcpRecord(clnt *RpcClnt, record []byte) bool {
	switch binary.BigEndian.Uint32(record[4:]) {
	case RPC_REPLY:
		clnt.clReconnect = 0
		xprtCompleteRqst(clnt, record)
		return true
	case RPC_CALL:
		clnt.Machine().Printk("Callback slot table overflowed")
	}
	return false
}

// xsSendRequest sends a message, as one datagram or as one record. clWrite is held. 0 or -errno; a record
// that went out in part breaks the connection.
//
// C: xs_udp_send_request, xs_tcp_send_request, net/sunrpc/xprtsock.c
func xsSendRequest(cur *kernel.Task, task *RpcTask) int {
	clnt := task.TkClient
	if clnt.ClProt == IPPROTO_UDP {
		n := clnt.clSock.SendMsg(cur, sock.Msg{To: task.addr}, task.sndBuf[rpcFraghdrSize:], 0)
		if n == -kernel.EAGAIN {
			return 0 // no room: as good as lost
		}
		return min(n, 0)
	}
	n := clnt.clSock.SendMsg(cur, sock.Msg{}, task.sndBuf, 0)
	if n == len(task.sndBuf) {
		return 0
	}
	clnt.ClLock.Lock()
	clnt.clBroken = true
	clnt.ClLock.Unlock()
	if n >= 0 {
		return -kernel.ENOTCONN
	}
	return n
}

// xsConnect makes a socket for the client, in the place of one that is no good: over TCP it connects to the peer, whose
// port is known. clWrite is held. 0 or -errno.
//
// Differs: the caller connects and waits for it; C has a worker for that.
//
// C: xs_connect, xs_tcp_setup_socket, xs_udp_setup_socket, net/sunrpc/xprtsock.c
func xsConnect(cur *kernel.Task, task *RpcTask) int {
	clnt := task.TkClient
	clnt.ClLock.Lock()
	if xsConnected(clnt) {
		clnt.ClLock.Unlock()
		return 0
	}
	old := clnt.clSock
	clnt.clSock = nil
	if old != nil {
		clnt.clNext = task.Machine().Jiffies() + clnt.clReconnect
		clnt.clReconnect = min(max(2*clnt.clReconnect, xsTcpInitReestTo), xsTcpMaxReestTo)
	}
	clnt.ClLock.Unlock()
	if old != nil {
		old.Release()
	}
	if err := xsPause(cur, task); err != 0 {
		return err
	}
	sk, err := xsCreateSock(cur, clnt, task.addr)
	if err != 0 {
		return err
	}
	clnt.ClLock.Lock()
	clnt.clSock, clnt.clBroken, clnt.clRecord = sk, false, tcpRecord{}
	clnt.clCookie++
	clnt.ClLock.Unlock()
	return 0
}

// xsPause waits until a new connection may be made: 0; -ETIMEDOUT: that is too long for the call; -EIO: it was killed.
// clWrite is held.
//
// Differs: C has no pause for a call that is RPC_TASK_SOFTCONN, which a peer that closes every connection keeps busy
// for ever.
//
// C: xs_connect, net/sunrpc/xprtsock.c
func xsPause(cur *kernel.Task, task *RpcTask) int {
	left := task.TkClient.clNext - task.Machine().Jiffies()
	switch {
	case left <= 0:
		return 0
	case !rpcSleepOn(cur, task, min(left, task.timeout)):
		return -kernel.EIO
	case left > task.timeout:
		return -kernel.ETIMEDOUT
	}
	return 0
}

// xsCreateSock makes a socket that tells the client's calls what happens, bound and for TCP connected to addr. What
// the call cannot deal with is -EIO.
//
// C: xs_create_sock, xs_udp_finish_connecting, xs_tcp_finish_connecting, net/sunrpc/xprtsock.c
func xsCreateSock(cur *kernel.Task, clnt *RpcClnt, addr SockAddr) (*sock.Sock, int) {
	typ := sock.SOCK_DGRAM
	if clnt.ClProt == IPPROTO_TCP {
		typ = sock.SOCK_STREAM
	}
	sk, err := sock.Create(cur, clnt.ClNet, addr.Family, typ, int(clnt.ClProt))
	if err != 0 {
		return nil, -kernel.EIO
	}
	if err = xsBind(clnt, sk); err != 0 {
		sk.Release()
		return nil, -kernel.EIO
	}
	if clnt.ClProt == IPPROTO_TCP {
		sk.SkSndtimeo = clnt.ClTimeout.ToInitval
		if err = sk.Connect(cur, addr); err != 0 {
			sk.Release()
			return nil, err
		}
	}
	sk.SkUserData.Store(clnt)
	sk.SkDataReady.Store(xsDataReadyCallback)
	sk.SkStateChange.Store(xsStateChangeCallback)
	return sk, 0
}

// The callbacks of a client's socket: whoever waits for an answer looks at what there is.
//
// C: xs_udp_data_ready, xs_tcp_data_ready, xs_tcp_state_change, net/sunrpc/xprtsock.c
var (
	xsDataReadyCallback = &sock.Callback{Name: "xs_data_ready", Fn: func(sk *sock.Sock) {
		sk.SkUserData.Load().(*RpcClnt).clPending.WakeUpAll()
	}}
	xsStateChangeCallback = &sock.Callback{Name: "xs_tcp_state_change", Fn: func(sk *sock.Sock) {
		sk.SkUserData.Load().(*RpcClnt).clPending.WakeUpAll()
		if sk.SkSleep.Active() { // a sender
			sk.SkSleep.WakeUpAll()
		}
	}}
)

// xsBind gives the socket its source address and, unless the client may do without, a port that only root can have.
// Where that is not allowed any port has to do. 0 or -errno.
//
// Differs: 3.19 goes down through the ports and ours up; it ignores the source address where any port will do, which
// then is not that of the client that called; and without the right to a port there is no connection at all, with
// which the services could not be tried without being root.
//
// C: xs_bind, net/sunrpc/xprtsock.c
func xsBind(clnt *RpcClnt, sk *sock.Sock) int {
	from := clnt.clSaddr
	if from.Family == sock.AF_UNSPEC {
		from = sock.AnyAddr(sk.SkFamily, 0)
	}
	if clnt.clResvport {
		const ports = rpcMaxResvport - rpcMinResvport + 1
		first := clnt.Machine().RandomU32() % ports
		for i := range uint32(ports) {
			err := sk.Bind(from.WithPort(uint16(rpcMinResvport + (first+i)%ports)))
			if err == -kernel.EACCES || err == -kernel.EPERM {
				break
			}
			if err != -kernel.EADDRINUSE {
				return err
			}
		}
	}
	return sk.Bind(from)
}
