// SPDX-License-Identifier: GPL-2.0-only

package sunrpc

import (
	"encoding/binary"
	"fmt"

	"github.com/seed17199236/svcfuzz/target/kernel"
	"github.com/seed17199236/svcfuzz/target/kernel/sock"
)

// SvcSock is a transport over a socket. It is a SvcXprt with the socket's own state; what follows SkOwspace belongs
// to whoever owns XPT_BUSY.
type SvcSock struct {
	SvcXprt

	SkSock *sock.Sock // C: sk_sock and sk_sk; nil for the place holder of a back channel

	// The socket's callbacks before ours.
	SkOstate  *sock.Callback
	SkOdata   *sock.Callback
	SkOwspace *sock.Callback

	SkReclen  [4]byte        // the record marker as it came: top bit last fragment, else the fragment's length
	SkTcplen  uint32         // bytes of the current fragment received, marker included
	SkDatalen uint32         // bytes of payload received over all fragments of the record
	SkPages   []*kernel.Page // the payload between two receives, else nil entries
}

// Poison drops the pointers of a freed transport.
func (svsk *SvcSock) Poison() {
	svsk.SkSock, svsk.SkPages, svsk.XptServer, svsk.XptOps = nil, nil, nil, nil
}

// Flags of SvcCreateXprt and of the functions that make sockets here.
const (
	SVC_SOCK_DEFAULTS  = 0
	SVC_SOCK_ANONYMOUS = 1 << 0 // not to be registered with rpcbind
	SVC_SOCK_TEMPORARY = 1 << 1 // an accepted connection
)

const (
	rpcFraghdrSize      = 4 // bytes of a record marker
	rpcFragmentSizeMask = 1<<31 - 1

	// svcListenBacklog is the accept backlog of a listener.
	svcListenBacklog = 64
	// svcTcpSndtimeo bounds how long a thread waits for space to send a reply.
	svcTcpSndtimeo = 30 * kernel.HZ
)

// svcSockReclen is the length in bytes that the marker announces for the current fragment.
//
// C: svc_sock_reclen, include/linux/sunrpc/svcsock.h
func svcSockReclen(svsk *SvcSock) uint32 {
	return binary.BigEndian.Uint32(svsk.SkReclen[:]) & rpcFragmentSizeMask
}

// svcSockFinalRec reports whether the current fragment is the last of its record.
//
// C: svc_sock_final_rec, include/linux/sunrpc/svcsock.h
func svcSockFinalRec(svsk *SvcSock) bool {
	return binary.BigEndian.Uint32(svsk.SkReclen[:])&rpcLastStreamFragment != 0
}

// svcSockOf is the socket transport that xprt is part of: container_of in C. xprt is not of class "tcp-bc".
func svcSockOf(xprt *SvcXprt) *SvcSock { return xprt.XptContainer.(*SvcSock) }

// svcSockClasses is the transport classes of this file, shared by their operations: C has them as static variables.
type svcSockClasses struct {
	udp, tcp, bc *SvcXprtClass
}

// svcReleaseSkb gives back the datagram that the request lies in, if any. May be called more than once.
//
// Differs: does not take the socket's lock to uncharge the datagram from the receive buffer; the floor did that when it
// gave the datagram out.
//
// C: svc_release_skb, net/sunrpc/svcsock.c
func svcReleaseSkb(rqstp *SvcRqst) {
	skb, _ := rqstp.RqXprtCtxt.(*sock.Skb)
	if skb != nil {
		rqstp.RqXprtCtxt = nil
		sock.FreeSkb(skb)
	}
}

// svcSendCommon sends a message: head, pages, tail, all but the last piece announced as not the last. Returns the
// bytes taken, less than the message after an error or a timeout, or the -errno of the head. Sleeps for space.
//
// C: svc_send_common, net/sunrpc/svcsock.c
func svcSendCommon(cur *kernel.Task, so *sock.Sock, xdr *XdrBuf) int {
	slen := uint64(xdr.Len)
	flags := func(n uint64) int {
		if slen == n {
			return 0
		}
		return sock.MSG_MORE
	}

	head := xdr.Head.Bytes()
	sent := so.SendPage(cur, head, flags(xdr.Head.IovLen))
	if sent != len(head) {
		return sent
	}
	slen -= uint64(len(head))
	if slen == 0 {
		return sent
	}

	base, pglen := xdr.PageBase, xdr.PageLen
	for i := 0; pglen > 0; i++ {
		size := min(PAGE_SIZE-base, pglen)
		res := so.SendPage(cur, xdr.Pages[i].Data[base:base+size], flags(uint64(size)))
		if res > 0 {
			sent += res
		}
		if res != int(size) {
			return sent
		}
		slen -= uint64(size)
		pglen -= size
		base = 0
	}

	if xdr.Tail.IovLen != 0 {
		if res := so.SendPage(cur, xdr.Tail.Bytes(), 0); res > 0 {
			sent += res
		}
	}
	return sent
}

// svcSendto sends a reply over the request's transport; a datagram goes to the peer from the address it used.
// Results as svcSendCommon. XptMutex is held; may sleep.
//
// C: svc_sendto, net/sunrpc/svcsock.c
func svcSendto(cur *kernel.Task, rqstp *SvcRqst, xdr *XdrBuf) int {
	svsk := svcSockOf(rqstp.RqXprt.Load())
	if rqstp.RqProt == IPPROTO_UDP {
		msg := sock.Msg{From: rqstp.RqDaddr, To: rqstp.RqAddr}
		if svsk.SkSock.SendMsg(cur, msg, nil, sock.MSG_MORE) < 0 {
			return 0
		}
	}
	return svcSendCommon(cur, svsk.SkSock, xdr)
}

// svcOneSockName spells a socket for a person, "ipv4 udp 0.0.0.0 111\n", and its length; -ENAMETOOLONG if it does
// not fit into remaining bytes with a final zero.
//
// C: svc_one_sock_name, net/sunrpc/svcsock.c
func svcOneSockName(svsk *SvcSock, remaining int) (string, int) {
	proto := "tcp"
	if svsk.SkSock.SkProtocol == IPPROTO_UDP {
		proto = "udp"
	}
	var line string
	sin, _ := svsk.SkSock.GetSockName()
	switch sin.Family {
	case sock.PF_INET:
		line = fmt.Sprintf("ipv4 %s %s %d\n", proto, sin.Host(), sin.Port)
	case sock.PF_INET6:
		line = fmt.Sprintf("ipv6 %s %s %d\n", proto, svcHost6(&sin), sin.Port)
	default:
		line = fmt.Sprintf("*unknown-%d*\n", sin.Family)
	}
	if len(line) >= remaining {
		return "", -kernel.ENAMETOOLONG
	}
	return line, len(line)
}

