// SPDX-License-Identifier: MIT

// Package sock is struct socket and struct sock as a kernel server sees them: replaceable callbacks that run in
// softirq context, user data, a receive queue, a send buffer with finite space, states, a backlog. One API stands
// above two networks: one in memory, which both back ends of the floor can run and which is deterministic in sim,
// and the real loopback interface of this host, for the free back end.
//
// C keeps struct socket and struct sock apart; a server always has both or none, so Sock is the two together.
package sock

import "github.com/seed17199236/svcfuzz/target/kernel"

// States of a TCP socket. C: include/net/tcp_states.h
const (
	TCP_ESTABLISHED = 1
	TCP_SYN_SENT    = 2
	TCP_SYN_RECV    = 3
	TCP_FIN_WAIT1   = 4
	TCP_FIN_WAIT2   = 5
	TCP_TIME_WAIT   = 6
	TCP_CLOSE       = 7
	TCP_CLOSE_WAIT  = 8
	TCP_LAST_ACK    = 9
	TCP_LISTEN      = 10
	TCP_CLOSING     = 11
)

// Directions for Shutdown, and what SkShutdown collects. C: enum sock_shutdown_cmd, RCV_SHUTDOWN, SEND_SHUTDOWN
const (
	SHUT_RD   = 0
	SHUT_WR   = 1
	SHUT_RDWR = 2

	rcvShutdown  = 1
	sendShutdown = 2
	shutdownMask = 3
)

// Flags for the message calls.
const (
	MSG_PEEK     = 0x02
	MSG_DONTWAIT = 0x40
	MSG_MORE     = 0x8000
)

// Bits of Sock.Flags. C: include/linux/net.h
const (
	SOCK_NOSPACE = 2 // somebody waits for space to write
)

var sockFlagNames = []string{"SOCK_ASYNC_NOSPACE", "SOCK_ASYNC_WAITDATA", "SOCK_NOSPACE"}

// Buffer sizes at birth, in octets. C: tcp_wmem[1], tcp_rmem[1], the rmem_default and wmem_default sysctls
const (
	tcpSndbuf = 16384
	tcpRcvbuf = 87380
	udpBuf    = 212992
)

// skbOverhead is what a queued datagram is charged on top of its octets, so that empty ones fill a buffer as well.
const skbOverhead = 512

// Callback is what a socket calls when something happened to it. It runs with the socket's lock held, in softirq
// context but for the SkWriteSpace of SetSndRcvBuf; it must not sleep or call a method of Sock that takes the lock
// (all but the cells and the Sk... queries).
type Callback struct {
	Name string
	Fn   func(sk *Sock)
}

// slotSize bounds how many different values one Slot sees in its life.
const slotSize = 6

// Slot is a pointer-like field that C writes without a lock while softirqs read it: a callback, the user data. One
// Load or Store is one visible operation. Writers are serialised by the caller; a Slot takes at most six different
// values.
type Slot[T comparable] struct {
	sel kernel.Atomic // index into tab
	tab [slotSize]T   // an entry is written once, before sel first points to it
	n   int           // entries in use; the writer's
}

func (s *Slot[T]) init(o *kernel.Obj, name string, v T) {
	s.sel.Init(o, name)
	s.tab[0], s.n = v, 1
}

// Load reads the field. Any context.
func (s *Slot[T]) Load() T { return s.tab[s.sel.Read()] }

// Store writes the field. Any context; one writer at a time.
func (s *Slot[T]) Store(v T) {
	for i := range s.n {
		if s.tab[i] == v {
			s.sel.Set(int64(i))
			return
		}
	}
	if s.n == slotSize {
		panic("SVCFUZZ BUG: a sock.Slot holds at most six different values")
	}
	s.tab[s.n] = v
	s.n++
	s.sel.Set(int64(s.n - 1))
}

// Peek reads the field without a visible operation, for oracles.
func (s *Slot[T]) Peek() T { return s.tab[s.sel.Peek()] }