// svcHost6 is an IPv6 address as the kernel prints it: eight groups of four digits.
//
// C: ip6_string, lib/vsprintf.c
func svcHost6(sin *SockAddr) string {
	host := ""
	for i := 0; i < 16; i += 2 {
		host += fmt.Sprintf(":%04x", binary.BigEndian.Uint16(sin.IP[i:]))
	}
	return host[1:]
}

// svcRecvfrom reads up to the bytes that iov has room for from a stream. XPT_DATA is cleared first, so that what
// arrives from here on is noticed, and set again if all was filled, since there may be more. Returns the bytes, 0 at
// the end of the stream, -EAGAIN or another -errno. The caller owns XPT_BUSY.
//
// C: svc_recvfrom, net/sunrpc/svcsock.c
func svcRecvfrom(rqstp *SvcRqst, svsk *SvcSock, iov [][]byte, buflen uint32) int {
	rqstp.RqXprtHlen = 0
	svsk.XptFlags.ClearBit(XPT_DATA)
	n := svsk.SkSock.RecvMsg(iov, sock.MSG_DONTWAIT)
	if n == int(buflen) {
		svsk.XptFlags.SetBit(XPT_DATA)
	}
	return n
}

// svcPartialRecvfrom is svcRecvfrom for want bytes behind the first base bytes of pages.
//
// C: svc_partial_recvfrom, net/sunrpc/svcsock.c
func svcPartialRecvfrom(rqstp *SvcRqst, svsk *SvcSock, pages []*kernel.Page, want, base uint32) int {
	iov := make([][]byte, 0, len(pages))
	for at, end := base, base+want; at < end; {
		off := at % PAGE_SIZE
		n := min(PAGE_SIZE-off, end-at)
		iov = append(iov, pages[at/PAGE_SIZE].Data[off:off+n])
		at += n
	}
	return svcRecvfrom(rqstp, svsk, iov, want)
}

// svcSockSetbufsize sizes the socket's buffers, in bytes; each becomes twice what is asked for. It calls the socket's
// write space callback. Process context.
//
// Differs: the doubling does not wrap round at 4 GB, which takes some thousands of threads.
//
// C: svc_sock_setbufsize, net/sunrpc/svcsock.c
func svcSockSetbufsize(so *sock.Sock, snd, rcv uint32) {
	so.SetSndRcvBuf(int(snd), int(rcv))
}

// svcSockSecurePort reports whether the request came from a port that only a privileged process can use.
//
// C: svc_sock_secure_port, net/sunrpc/svcsock.c
func svcSockSecurePort(rqstp *SvcRqst) bool {
	return SvcPortIsPrivileged(&rqstp.RqAddr)
}

// svcSockUser is the transport that took the socket over, nil if none did.
//
// C: sk_user_data, include/net/sock.h
func svcSockUser(sk *sock.Sock) *SvcSock {
	svsk, _ := sk.SkUserData.Load().(*SvcSock)
	return svsk
}

// wakeSkSleep wakes who sleeps on the socket itself: a thread that waits for space in the middle of a reply.
//
// C: sk_sleep, include/net/sock.h
func wakeSkSleep(sk *sock.Sock) {
	if sk.SkSleep.Active() {
		sk.SkSleep.WakeUp()
	}
}

// The callbacks of our sockets.
var (
	svcUdpDataReadyCb       = &sock.Callback{Name: "svc_udp_data_ready", Fn: svcUdpDataReady}
	svcWriteSpaceCb         = &sock.Callback{Name: "svc_write_space", Fn: svcWriteSpace}
	svcTcpListenDataReadyCb = &sock.Callback{Name: "svc_tcp_listen_data_ready", Fn: svcTcpListenDataReady}
	svcTcpStateChangeCb     = &sock.Callback{Name: "svc_tcp_state_change", Fn: svcTcpStateChange}
	svcTcpDataReadyCb       = &sock.Callback{Name: "svc_tcp_data_ready", Fn: svcTcpDataReady}
	svcTcpWriteSpaceCb      = &sock.Callback{Name: "svc_tcp_write_space", Fn: svcTcpWriteSpace}
)

// svcUdpDataReady is called when a datagram, or an error, arrived. Softirq context, the socket's lock held.
//
// C: svc_udp_data_ready, net/sunrpc/svcsock.c
func svcUdpDataReady(sk *sock.Sock) {
	if svsk := svcSockUser(sk); svsk != nil {
		svsk.XptFlags.SetBit(XPT_DATA)
		SvcXprtEnqueue(&svsk.SvcXprt)
	}
	wakeSkSleep(sk)
}

// svcWriteSpace is called when there is more space to write. Softirq context, or the context of
// svcSockSetbufsize; the socket's lock held.
//
// C: svc_write_space, net/sunrpc/svcsock.c
func svcWriteSpace(sk *sock.Sock) {
	if svsk := svcSockUser(sk); svsk != nil {
		SvcXprtEnqueue(&svsk.SvcXprt)
	}
	wakeSkSleep(sk)
}

// svcTcpHasWspace reports whether there is space for another reply of the largest size on top of what is reserved;
// if not, the socket is marked so that its write space callback will come. A stream with nothing reserved and an
// empty send buffer may always go on, however small the buffer. Any context, takes no locks.
//
// C: svc_tcp_has_wspace, net/sunrpc/svcsock.c
func svcTcpHasWspace(xprt *SvcXprt) bool {
	svsk := svcSockOf(xprt)
	if xprt.XptFlags.TestBit(XPT_LISTENER) {
		return true
	}
	required := int(xprt.XptReserved.Read()) + int(xprt.XptServer.SvMaxMesg)
	if svsk.SkSock.SkStreamWspace() >= required ||
		svsk.SkSock.SkStreamMinWspace() == 0 && xprt.XptReserved.Read() == 0 {
		return true
	}
	svsk.SkSock.Flags.SetBit(sock.SOCK_NOSPACE)
	return false
}

// svcTcpWriteSpace is called when the peer took some of what was sent. Context as svcWriteSpace.
//
// Differs: C looks whether sk still has its struct socket as well, which is the same object here.
//
// C: svc_tcp_write_space, net/sunrpc/svcsock.c
func svcTcpWriteSpace(sk *sock.Sock) {
	if !sk.SkStreamIsWriteable() {
		return
	}
	if svsk := svcSockUser(sk); svsk == nil || svcTcpHasWspace(&svsk.SvcXprt) {
		sk.Flags.ClearBit(sock.SOCK_NOSPACE)
	}
	svcWriteSpace(sk)
}

// svcTcpAdjustWspace takes the mark of a lack of space back after reservations went away: it was put there after the
// check and may be out of date.
//
// C: svc_tcp_adjust_wspace, net/sunrpc/svcsock.c
func svcTcpAdjustWspace(xprt *SvcXprt) {
	if svcTcpHasWspace(xprt) {
		svcSockOf(xprt).SkSock.Flags.ClearBit(sock.SOCK_NOSPACE)
	}
}

// svcUdpGetDestAddress notes which of our addresses the datagram was sent to, not which port; false if its control
// message does not say. The reply is sent from there.
//
// C: svc_udp_get_dest_address, net/sunrpc/svcsock.c
func svcUdpGetDestAddress(rqstp *SvcRqst, msg *sock.Msg) bool {
	switch msg.To.Family {
	case sock.AF_INET, sock.AF_INET6:
		rqstp.RqDaddr = msg.To.WithPort(rqstp.RqDaddr.Port)
		return true
	}
	return false
}

// csumPartialCopyToXdr copies a datagram into the request's own pages; false if they do not hold it.
//
// C: csum_partial_copy_to_xdr, net/sunrpc/socklib.c
func csumPartialCopyToXdr(xdr *XdrBuf, skb *sock.Skb) bool {
	b := skb.Octets()
	if uint64(len(b)) > xdr.Head.IovLen+uint64(xdr.PageLen) {
		return false
	}
	b = b[copy(xdr.Head.Bytes(), b):]
	for i := 0; len(b) > 0; i++ {
		b = b[copy(xdr.Pages[i].Data[:], b):]
	}
	return true
}

// svcUdpRecvfrom receives one datagram: its bytes, or 0 if there is none or it cannot be used. One in a single piece
// is parsed where it lies and kept until the reply is about to go out. The caller owns XPT_BUSY.
//
// Like C it accepts datagrams that are too short for an RPC header: the core then reads what lies behind them.
//
// Differs: there are no time stamps and no checksums here.
//
// C: svc_udp_recvfrom, net/sunrpc/svcsock.c
func svcUdpRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int {
	svsk := svcSockOf(rqstp.RqXprt.Load())
	serv := svsk.XptServer

	if svsk.XptFlags.TestAndClearBit(XPT_CHNGBUF) {
		// All pending requests wait in the receive buffer, and every thread may have a reply to send at once.
		size := uint32(serv.SvNrthreads.Read()+3) * serv.SvMaxMesg
		svcSockSetbufsize(svsk.SkSock, size, size)
	}

	svsk.XptFlags.ClearBit(XPT_DATA)
	var skb *sock.Skb
	msg, err := svsk.SkSock.PeekMsg()
	if err >= 0 {
		rqstp.RqAddr = msg.From
		skb, err = svsk.SkSock.RecvDatagram()
	}
	if skb == nil {
		if err != -kernel.EAGAIN {
			// It may only have been the report of an ICMP error, with data behind it.
			svsk.XptFlags.SetBit(XPT_DATA)
		}
		return 0
	}
	svsk.XptFlags.SetBit(XPT_DATA)

	arg := &rqstp.RqArg
	arg.Len = uint32(skb.Len)
	rqstp.RqProt = IPPROTO_UDP

	if !svcUdpGetDestAddress(rqstp, &msg) {
		cur.Machine().Printk("svc: received unknown control message; dropping RPC reply datagram")
		sock.FreeSkb(skb)
		return 0
	}
	length := skb.Len
	if skb.IsNonlinear() {
		if !csumPartialCopyToXdr(arg, skb) {
			sock.FreeSkb(skb)
			return 0
		}
		sock.FreeSkb(skb)
	} else {
		arg.Head = KvecPage(skb.Page, uint64(length))
		rqstp.RqXprtCtxt = skb
	}

	arg.PageBase = 0
	if uint64(length) <= arg.Head.IovLen {
		arg.Head.IovLen = uint64(length)
		arg.PageLen = 0
		rqstp.RqRespages = 1
	} else {
		arg.PageLen = uint32(uint64(length) - arg.Head.IovLen)
		rqstp.RqRespages = 1 + int(arg.PageLen+PAGE_SIZE-1)/PAGE_SIZE
	}
	rqstp.RqNextPage = rqstp.RqRespages + 1

	if serv.SvStats != nil {
		serv.SvStats.Netudpcnt.Inc()
	}
	return length
}

// svcUdpSendto sends the reply as one datagram. An ICMP error about an earlier reply is reported to the next sender,
// whose own reply is as good as ever: it tries again. XptMutex is held.
//
// C: svc_udp_sendto, net/sunrpc/svcsock.c
func svcUdpSendto(cur *kernel.Task, rqstp *SvcRqst) int {
	err := svcSendto(cur, rqstp, &rqstp.RqRes)
	if err == -kernel.ECONNREFUSED {
		err = svcSendto(cur, rqstp, &rqstp.RqRes)
	}
	return err
}

// svcUdpHasWspace reports whether the send buffer has space for twice all that is reserved and another reply. The
// socket is marked as short of space before the look, so that space that comes right after it is announced. Any
// context, takes no locks.
//
// C: svc_udp_has_wspace, net/sunrpc/svcsock.c
func svcUdpHasWspace(xprt *SvcXprt) bool {
	svsk := svcSockOf(xprt)
	svsk.SkSock.Flags.SetBit(sock.SOCK_NOSPACE)
	required := int(xprt.XptReserved.Read()) + int(xprt.XptServer.SvMaxMesg)
	if required*2 > svsk.SkSock.SockWspace() {
		return false
	}
	svsk.SkSock.Flags.ClearBit(sock.SOCK_NOSPACE)
	return true
}

// svcUdpOps is the operations of class "udp".
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
type svcUdpOps struct{ *svcSockClasses }

// XpoCreate opens a datagram transport.
//
// C: svc_udp_create, net/sunrpc/svcsock.c
func (c svcUdpOps) XpoCreate(cur *kernel.Task, serv *SvcServ, net *sock.Net, sa SockAddr, flags int) (*SvcXprt, int) {
	return svcCreateSocket(cur, c.svcSockClasses, serv, IPPROTO_UDP, net, sa, flags)
}

// XpoAccept must not be called: a datagram socket never has XPT_LISTENER.
//
// C: svc_udp_accept, net/sunrpc/svcsock.c
func (svcUdpOps) XpoAccept(cur *kernel.Task, _ *SvcXprt) *SvcXprt {
	cur.Machine().BugOn(true, "svc_udp_accept")
	return nil
}

// XpoHasWspace is svcUdpHasWspace.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoHasWspace(xprt *SvcXprt) bool { return svcUdpHasWspace(xprt) }

// XpoRecvfrom is svcUdpRecvfrom.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int { return svcUdpRecvfrom(cur, rqstp) }

// XpoSendto is svcUdpSendto.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoSendto(cur *kernel.Task, rqstp *SvcRqst) int { return svcUdpSendto(cur, rqstp) }