// Sock is a socket.
type Sock struct {
	kernel.Obj

	// Given at birth.
	SkFamily   int
	SkType     int
	SkProtocol int

	// Cells.
	SkState       kernel.Atomic   // TCP_*; changed under the lock, read without
	SkStateChange Slot[*Callback] // the state became another
	SkDataReady   Slot[*Callback] // something arrived: octets, a datagram, a connection, a FIN
	SkWriteSpace  Slot[*Callback] // there is space to write again
	SkUserData    Slot[any]       // the callbacks' owner
	Flags         kernel.Flags    // SOCK_*
	SkSndbuf      kernel.Atomic   // octets; changed under the lock, read without
	SkWmemQueued  kernel.Atomic   // octets sent that still occupy the send buffer; as above
	SkSleep       kernel.WaitQueueHead

	// SkSndtimeo bounds how long SendMsg and SendPage wait for space. Set before the socket is shared.
	SkSndtimeo kernel.Jiffies

	net    *Net
	bh     kernel.Softirq
	direct bool // events wake SkSleep at once and call nothing: the ends that tests and scenarios hold

	// lk guards the queues and the state: in memory the connection's lock, which both ends share, the namespace's for a
	// datagram socket, and own for the rest. cb is held around callbacks: lk, except that a datagram can be received
	// while its data_ready runs.
	lk  *kernel.Spinlock
	cb  *kernel.Spinlock
	own kernel.Spinlock

	// Life. An event that was raised keeps the memory of the socket until it ran.
	raised   int  // lk: events raised
	done     int  // cb: events over
	released bool // cb: the owner is gone
	freeAt   int  // cb: when released, the value of done at which the memory goes

	local, remote Addr // Bind, connect; constant afterwards
	skErr         int  // lk: a positive errno that the next call reports
	skShutdown    int  // lk
	skRcvbuf      int  // lk; octets

	// A datagram under construction. C: the cork of an inet_sock
	corked bool // lk
	cork   []byte
	corkTo Msg

	mem  memSock
	real *realSock
}

// Msg is what goes with octets: where a datagram comes from and where it goes. On a socket that is being read, To is
// the local address that the peer used; when sending, From is the local address to use (its port is ignored) and the
// zero Addr leaves the choice to the network.
type Msg struct {
	From, To Addr
}

// Skb is one received datagram. C: struct sk_buff
type Skb struct {
	kernel.Obj
	Msg
	Len  int          // octets
	Page *kernel.Page // the datagram, if it fits into a page; what follows it on the page is stale
	Frag []byte       // the datagram, if it does not
}

// IsNonlinear reports whether the datagram is not in one piece that can be parsed in place. C: skb_is_nonlinear
func (skb *Skb) IsNonlinear() bool { return skb.Page == nil }

// Octets is the datagram. The slice aliases its storage.
func (skb *Skb) Octets() []byte {
	if skb.Page != nil {
		return skb.Page.Data[:skb.Len]
	}
	return skb.Frag
}

// newSkb copies b into a datagram of its own; nil without memory. Any context.
func newSkb(m *kernel.Machine, msg Msg, b []byte) *Skb {
	skb := kernel.Kzalloc[Skb](m, "sk_buff", kernel.GFP_ATOMIC)
	if skb == nil {
		return nil
	}
	skb.Msg, skb.Len = msg, len(b)
	if len(b) > kernel.PageSize {
		skb.Frag = append([]byte(nil), b...)
		return skb
	}
	if skb.Page = m.AllocPage(kernel.GFP_ATOMIC); skb.Page == nil {
		kernel.Kfree(skb)
		return nil
	}
	copy(skb.Page.Data[:], b)
	return skb
}

// FreeSkb gives a received datagram back. Any context; nil is allowed. C: skb_free_datagram_locked
func FreeSkb(skb *Skb) {
	if skb == nil {
		return
	}
	if skb.Page != nil {
		skb.Page.Put()
	}
	kernel.Kfree(skb)
}

// network is what an implementation provides below Sock. Results are -errno as in C. No method sleeps but connect.
// sendDgram is called with lk held.
type network interface {
	create(sk *Sock) int
	bind(sk *Sock, a Addr) int
	listen(sk *Sock, backlog int) int
	connect(cur *kernel.Task, sk *Sock, to Addr) int
	accept(sk *Sock) (*Sock, int)
	recv(sk *Sock, iov [][]byte, peek bool) int
	recvDgram(sk *Sock) (*Skb, int)
	peekDgram(sk *Sock) (Msg, int)
	send(sk *Sock, b []byte, more bool) int
	sendDgram(sk *Sock, msg Msg, b []byte) int
	shutdown(sk *Sock, how int) int
	setbufs(sk *Sock, snd, rcv int)
	nodelay(sk *Sock)
	wmem(sk *Sock) int
	// release detaches the socket from the network, abortively if asked to, and ends in sk.retire.
	release(sk *Sock, abort bool)
	free(net *Net)
	awaitPort(cur *kernel.Task, net *Net, protocol int, port uint16, timeout kernel.Jiffies) int
}