// XpoReleaseRqst is svcReleaseSkb.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoReleaseRqst(_ *kernel.Task, rqstp *SvcRqst) { svcReleaseSkb(rqstp) }

// XpoDetach is svcSockDetach.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoDetach(_ *kernel.Task, xprt *SvcXprt) { svcSockDetach(xprt) }

// XpoFree is svcSockFree.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoFree(_ *kernel.Task, xprt *SvcXprt) { svcSockFree(xprt) }

// XpoSecurePort is svcSockSecurePort.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoSecurePort(rqstp *SvcRqst) bool { return svcSockSecurePort(rqstp) }

// XpoAdjustWspace has nothing to do: C leaves the operation out.
//
// C: svc_udp_ops, net/sunrpc/svcsock.c
func (svcUdpOps) XpoAdjustWspace(*SvcXprt) {}

// svcUdpInit makes a datagram socket ours. Data may have come in before the callbacks were ours, hence XPT_DATA.
//
// Differs: need not ask for the destination address of datagrams (IP_PKTINFO), which the floor always tells.
//
// C: svc_udp_init, net/sunrpc/svcsock.c
func svcUdpInit(class *SvcXprtClass, svsk *SvcSock, serv *SvcServ) {
	SvcXprtInit(svsk.SkSock.Net(), class, &svsk.SvcXprt, serv)
	svsk.XptFlags.ClearBit(XPT_CACHE_AUTH)
	svsk.SkSock.SkDataReady.Store(svcUdpDataReadyCb)
	svsk.SkSock.SkWriteSpace.Store(svcWriteSpaceCb)

	// Enough for one request and its reply; adjusted to the threads at the first receive.
	svcSockSetbufsize(svsk.SkSock, 3*serv.SvMaxMesg, 3*serv.SvMaxMesg)

	svsk.XptFlags.SetBit(XPT_DATA)
	svsk.XptFlags.SetBit(XPT_CHNGBUF)
}

// svcTcpListenDataReady is called when a connection was made. A connection inherits the callback until it is
// accepted, and its data must not be taken for a connection: only a socket in state LISTEN counts. Softirq context,
// the socket's lock held.
//
// C: svc_tcp_listen_data_ready, net/sunrpc/svcsock.c
func svcTcpListenDataReady(sk *sock.Sock) {
	svsk := svcSockUser(sk)
	if sk.SkState.Read() == sock.TCP_LISTEN {
		if svsk != nil {
			svsk.XptFlags.SetBit(XPT_CONN)
			SvcXprtEnqueue(&svsk.SvcXprt)
		} else {
			sk.Machine().Printk("svc: listening socket: no user data")
		}
	}
	if sk.SkSleep.Active() {
		sk.SkSleep.WakeUpAll()
	}
}

// svcTcpStateChange is called when a connection changed its state, which can only mean that it is dying or dead.
// Softirq context, the socket's lock held.
//
// C: svc_tcp_state_change, net/sunrpc/svcsock.c
func svcTcpStateChange(sk *sock.Sock) {
	if svsk := svcSockUser(sk); svsk == nil {
		sk.Machine().Printk("svc: connected socket: no user data")
	} else {
		svsk.XptFlags.SetBit(XPT_CLOSE)
		SvcXprtEnqueue(&svsk.SvcXprt)
	}
	if sk.SkSleep.Active() {
		sk.SkSleep.WakeUpAll()
	}
}

// svcTcpDataReady is called when a connection can be read. Softirq context, the socket's lock held.
//
// C: svc_tcp_data_ready, net/sunrpc/svcsock.c
func svcTcpDataReady(sk *sock.Sock) {
	if svsk := svcSockUser(sk); svsk != nil {
		svsk.XptFlags.SetBit(XPT_DATA)
		SvcXprtEnqueue(&svsk.SvcXprt)
	}
	wakeSkSleep(sk)
}

// svcTcpAccept takes one connection from a listener: its transport, BUSY, on no list yet; nil if there is none or it
// cannot be used. XPT_CONN is cleared before the look and set again after a success, since there may be more. The
// caller owns XPT_BUSY of the listener.
//
// C: svc_tcp_accept, net/sunrpc/svcsock.c
func svcTcpAccept(cur *kernel.Task, c *svcSockClasses, xprt *SvcXprt) *SvcXprt {
	svsk := svcSockOf(xprt)
	serv := xprt.XptServer
	so := svsk.SkSock
	if so == nil {
		return nil
	}

	svsk.XptFlags.ClearBit(XPT_CONN)
	newsock, err := so.Accept()
	if err < 0 {
		switch err {
		case -kernel.ENOMEM:
			cur.Machine().Printk("%s: no more sockets!", serv.SvName)
		case -kernel.EAGAIN:
		default:
			cur.Machine().Printk("%s: accept failed (err %d)!", serv.SvName, -err)
		}
		return nil
	}
	svsk.XptFlags.SetBit(XPT_CONN)

	sin, err := newsock.GetPeerName()
	if err < 0 {
		// Reset before it was accepted, for example.
		cur.Machine().Printk("%s: peername failed (err %d)!", serv.SvName, -err)
		newsock.Release()
		return nil
	}
	newsock.SkSndtimeo = svcTcpSndtimeo

	newsvsk, err := svcSetupSocket(cur, c, serv, newsock, SVC_SOCK_ANONYMOUS|SVC_SOCK_TEMPORARY)
	if err != 0 {
		newsock.Release()
		return nil
	}
	SvcXprtSetRemote(&newsvsk.SvcXprt, sin)
	local, err := newsock.GetSockName()
	if err < 0 {
		local = SockAddr{Family: sin.Family}
	}
	SvcXprtSetLocal(&newsvsk.SvcXprt, local)

	if newsock.IsLoopback() {
		newsvsk.XptFlags.SetBit(XPT_LOCAL)
	} else {
		newsvsk.XptFlags.ClearBit(XPT_LOCAL)
	}
	if serv.SvStats != nil {
		serv.SvStats.Nettcpconn.Inc()
	}
	return &newsvsk.SvcXprt
}

// svcTcpRestorePages gives the thread the pages with the payload received so far and returns its bytes. The caller
// owns XPT_BUSY.
//
// C: svc_tcp_restore_pages, net/sunrpc/svcsock.c
func svcTcpRestorePages(svsk *SvcSock, rqstp *SvcRqst) uint32 {
	if svsk.SkDatalen == 0 {
		return 0
	}
	length := svsk.SkDatalen
	for i := range int(length+PAGE_SIZE-1) / PAGE_SIZE {
		if rqstp.RqPages[i] != nil {
			rqstp.RqPages[i].Put()
		}
		svsk.Machine().BugOn(svsk.SkPages[i] == nil, "svc_tcp_restore_pages: page missing")
		rqstp.RqPages[i] = svsk.SkPages[i]
		svsk.SkPages[i] = nil
	}
	rqstp.RqArg.Head = KvecPage(rqstp.RqPages[0], rqstp.RqArg.Head.IovLen)
	return length
}