// newSock makes a socket with the default callbacks, or those of the listener it is born from.
func newSock(net *Net, family, typ, protocol int, parent *Sock, gfp kernel.GFP) *Sock {
	sk := kernel.Kzalloc[Sock](net.Machine(), "sock", gfp)
	if sk == nil {
		return nil
	}
	sk.SkFamily, sk.SkType, sk.SkProtocol, sk.net = family, typ, protocol, net
	o := &sk.Obj
	sk.SkState.Init(o, "sk_state")
	space, name := sockDefWriteSpace, "udp"
	if typ == SOCK_STREAM {
		space, name = skStreamWriteSpace, "tcp"
	}
	if parent != nil {
		sk.SkStateChange.init(o, "sk_state_change", parent.SkStateChange.Load())
		sk.SkDataReady.init(o, "sk_data_ready", parent.SkDataReady.Load())
		sk.SkWriteSpace.init(o, "sk_write_space", parent.SkWriteSpace.Load())
		sk.SkUserData.init(o, "sk_user_data", parent.SkUserData.Load())
		sk.direct = parent.direct
	} else {
		sk.SkStateChange.init(o, "sk_state_change", sockDefWakeup)
		sk.SkDataReady.init(o, "sk_data_ready", sockDefReadable)
		sk.SkWriteSpace.init(o, "sk_write_space", space)
		sk.SkUserData.init(o, "sk_user_data", nil)
	}
	sk.Flags.Init(o, "sock_flags", sockFlagNames)
	sk.SkSndbuf.Init(o, "sk_sndbuf")
	sk.SkWmemQueued.Init(o, "sk_wmem_queued")
	sk.SkSleep.Init(o, "sk_sleep")
	sk.SkSndtimeo = kernel.MaxScheduleTimeout
	sk.bh.Init(o, name)
	sk.own.Init(o, "sk_lock")
	sk.lk, sk.cb = &sk.own, &sk.own
	if typ == SOCK_STREAM {
		sk.SkSndbuf.Preset(tcpSndbuf)
		sk.skRcvbuf = tcpRcvbuf
	} else {
		sk.SkSndbuf.Preset(udpBuf)
		sk.skRcvbuf = udpBuf
	}
	sk.SkState.Preset(TCP_CLOSE)
	return sk
}

// Create makes an unbound socket in net. Process context. -EAFNOSUPPORT, -EPROTONOSUPPORT, -ENOMEM, or what the real
// network says.
//
// C: __sock_create, net/socket.c
func Create(cur *kernel.Task, net *Net, family, typ, protocol int) (*Sock, int) {
	if family != AF_INET && (family != AF_INET6 || net.NoIPv6) {
		return nil, -kernel.EAFNOSUPPORT
	}
	if !(typ == SOCK_STREAM && protocol == IPPROTO_TCP) && !(typ == SOCK_DGRAM && protocol == IPPROTO_UDP) {
		return nil, -kernel.EPROTONOSUPPORT
	}
	sk := newSock(net, family, typ, protocol, nil, kernel.GFP_KERNEL)
	if sk == nil {
		return nil, -kernel.ENOMEM
	}
	if err := net.impl.create(sk); err != 0 {
		kernel.Kfree(sk)
		return nil, err
	}
	return sk, 0
}

// alive makes the use of a freed socket a finding.
func (sk *Sock) alive() {
	if sk.Freed() {
		sk.SkState.Read()
	}
}

// Net is the network namespace of the socket. C: sock_net
func (sk *Sock) Net() *Net { return sk.net }

// Bind gives the socket a local address; port 0 lets the network choose. -EADDRINUSE, -EAFNOSUPPORT, -EINVAL.
//
// C: kernel_bind, net/socket.c
func (sk *Sock) Bind(a Addr) int {
	sk.alive()
	if a.Family != sk.SkFamily {
		return -kernel.EAFNOSUPPORT
	}
	if sk.net.Machine().AllocFails("bind") {
		return -kernel.EADDRINUSE
	}
	return sk.net.impl.bind(sk, a)
}