// svcTcpSavePages takes the pages with the payload received so far away from the thread, until more of the record
// has come. The caller owns XPT_BUSY.
//
// C: svc_tcp_save_pages, net/sunrpc/svcsock.c
func svcTcpSavePages(svsk *SvcSock, rqstp *SvcRqst) {
	for i := range int(svsk.SkDatalen+PAGE_SIZE-1) / PAGE_SIZE {
		svsk.SkPages[i] = rqstp.RqPages[i]
		rqstp.RqPages[i] = nil
	}
}

// svcTcpClearPages frees the payload of a record that will never be completed. The caller owns XPT_BUSY.
//
// C: svc_tcp_clear_pages, net/sunrpc/svcsock.c
func svcTcpClearPages(svsk *SvcSock) {
	for i := range int(svsk.SkDatalen+PAGE_SIZE-1) / PAGE_SIZE {
		if svsk.Machine().WarnOnOnce(svsk.SkPages[i] == nil, "svc_tcp_clear_pages: page missing") {
			continue
		}
		svsk.SkPages[i].Put()
		svsk.SkPages[i] = nil
	}
	svsk.SkTcplen = 0
	svsk.SkDatalen = 0
}

// svcTcpRecvRecord reads the record marker, or what is missing of it, and returns the length of the current fragment;
// -EAGAIN if it is not complete or the record would be too long, for which the connection is closed. The limit holds
// for the sum over all fragments of a record and is looked at when a marker becomes complete.
//
// C: svc_tcp_recv_record, net/sunrpc/svcsock.c
func svcTcpRecvRecord(svsk *SvcSock, rqstp *SvcRqst) int {
	if svsk.SkTcplen < rpcFraghdrSize {
		want := rpcFraghdrSize - svsk.SkTcplen
		n := svcRecvfrom(rqstp, svsk, [][]byte{svsk.SkReclen[svsk.SkTcplen:]}, want)
		if n < 0 {
			return n
		}
		svsk.SkTcplen += uint32(n)
		if uint32(n) < want {
			return -kernel.EAGAIN
		}
		if svcSockReclen(svsk)+svsk.SkDatalen > svsk.XptServer.SvMaxMesg {
			svsk.Machine().Printk("RPC: fragment too large: %d", svcSockReclen(svsk))
			svsk.XptFlags.SetBit(XPT_CLOSE)
			return -kernel.EAGAIN
		}
	}
	return int(svcSockReclen(svsk))
}

// receiveCbReply takes a record that is a reply: the answer to a call that this host made over the peer's connection.
// Nothing of it goes to the service. -EAGAIN if nobody asked.
//
// Differs: no client of this cut calls back over a server's connection, so no XID is ever outstanding (ours).
//
// C: receive_cb_reply, net/sunrpc/svcsock.c
func receiveCbReply(svsk *SvcSock, rqstp *SvcRqst) int {
	bcXprt := svsk.XptBcXprt
	p := rqstp.RqArg.Head.P()
	xid, calldir := p.Get(), p.Get()
	if bcXprt == nil {
		return -kernel.EAGAIN
	}
	svsk.Machine().Printk("receive_cb_reply: Got unrecognized reply: calldir 0x%x xpt_bc_xprt %s xid %08x",
		calldir, bcXprt.Name(), xid)
	return -kernel.EAGAIN
}

// svcTcpFragmentReceived makes the transport expect the next record marker.
//
// C: svc_tcp_fragment_received, net/sunrpc/svcsock.c
func svcTcpFragmentReceived(svsk *SvcSock) {
	svsk.SkTcplen = 0
	svsk.SkReclen = [4]byte{}
}

// svcTcpRecvfrom receives from a connection: the bytes of a whole record that is a call, or 0 while there is none.
// What has come of a record so far waits in SkPages. An oversize or undersize record and an error close the
// connection; the end of the stream does not, since it is told by a state change. The caller owns XPT_BUSY.
//
// C: svc_tcp_recvfrom, net/sunrpc/svcsock.c
func svcTcpRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int {
	svsk := svcSockOf(rqstp.RqXprt.Load())
	serv := svsk.XptServer

	if n := svcTcpRecvRecord(svsk, rqstp); n < 0 {
		return svcTcpRecvError(svsk, n)
	}

	base := svcTcpRestorePages(svsk, rqstp)
	want := svcSockReclen(svsk) - (svsk.SkTcplen - rpcFraghdrSize)
	pnum := int(svsk.SkDatalen+want+PAGE_SIZE-1) / PAGE_SIZE
	rqstp.RqRespages = pnum
	rqstp.RqNextPage = pnum + 1

	n := svcPartialRecvfrom(rqstp, svsk, rqstp.RqPages[:pnum], want, base)
	if n >= 0 {
		svsk.SkTcplen += uint32(n)
		svsk.SkDatalen += uint32(n)
	}
	if n != int(want) || !svcSockFinalRec(svsk) {
		svcTcpSavePages(svsk, rqstp)
		if n < 0 && n != -kernel.EAGAIN {
			return svcTcpRecvError(svsk, n)
		}
		if n == int(want) {
			svcTcpFragmentReceived(svsk)
		}
		return 0
	}

	if svsk.SkDatalen < 8 {
		svsk.SkDatalen = 0
		return svcTcpRecvDelete(svsk, n)
	}

	arg := &rqstp.RqArg
	arg.Len = svsk.SkDatalen
	arg.PageBase = 0
	if uint64(arg.Len) <= arg.Head.IovLen {
		arg.Head.IovLen = uint64(arg.Len)
		arg.PageLen = 0
	} else {
		arg.PageLen = uint32(uint64(arg.Len) - arg.Head.IovLen)
	}

	rqstp.RqXprtCtxt = nil
	rqstp.RqProt = IPPROTO_TCP
	if svsk.XptFlags.TestBit(XPT_LOCAL) {
		rqstp.RqFlags.SetBit(RQ_LOCAL)
	} else {
		rqstp.RqFlags.ClearBit(RQ_LOCAL)
	}

	p := arg.Head.P()
	p.Get()
	if calldir := p.Get(); calldir != RPC_CALL {
		n = receiveCbReply(svsk, rqstp)
	}

	svsk.SkDatalen = 0
	svcTcpFragmentReceived(svsk)
	if n < 0 {
		return svcTcpRecvError(svsk, n)
	}

	SvcXprtCopyAddrs(rqstp, &svsk.SvcXprt)
	if serv.SvStats != nil {
		serv.SvStats.Nettcpcnt.Inc()
	}
	return int(arg.Len)
}