// Listen makes a bound stream socket a listener with room for backlog connections.
//
// C: kernel_listen, net/socket.c
func (sk *Sock) Listen(backlog int) int {
	sk.alive()
	if sk.SkType != SOCK_STREAM {
		return -kernel.EOPNOTSUPP
	}
	if sk.net.Machine().AllocFails("listen") {
		return -kernel.EADDRINUSE
	}
	return sk.net.impl.listen(sk, backlog)
}

// Connect connects the socket and, for a stream, waits for the connection. -ECONNREFUSED, -ETIMEDOUT, -EISCONN.
//
// C: kernel_connect, net/socket.c
func (sk *Sock) Connect(cur *kernel.Task, to Addr) int {
	sk.alive()
	if to.Family != sk.SkFamily {
		return -kernel.EAFNOSUPPORT
	}
	return sk.net.impl.connect(cur, sk, to)
}

// Accept takes the oldest waiting connection. It does not wait: -EAGAIN if there is none. The new socket has the
// listener's callbacks and user data until its owner puts in others.
//
// C: kernel_accept with O_NONBLOCK, net/socket.c
func (sk *Sock) Accept() (*Sock, int) {
	sk.alive()
	return sk.net.impl.accept(sk)
}

// RecvMsg reads octets of a stream into iov, in order. It does not wait: -EAGAIN if there are none, 0 at the end of
// the stream. With MSG_PEEK the octets stay.
//
// C: kernel_recvmsg with MSG_DONTWAIT, net/socket.c
func (sk *Sock) RecvMsg(iov [][]byte, flags int) int {
	sk.alive()
	return sk.net.impl.recv(sk, iov, flags&MSG_PEEK != 0)
}

// PeekMsg looks at the addresses of the oldest datagram and leaves it queued; 0 or -errno: -EAGAIN if there is none,
// or an error that an earlier send met.
//
// C: kernel_recvmsg with MSG_PEEK and no buffer, net/socket.c
func (sk *Sock) PeekMsg() (Msg, int) {
	sk.alive()
	return sk.net.impl.peekDgram(sk)
}

// RecvDatagram takes the oldest datagram, which the caller gives back with FreeSkb. It does not wait; errors as
// PeekMsg.
//
// C: skb_recv_datagram, net/core/datagram.c
func (sk *Sock) RecvDatagram() (*Skb, int) {
	sk.alive()
	return sk.net.impl.recvDgram(sk)
}

// SendMsg sends octets. On a stream it waits up to SkSndtimeo for space unless MSG_DONTWAIT is given, and returns the
// octets taken, less than asked after a timeout; or -EAGAIN, -EPIPE, -ECONNRESET, -EINTR. On a datagram socket msg
// says where to; with MSG_MORE the datagram stays open for SendPage.
//
// C: sock_sendmsg, net/socket.c
func (sk *Sock) SendMsg(cur *kernel.Task, msg Msg, b []byte, flags int) int {
	sk.alive()
	if sk.SkType == SOCK_STREAM {
		return sk.sendStream(cur, b, flags)
	}
	return sk.sendCork(msg, b, flags)
}

// SendPage appends b to the stream, or to the datagram that SendMsg began. Without MSG_MORE it is the last piece and
// everything goes out. Results as SendMsg.
//
// C: kernel_sendpage, net/socket.c
func (sk *Sock) SendPage(cur *kernel.Task, b []byte, flags int) int {
	sk.alive()
	if sk.SkType == SOCK_STREAM {
		return sk.sendStream(cur, b, flags)
	}
	return sk.sendCork(Msg{To: sk.remote}, b, flags)
}

// maxDatagram is the most that an UDP datagram over IPv4 carries, in octets.
const maxDatagram = 65507

// sendCork adds b to the datagram under construction, which msg begins if there is none, and sends it unless more is
// announced.
func (sk *Sock) sendCork(msg Msg, b []byte, flags int) int {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	if !sk.corked {
		sk.corked, sk.corkTo, sk.cork = true, msg, sk.cork[:0]
	}
	if len(sk.cork)+len(b) > maxDatagram {
		sk.corked = false
		return -kernel.EMSGSIZE
	}
	sk.cork = append(sk.cork, b...)
	if flags&MSG_MORE != 0 {
		return len(b)
	}
	msg, sk.corked = sk.corkTo, false
	if errno := sk.skErr; errno != 0 {
		sk.skErr = 0
		return -errno
	}
	if msg.To.Family == AF_UNSPEC {
		msg.To = sk.remote
	}
	if msg.To.Family != sk.SkFamily || msg.To.Port == 0 {
		return -kernel.EINVAL
	}
	if res := sk.net.impl.sendDgram(sk, msg, sk.cork); res < 0 {
		return res
	}
	return len(b)
}

func (sk *Sock) sendStream(cur *kernel.Task, b []byte, flags int) int {
	more, timeo, sent := flags&MSG_MORE != 0, sk.SkSndtimeo, 0
	try := func() (res int, over bool) {
		n := sk.net.impl.send(sk, b[sent:], more)
		if n >= 0 {
			sent += n
			return sent, sent == len(b)
		}
		if n == -kernel.EAGAIN && flags&MSG_DONTWAIT == 0 && timeo > 0 {
			return 0, false
		}
		if sent > 0 {
			return sent, true
		}
		return n, true
	}
	for {
		if res, over := try(); over {
			return res
		}
		// Announce the wait first and look again: space that comes between the look and the sleep must wake us.
		var wait kernel.WaitEntry
		sk.SkSleep.PrepareToWait(cur, &wait, kernel.TASK_INTERRUPTIBLE)
		sk.Flags.SetBit(SOCK_NOSPACE)
		before := sent
		res, over := try()
		if !over && sent == before {
			timeo = kernel.ScheduleTimeout(cur, timeo)
		}
		sk.SkSleep.FinishWait(cur, &wait)
		if over {
			return res
		}
		if cur.SignalPending() {
			if sent > 0 {
				return sent
			}
			return -kernel.EINTR
		}
	}
}

// GetSockName is the local address. C: kernel_getsockname, net/socket.c
func (sk *Sock) GetSockName() (Addr, int) {
	sk.alive()
	if sk.local.Family == AF_UNSPEC {
		return AnyAddr(sk.SkFamily, 0), 0
	}
	return sk.local, 0
}

// GetPeerName is the address of the peer, -ENOTCONN if there is none (any more).
//
// C: kernel_getpeername, net/socket.c
func (sk *Sock) GetPeerName() (Addr, int) {
	sk.alive()
	if sk.remote.Family == AF_UNSPEC {
		return Addr{}, -kernel.ENOTCONN
	}
	if sk.SkType == SOCK_STREAM {
		if st := sk.SkState.Read(); st == TCP_CLOSE || st == TCP_SYN_SENT {
			return Addr{}, -kernel.ENOTCONN
		}
	}
	return sk.remote, 0
}

// IsLoopback reports whether the peer is this host. C: sock_is_loopback
func (sk *Sock) IsLoopback() bool { return sk.remote.IsLoopback() || sk.remote.SameIP(sk.local) }

// Shutdown ends one or both directions of a connection; the peer is told by a FIN. -ENOTCONN if there is none.
//
// C: kernel_sock_shutdown, net/socket.c
func (sk *Sock) Shutdown(how int) int {
	sk.alive()
	if sk.SkType != SOCK_STREAM {
		return -kernel.ENOTCONN
	}
	return sk.net.impl.shutdown(sk, how)
}

// SetSndRcvBuf sizes the buffers: each becomes twice the octets asked for, and SkWriteSpace is called in the caller's
// context, as the server's own resizing does it.
//
// C: svc_sock_setbufsize, net/sunrpc/svcsock.c (its body works on struct sock)
func (sk *Sock) SetSndRcvBuf(snd, rcv int) {
	sk.alive()
	sk.net.impl.setbufs(sk, snd, rcv)
	sk.cb.LockBH()
	sk.SkWriteSpace.Load().Fn(sk)
	sk.cb.UnlockBH()
}

// SetNodelay makes a connection send what it is given at once, however little it is. C: TCP_NAGLE_OFF, net/ipv4/tcp.c
func (sk *Sock) SetNodelay() {
	sk.alive()
	sk.net.impl.nodelay(sk)
}

// SockWspace is the free space of a datagram socket's send buffer in octets. Any context, no locks.
//
// C: sock_wspace, include/net/sock.h
func (sk *Sock) SockWspace() int {
	return max(int(sk.SkSndbuf.Read())-sk.net.impl.wmem(sk), 0)
}