// svcTcpRecvError ends a receive with -errno: only -EAGAIN leaves the connection alone. Returns 0.
//
// C: svc_tcp_recvfrom (error), net/sunrpc/svcsock.c
func svcTcpRecvError(svsk *SvcSock, err int) int {
	if err != -kernel.EAGAIN {
		return svcTcpRecvDelete(svsk, err)
	}
	return 0
}

// svcTcpRecvDelete ends a receive for good: whoever owns the transport next closes it. Returns 0.
//
// C: svc_tcp_recvfrom (err_delete), net/sunrpc/svcsock.c
func svcTcpRecvDelete(svsk *SvcSock, err int) int {
	svsk.Machine().Printk("%s: recvfrom returned errno %d", svsk.XptServer.SvName, -err)
	svsk.XptFlags.SetBit(XPT_CLOSE)
	return 0
}

// svcTcpSendto sends the reply as one record of one fragment. What cannot be sent as a whole closes the connection
// and gives -EAGAIN. XptMutex is held; sleeps for space.
//
// C: svc_tcp_sendto, net/sunrpc/svcsock.c
func svcTcpSendto(cur *kernel.Task, rqstp *SvcRqst) int {
	xbufp := &rqstp.RqRes
	var reclen [4]byte
	binary.BigEndian.PutUint32(reclen[:], rpcLastStreamFragment|(xbufp.Len-4))
	copy(xbufp.Head.Bytes(), reclen[:])

	sent := svcSendto(cur, rqstp, xbufp)
	if sent != int(xbufp.Len) {
		xprt := rqstp.RqXprt.Load()
		what := "sent only"
		if sent < 0 {
			what = "got error"
		}
		cur.Machine().Printk("rpc-srv/tcp: %s: %s %d when sending %d bytes - shutting down socket",
			xprt.XptServer.SvName, what, sent, xbufp.Len)
		xprt.XptFlags.SetBit(XPT_CLOSE)
		SvcXprtEnqueue(xprt)
		sent = -kernel.EAGAIN
	}
	return sent
}

// SvcTcpPrepReplyHdr leaves room for the record marker in front of a reply.
//
// C: svc_tcp_prep_reply_hdr, net/sunrpc/svcsock.c
func SvcTcpPrepReplyHdr(rqstp *SvcRqst) {
	SvcPutnl(&rqstp.RqRes.Head, 0)
}

// svcTcpOps is the operations of class "tcp".
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
type svcTcpOps struct{ *svcSockClasses }

// XpoCreate opens a listener.
//
// C: svc_tcp_create, net/sunrpc/svcsock.c
func (c svcTcpOps) XpoCreate(cur *kernel.Task, serv *SvcServ, net *sock.Net, sa SockAddr, flags int) (*SvcXprt, int) {
	return svcCreateSocket(cur, c.svcSockClasses, serv, IPPROTO_TCP, net, sa, flags)
}

// XpoAccept is svcTcpAccept.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (c svcTcpOps) XpoAccept(cur *kernel.Task, xprt *SvcXprt) *SvcXprt {
	return svcTcpAccept(cur, c.svcSockClasses, xprt)
}

// XpoHasWspace is svcTcpHasWspace.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoHasWspace(xprt *SvcXprt) bool { return svcTcpHasWspace(xprt) }

// XpoRecvfrom is svcTcpRecvfrom.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoRecvfrom(cur *kernel.Task, rqstp *SvcRqst) int { return svcTcpRecvfrom(cur, rqstp) }

// XpoSendto is svcTcpSendto.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoSendto(cur *kernel.Task, rqstp *SvcRqst) int { return svcTcpSendto(cur, rqstp) }

// XpoReleaseRqst is svcReleaseSkb.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoReleaseRqst(_ *kernel.Task, rqstp *SvcRqst) { svcReleaseSkb(rqstp) }

// XpoDetach is svcTcpSockDetach.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoDetach(_ *kernel.Task, xprt *SvcXprt) { svcTcpSockDetach(xprt) }

// XpoFree is svcSockFree.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoFree(_ *kernel.Task, xprt *SvcXprt) { svcSockFree(xprt) }

// XpoSecurePort is svcSockSecurePort.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoSecurePort(rqstp *SvcRqst) bool { return svcSockSecurePort(rqstp) }

// XpoAdjustWspace is svcTcpAdjustWspace.
//
// C: svc_tcp_ops, net/sunrpc/svcsock.c
func (svcTcpOps) XpoAdjustWspace(xprt *SvcXprt) { svcTcpAdjustWspace(xprt) }

// svcTcpBcOps is the operations of class "tcp-bc", the place holder for a back channel that shares its fore channel's
// connection. It receives and sends nothing: in C those operations are NULL.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
type svcTcpBcOps struct{ *svcSockClasses }

// XpoCreate makes the place holder.
//
// C: svc_bc_tcp_create, net/sunrpc/svcsock.c
func (c svcTcpBcOps) XpoCreate(cur *kernel.Task, serv *SvcServ, net *sock.Net, sa SockAddr, flags int) (*SvcXprt, int) {
	return svcBcCreateSocket(cur, c.svcSockClasses, serv, IPPROTO_TCP, net)
}

// XpoAccept is NULL in C, as are the operations next to it.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoAccept(cur *kernel.Task, xprt *SvcXprt) *SvcXprt {
	xprt.Machine().BugOn(true, "tcp-bc: xpo_accept is NULL")
	return nil
}

// XpoHasWspace is NULL in C.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoHasWspace(xprt *SvcXprt) bool {
	xprt.Machine().BugOn(true, "tcp-bc: xpo_has_wspace is NULL")
	return false
}

// XpoRecvfrom is NULL in C.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoRecvfrom(_ *kernel.Task, rqstp *SvcRqst) int {
	rqstp.Machine().BugOn(true, "tcp-bc: xpo_recvfrom is NULL")
	return 0
}

// XpoSendto is NULL in C.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoSendto(_ *kernel.Task, rqstp *SvcRqst) int {
	rqstp.Machine().BugOn(true, "tcp-bc: xpo_sendto is NULL")
	return 0
}

// XpoReleaseRqst is NULL in C.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoReleaseRqst(_ *kernel.Task, rqstp *SvcRqst) {
	rqstp.Machine().BugOn(true, "tcp-bc: xpo_release_rqst is NULL")
}

// XpoDetach has nothing to take back.
//
// C: svc_bc_tcp_sock_detach, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoDetach(*kernel.Task, *SvcXprt) {}

// XpoFree is svcBcSockFree.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoFree(_ *kernel.Task, xprt *SvcXprt) { svcBcSockFree(xprt) }

// XpoSecurePort is svcSockSecurePort.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoSecurePort(rqstp *SvcRqst) bool { return svcSockSecurePort(rqstp) }

// XpoAdjustWspace has nothing to do: C leaves the operation out.
//
// C: svc_tcp_bc_ops, net/sunrpc/svcsock.c
func (svcTcpBcOps) XpoAdjustWspace(*SvcXprt) {}

// SvcInitXprtSock registers the transport classes "tcp", "udp" and "tcp-bc".
//
// C: svc_init_xprt_sock, net/sunrpc/svcsock.c
func SvcInitXprtSock(rpc *Sunrpc) {
	class := func(name string, payload uint32, ident int) *SvcXprtClass {
		xcl := kernel.StaticObj[SvcXprtClass](rpc.Machine(), "svc_xprt_class")
		xcl.XclName, xcl.XclOwner, xcl.XclMaxPayload, xcl.XclIdent = name, rpc.Module, payload, ident
		return xcl
	}
	c := &svcSockClasses{
		udp: class("udp", RPCSVC_MAXPAYLOAD_UDP, IPPROTO_UDP),
		tcp: class("tcp", RPCSVC_MAXPAYLOAD_TCP, IPPROTO_TCP),
		bc:  class("tcp-bc", RPCSVC_MAXPAYLOAD_TCP, 0),
	}
	c.udp.XclOps, c.tcp.XclOps, c.bc.XclOps = svcUdpOps{c}, svcTcpOps{c}, svcTcpBcOps{c}
	SvcRegXprtClass(rpc, c.tcp)
	SvcRegXprtClass(rpc, c.udp)
	SvcRegXprtClass(rpc, c.bc)
}

// SvcCleanupXprtSock forgets the transport classes of this file.
//
// C: svc_cleanup_xprt_sock, net/sunrpc/svcsock.c
func SvcCleanupXprtSock(rpc *Sunrpc) {
	if c := svcSockClassesOf(rpc); c != nil {
		SvcUnregXprtClass(rpc, c.tcp)
		SvcUnregXprtClass(rpc, c.udp)
		SvcUnregXprtClass(rpc, c.bc)
	}
}

// svcSockClassesOf finds the classes of this file, nil if they are not registered.
func svcSockClassesOf(rpc *Sunrpc) *svcSockClasses {
	rpc.SvcXprtClassLock.Lock()
	defer rpc.SvcXprtClassLock.Unlock()
	for xcl := rpc.SvcXprtClassList.First(); xcl != nil; xcl = rpc.SvcXprtClassList.Next(&xcl.XclList) {
		if ops, ok := xcl.XclOps.(svcTcpOps); ok {
			return ops.svcSockClasses
		}
	}
	return nil
}

// svcTcpInit makes a stream socket ours, as a listener or as a connection by its state. A connection that died before
// its callbacks were ours is closed at once.
//
// Differs: SkPages has as many entries as a record of this service fills, where C has as many as the largest can.
//
// C: svc_tcp_init, net/sunrpc/svcsock.c
func svcTcpInit(class *SvcXprtClass, svsk *SvcSock, serv *SvcServ) {
	sk := svsk.SkSock
	SvcXprtInit(sk.Net(), class, &svsk.SvcXprt, serv)
	svsk.XptFlags.SetBit(XPT_CACHE_AUTH)
	if sk.SkState.Read() == sock.TCP_LISTEN {
		svsk.XptFlags.SetBit(XPT_LISTENER)
		sk.SkDataReady.Store(svcTcpListenDataReadyCb)
		svsk.XptFlags.SetBit(XPT_CONN)
		return
	}
	sk.SkStateChange.Store(svcTcpStateChangeCb)
	sk.SkDataReady.Store(svcTcpDataReadyCb)
	sk.SkWriteSpace.Store(svcTcpWriteSpaceCb)

	svsk.SkReclen = [4]byte{}
	svsk.SkTcplen = 0
	svsk.SkDatalen = 0
	svsk.SkPages = make([]*kernel.Page, (serv.SvMaxMesg+PAGE_SIZE-1)/PAGE_SIZE)
	sk.SetNodelay()

	svsk.XptFlags.SetBit(XPT_DATA)
	if sk.SkState.Read() != sock.TCP_ESTABLISHED {
		svsk.XptFlags.SetBit(XPT_CLOSE)
	}
}

// SvcSockUpdateBufs makes the permanent transports resize their buffers: the number of threads has changed. Takes
// SvLock.
//
// C: svc_sock_update_bufs, net/sunrpc/svcsock.c
func SvcSockUpdateBufs(serv *SvcServ) {
	serv.SvLock.LockBH()
	for xprt := serv.SvPermsocks.First(); xprt != nil; xprt = serv.SvPermsocks.Next(&xprt.XptList) {
		xprt.XptFlags.SetBit(XPT_CHNGBUF)
	}
	serv.SvLock.UnlockBH()
}

// svcSetupSocket makes a transport of a socket, registered with rpcbind unless it is anonymous; BUSY, on no list.
// -ENOMEM or what the registration says; the socket is then still the caller's. Process context.
//
// The socket's user data is published before the old callbacks are saved. That is safe as long as our callbacks do not
// call the old ones.
//
// C: svc_setup_socket, net/sunrpc/svcsock.c
func svcSetupSocket(cur *kernel.Task, c *svcSockClasses, serv *SvcServ, so *sock.Sock, flags int) (*SvcSock, int) {
	svsk := kernel.Kzalloc[SvcSock](cur.Machine(), "svc_sock", kernel.GFP_KERNEL)
	if svsk == nil {
		return nil, -kernel.ENOMEM
	}
	svsk.XptContainer = svsk

	if flags&SVC_SOCK_ANONYMOUS == 0 {
		name, _ := so.GetSockName()
		if err := SvcRegister(cur, serv, so.Net(), so.SkFamily, so.SkProtocol, name.Port); err < 0 {
			kernel.Kfree(svsk)
			return nil, err
		}
	}

	so.SkUserData.Store(svsk)
	svsk.SkSock = so
	svsk.SkOstate = so.SkStateChange.Load()
	svsk.SkOdata = so.SkDataReady.Load()
	svsk.SkOwspace = so.SkWriteSpace.Load()

	if so.SkType == sock.SOCK_DGRAM {
		svcUdpInit(c.udp, svsk, serv)
	} else {
		// Enough for one request and its reply.
		svcSockSetbufsize(so, 4*serv.SvMaxMesg, 4*serv.SvMaxMesg)
		svcTcpInit(c.tcp, svsk, serv)
	}
	return svsk, 0
}

// SvcAlienSock reports whether a socket belongs to another namespace than net.
//
// C: svc_alien_sock, net/sunrpc/svcsock.c
func SvcAlienSock(net *sock.Net, so *sock.Sock) bool { return so.Net() != net }