// SkStreamWspace is the free space of a stream's send buffer in octets; it may be negative. Any context, no locks.
//
// C: sk_stream_wspace, include/net/sock.h
func (sk *Sock) SkStreamWspace() int { return int(sk.SkSndbuf.Read()) - sk.net.impl.wmem(sk) }

// SkStreamMinWspace is how much space makes a writer worth waking. Any context, no locks.
//
// C: sk_stream_min_wspace, include/net/sock.h
func (sk *Sock) SkStreamMinWspace() int { return sk.net.impl.wmem(sk) >> 1 }

// SkStreamIsWriteable reports whether a third of the send buffer is free. Any context, no locks.
//
// C: sk_stream_is_writeable, include/net/sock.h
func (sk *Sock) SkStreamIsWriteable() bool {
	wmem := sk.net.impl.wmem(sk)
	return int(sk.SkSndbuf.Read())-wmem >= wmem>>1
}

// Release closes the socket: what was not read makes the peer see a reset, otherwise it sees a FIN. When it returns
// no callback runs or will run. The memory goes at once, or with the last event still under way.
//
// C: sock_release, net/socket.c
func (sk *Sock) Release() {
	sk.alive()
	sk.net.impl.release(sk, false)
}

// event tells the socket's owner that something happened. lk is held.
func (sk *Sock) event(ev event) {
	if sk.direct {
		sk.SkSleep.WakeUpAll()
		return
	}
	sk.raised++
	sk.bh.Raise(func() { sk.softirq(ev) })
}

// event says which callbacks are due.
type event uint8

const (
	evData  event = iota // something to read
	evFin                // the peer ended its direction: a state change, and the end of the stream can be read
	evState              // reset or connected
	evSpace              // space to write
)

// softirq runs the callbacks of one event. Softirq context.
func (sk *Sock) softirq(ev event) {
	cb := sk.cb
	cb.LockBH()
	if !sk.released {
		switch ev {
		case evData:
			sk.SkDataReady.Load().Fn(sk)
		case evFin:
			sk.SkStateChange.Load().Fn(sk)
			sk.SkDataReady.Load().Fn(sk)
		case evState:
			sk.SkStateChange.Load().Fn(sk)
		case evSpace:
			sk.SkWriteSpace.Load().Fn(sk)
		}
	}
	sk.done++
	sk.unlockAndFree(cb, sk.released && sk.done == sk.freeAt)
}

// retire ends the socket's life when its owner has let go: nothing raises events any more (raised is final), and cb
// is held; it is dropped here.
func (sk *Sock) retire(raised int) {
	sk.released, sk.freeAt = true, raised
	sk.unlockAndFree(sk.cb, sk.done == raised)
}

// unlockAndFree drops cb and then frees the memory if asked to.
func (sk *Sock) unlockAndFree(cb *kernel.Spinlock, free bool) {
	pair := sk.mem.pair
	last := false
	if free && pair != nil {
		pair.socks--
		last = pair.socks == 0
	}
	cb.UnlockBH()
	if free {
		kernel.Kfree(sk)
	}
	if last {
		kernel.Kfree(pair)
	}
}

// The callbacks of a socket that no server has taken over.
var (
	sockDefWakeup = &Callback{"sock_def_wakeup", func(sk *Sock) {
		if sk.SkSleep.Active() {
			sk.SkSleep.WakeUpAll()
		}
	}}
	sockDefReadable = &Callback{"sock_def_readable", func(sk *Sock) {
		if sk.SkSleep.Active() {
			sk.SkSleep.WakeUp()
		}
	}}
	sockDefWriteSpace = &Callback{"sock_def_write_space", func(sk *Sock) {
		if sk.net.impl.wmem(sk)<<1 <= int(sk.SkSndbuf.Read()) && sk.SkSleep.Active() {
			sk.SkSleep.WakeUp()
		}
	}}
	skStreamWriteSpace = &Callback{"sk_stream_write_space", func(sk *Sock) {
		if sk.SkStreamIsWriteable() {
			sk.Flags.ClearBit(SOCK_NOSPACE)
			if sk.SkSleep.Active() {
				sk.SkSleep.WakeUp()
			}
		}
	}}
)