// SvcAddsock gives a service a socket that somebody else made: a bound datagram socket or a listener. Returns its name
// and the name's length, -ENAMETOOLONG if that exceeds size bytes although the socket is in service; -EAFNOSUPPORT,
// -EPROTONOSUPPORT, -EISCONN, -ENOENT, -ENOMEM or what rpcbind says, and then the socket is still the caller's. A
// datagram socket may have a peer. The service mutex is held.
//
// Differs: takes the socket where C takes the number of an open file (no files here), and tells by its state whether
// it was ever connected: one whose connection has been reset passes; looks the classes up, which C has as static
// variables; holds a reference while it spells the name, which C does without (ours, as in SvcCreateXprt).
//
// C: svc_addsock, net/sunrpc/svcsock.c
func SvcAddsock(cur *kernel.Task, serv *SvcServ, so *sock.Sock, size int) (string, int) {
	if so.SkFamily != sock.PF_INET && so.SkFamily != sock.PF_INET6 {
		return "", -kernel.EAFNOSUPPORT
	}
	if so.SkProtocol != IPPROTO_TCP && so.SkProtocol != IPPROTO_UDP {
		return "", -kernel.EPROTONOSUPPORT
	}
	if so.SkType == sock.SOCK_STREAM {
		if state := so.SkState.Read(); state != sock.TCP_CLOSE && state != sock.TCP_LISTEN {
			return "", -kernel.EISCONN
		}
	}
	c := svcSockClassesOf(serv.SvRpc)
	if c == nil || !TryModuleGet(serv.SvRpc.Module) {
		return "", -kernel.ENOENT
	}
	svsk, err := svcSetupSocket(cur, c, serv, so, SVC_SOCK_DEFAULTS)
	if err != 0 {
		ModulePut(serv.SvRpc.Module)
		return "", err
	}
	if sin, err := so.GetSockName(); err == 0 {
		SvcXprtSetLocal(&svsk.SvcXprt, sin)
	}
	SvcXprtGet(&svsk.SvcXprt)
	SvcAddNewPermXprt(cur, serv, &svsk.SvcXprt)
	name, n := svcOneSockName(svsk, size)
	SvcXprtPut(cur, &svsk.SvcXprt)
	return name, n
}

// svcCreateSocket opens a permanent transport of protocol on address sin: a datagram socket or a listener. An IPv6
// socket does not take IPv4 requests, which come by a socket of their own. -EINVAL for an unknown protocol or family,
// or what the network or svcSetupSocket says. Process context.
//
// C: svc_create_socket, net/sunrpc/svcsock.c
func svcCreateSocket(cur *kernel.Task, c *svcSockClasses, serv *SvcServ, protocol int, net *sock.Net, sin SockAddr,
	flags int) (*SvcXprt, int) {
	if protocol != IPPROTO_UDP && protocol != IPPROTO_TCP {
		cur.Machine().Printk("svc: only UDP and TCP sockets supported")
		return nil, -kernel.EINVAL
	}
	typ := sock.SOCK_STREAM
	if protocol == IPPROTO_UDP {
		typ = sock.SOCK_DGRAM
	}
	if sin.Family != sock.AF_INET && sin.Family != sock.AF_INET6 {
		return nil, -kernel.EINVAL
	}

	so, err := sock.Create(cur, net, sin.Family, typ, protocol)
	if err < 0 {
		return nil, err
	}
	var newsin SockAddr
	if err = so.Bind(sin); err == 0 {
		newsin, err = so.GetSockName()
	}
	if err == 0 && protocol == IPPROTO_TCP {
		err = so.Listen(svcListenBacklog)
	}
	var svsk *SvcSock
	if err == 0 {
		svsk, err = svcSetupSocket(cur, c, serv, so, flags)
	}
	if err != 0 {
		so.Release()
		return nil, err
	}
	SvcXprtSetLocal(&svsk.SvcXprt, newsin)
	return &svsk.SvcXprt, 0
}

// svcSockDetach puts the socket's old callbacks back. A callback that is running meanwhile may still be ours: it ends
// before svcSockFree has closed the socket. The caller owns XPT_BUSY.
//
// C: svc_sock_detach, net/sunrpc/svcsock.c
func svcSockDetach(xprt *SvcXprt) {
	svsk := svcSockOf(xprt)
	sk := svsk.SkSock
	sk.SkStateChange.Store(svsk.SkOstate)
	sk.SkDataReady.Store(svsk.SkOdata)
	sk.SkWriteSpace.Store(svsk.SkOwspace)
	wakeSkSleep(sk)
}

// svcTcpSockDetach takes a connection off the network: callbacks, half received record, both directions. The caller
// owns XPT_BUSY.
//
// C: svc_tcp_sock_detach, net/sunrpc/svcsock.c
func svcTcpSockDetach(xprt *SvcXprt) {
	svsk := svcSockOf(xprt)
	svcSockDetach(xprt)
	if !xprt.XptFlags.TestBit(XPT_LISTENER) {
		svcTcpClearPages(svsk)
		svsk.SkSock.Shutdown(sock.SHUT_RDWR)
	}
}

// svcSockFree closes the socket and frees the transport; the last reference is gone. Closing waits for a callback that
// is running, so that none sees the freed transport.
//
// C: svc_sock_free, net/sunrpc/svcsock.c
func svcSockFree(xprt *SvcXprt) {
	svsk := svcSockOf(xprt)
	svsk.SkSock.Release()
	kernel.Kfree(svsk)
}

// svcBcCreateSocket makes the place holder transport of a back channel and tells the service, which serves its own
// list of requests from then on. -EINVAL, -ENOMEM.
//
// Differs: notes that there is a back channel, where 3.19 points to the place holder (d4b09acf924b).
//
// C: svc_bc_create_socket, net/sunrpc/svcsock.c
func svcBcCreateSocket(cur *kernel.Task, c *svcSockClasses, serv *SvcServ, protocol int,
	net *sock.Net) (*SvcXprt, int) {
	if protocol != IPPROTO_TCP {
		cur.Machine().Printk("svc: only TCP sockets supported on shared back channel")
		return nil, -kernel.EINVAL
	}
	svsk := kernel.Kzalloc[SvcSock](cur.Machine(), "svc_sock", kernel.GFP_KERNEL)
	if svsk == nil {
		return nil, -kernel.ENOMEM
	}
	svsk.XptContainer = svsk
	SvcXprtInit(net, c.bc, &svsk.SvcXprt, serv)
	serv.SvBcEnabled.Set(1)
	return &svsk.SvcXprt, 0
}

// svcBcSockFree frees the place holder.
//
// C: svc_bc_sock_free, net/sunrpc/svcsock.c
func svcBcSockFree(xprt *SvcXprt) {
	kernel.Kfree(svcSockOf(xprt))
}
