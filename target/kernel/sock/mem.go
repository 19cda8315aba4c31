// SPDX-License-Identifier: MIT

package sock

import "github.com/seed17199236/svcfuzz/target/kernel"

// The network in memory. A packet is in its receiver's queue the moment it is sent, and the receiver is told about it
// in softirq context some time later. Nothing is lost on the way but what finds no socket, no memory or no room.
//
// Locks: Net.lock, which guards the ports and everything about datagrams, is taken before the lock of a listener. Both
// ends of a connection share one lock.
type memNet struct{}

// memSock is what the network in memory keeps in a socket.
type memSock struct {
	hashed bool // bound: found by Net.lookup

	// Connections. Constant once connected.
	pair *tcpPair
	side int

	// Listeners. lk
	acceptq []*Sock
	backlog int

	// Datagram sockets. Net.lock
	rx   []*Skb
	rmem int // octets charged for rx
}

// tcpPair is a connection: its two ends and the octets between them.
type tcpPair struct {
	kernel.Obj
	lock  kernel.Spinlock
	end   [2]*Sock  // nil once that end was released; lock
	q     [2][]byte // octets for end[i] that it has not read; lock
	socks int       // sockets whose memory has not gone; lock
}

// portKey names a port of a namespace.
type portKey struct {
	family   int
	protocol int
	port     uint16
}

// The ports the network chooses from. C: ip_local_port_range
const (
	firstPort = 32768
	lastPort  = 60999
)

// synRetries bounds how often a connection that found the backlog full is tried again; the waits are 1, 2, 4... s.
// C: tcp_syn_retries
const synRetries = 6

func (memNet) create(sk *Sock) int {
	if sk.SkType == SOCK_DGRAM {
		sk.lk = &sk.net.lock
	}
	return 0
}

func (memNet) free(net *Net) {
	net.Machine().WarnOnOnce(len(net.held) != 0, "network namespace freed with datagrams under way")
}

// lookup finds who gets a packet for local address to, which comes from from. Net.lock is held.
func (net *Net) lookup(protocol int, from, to Addr) *Sock {
	var wild *Sock
	for _, sk := range net.ports[portKey{to.Family, protocol, to.Port}] {
		if sk.remote.Family != AF_UNSPEC && sk.remote != from {
			continue
		}
		if sk.local.SameIP(to) {
			return sk
		}
		if sk.local.IsAny() && wild == nil {
			wild = sk
		}
	}
	return wild
}

// portTaken reports whether a cannot be bound besides what is bound. Net.lock is held.
func (net *Net) portTaken(protocol int, a Addr) bool {
	for _, sk := range net.ports[portKey{a.Family, protocol, a.Port}] {
		if a.IsAny() || sk.local.IsAny() || sk.local.SameIP(a) {
			return true
		}
	}
	return false
}

// freePort chooses a port for a. Net.lock is held.
func (net *Net) freePort(protocol int, a Addr) (uint16, bool) {
	for range lastPort - firstPort + 1 {
		port := net.next
		if net.next++; net.next > lastPort {
			net.next = firstPort
		}
		if !net.portTaken(protocol, a.WithPort(port)) {
			return port, true
		}
	}
	return 0, false
}

func (memNet) bind(sk *Sock, a Addr) int {
	if sk.local.Family != AF_UNSPEC {
		return -kernel.EINVAL
	}
	net := sk.net
	net.lock.LockBH()
	defer net.lock.UnlockBH()
	if a.Port == 0 {
		port, ok := net.freePort(sk.SkProtocol, a)
		if !ok {
			return -kernel.EADDRINUSE
		}
		a.Port = port
	} else if net.portTaken(sk.SkProtocol, a) {
		return -kernel.EADDRINUSE
	}
	sk.local, sk.mem.hashed = a, true
	key := portKey{a.Family, sk.SkProtocol, a.Port}
	net.ports[key] = append(net.ports[key], sk)
	if net.await > 0 {
		net.awaitq.WakeUpAll()
	}
	return 0
}

func (memNet) awaitPort(cur *kernel.Task, net *Net, protocol int, port uint16, timeout kernel.Jiffies) int {
	served := func() bool {
		for _, family := range []int{AF_INET, AF_INET6} {
			for _, sk := range net.ports[portKey{family, protocol, port}] {
				if protocol == IPPROTO_UDP || sk.SkState.Peek() == TCP_LISTEN {
					return true
				}
			}
		}
		return false
	}
	net.lock.LockBH()
	net.await++
	for !served() && timeout > 0 {
		// Only an unserved port is waited for, and a bind that comes after the look finds this task on the queue.
		var wait kernel.WaitEntry
		net.lock.UnlockBH()
		net.awaitq.PrepareToWait(cur, &wait, kernel.TASK_UNINTERRUPTIBLE)
		net.lock.LockBH()
		found := served()
		net.lock.UnlockBH()
		if !found {
			timeout = kernel.ScheduleTimeout(cur, timeout)
		}
		net.awaitq.FinishWait(cur, &wait)
		net.lock.LockBH()
	}
	net.await--
	res := 0
	if !served() {
		res = -kernel.ETIMEDOUT
	}
	net.lock.UnlockBH()
	return res
}

// unhash takes the socket's port back and forgets its held datagrams: nobody finds it any more. Net.lock is held.
func (net *Net) unhash(sk *Sock) {
	if !sk.mem.hashed {
		return
	}
	key := portKey{sk.local.Family, sk.SkProtocol, sk.local.Port}
	if list := without(net.ports[key], sk); len(list) > 0 {
		net.ports[key] = list
	} else {
		delete(net.ports, key)
	}
	kept := net.held[:0]
	for _, h := range net.held {
		if h.sk != sk {
			kept = append(kept, h)
		}
	}
	net.held = kept
}

func without(list []*Sock, sk *Sock) []*Sock {
	for i, x := range list {
		if x == sk {
			return append(list[:i:i], list[i+1:]...)
		}
	}
	return list
}

func (memNet) listen(sk *Sock, backlog int) int {
	if sk.mem.pair != nil || !sk.mem.hashed {
		return -kernel.EINVAL
	}
	net := sk.net
	net.lock.LockBH()
	sk.lk.LockBH()
	sk.mem.backlog = backlog
	sk.SkState.Set(TCP_LISTEN)
	sk.lk.UnlockBH()
	if net.await > 0 {
		net.awaitq.WakeUpAll()
	}
	net.lock.UnlockBH()
	return 0
}

// connect gives the socket a peer. A stream that finds no listener is refused; one that finds a full backlog, or no
// memory at the other end, tries again later as if its SYN had been lost.
func (n memNet) connect(cur *kernel.Task, sk *Sock, to Addr) int {
	net := sk.net
	if to.IsAny() {
		to = LoopbackAddr(to.Family, to.Port)
	}
	if sk.SkType == SOCK_DGRAM {
		if sk.local.Family == AF_UNSPEC {
			if err := n.bind(sk, localFor(to)); err != 0 {
				return err
			}
		}
		net.lock.LockBH()
		sk.remote = to
		net.lock.UnlockBH()
		return 0
	}
	if sk.mem.pair != nil || sk.SkState.Read() != TCP_CLOSE {
		return -kernel.EISCONN
	}
	from := sk.local
	if from.Family == AF_UNSPEC || from.IsAny() {
		from = localFor(to).WithPort(from.Port)
	}
	if from.Port == 0 {
		net.lock.LockBH()
		port, ok := net.freePort(IPPROTO_TCP, from)
		net.lock.UnlockBH()
		if !ok {
			return -kernel.EADDRNOTAVAIL
		}
		from.Port = port
	}
	pair := kernel.Kzalloc[tcpPair](net.Machine(), "tcp_pair", kernel.GFP_KERNEL)
	if pair == nil {
		return -kernel.ENOMEM
	}
	pair.lock.Init(&pair.Obj, "sk_lock")
	for try := 0; ; try++ {
		err := net.syn(sk, pair, from, to)
		if err == 0 {
			return 0
		}
		if err != -kernel.EAGAIN {
			kernel.Kfree(pair)
			return err
		}
		if try == synRetries {
			kernel.Kfree(pair)
			return -kernel.ETIMEDOUT
		}
		kernel.ScheduleTimeoutUninterruptible(cur, kernel.HZ<<try)
	}
}

// localFor is the address a socket gets that connects to to without one of its own.
func localFor(to Addr) Addr {
	if to.IsLoopback() {
		return to.WithPort(0)
	}
	return LoopbackAddr(to.Family, 0)
}

// syn is one attempt to connect: 0, -ECONNREFUSED, or -EAGAIN if it got lost.
func (net *Net) syn(sk *Sock, pair *tcpPair, from, to Addr) int {
	net.lock.LockBH()
	l := net.lookup(IPPROTO_TCP, from, to)
	if l == nil {
		net.lock.UnlockBH()
		return -kernel.ECONNREFUSED
	}
	sk.local, sk.remote = from, to
	l.lk.LockBH()
	net.lock.UnlockBH()
	defer l.lk.UnlockBH()
	if l.SkState.Read() != TCP_LISTEN {
		return -kernel.ECONNREFUSED
	}
	if len(l.mem.acceptq) > l.mem.backlog {
		return -kernel.EAGAIN
	}
	child := newSock(net, l.SkFamily, SOCK_STREAM, IPPROTO_TCP, l, kernel.GFP_ATOMIC)
	if child == nil {
		return -kernel.EAGAIN
	}
	child.local, child.remote = to, from
	for i, end := range []*Sock{sk, child} {
		end.mem.pair, end.mem.side = pair, i
		end.lk, end.cb = &pair.lock, &pair.lock
		end.SkState.Set(TCP_ESTABLISHED)
		pair.end[i] = end
	}
	pair.socks = 2
	l.mem.acceptq = append(l.mem.acceptq, child)
	l.event(evData)
	return 0
}

func (memNet) accept(sk *Sock) (*Sock, int) {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	if sk.SkType != SOCK_STREAM || sk.SkState.Peek() != TCP_LISTEN {
		return nil, -kernel.EINVAL
	}
	if len(sk.mem.acceptq) == 0 {
		return nil, -kernel.EAGAIN
	}
	child := sk.mem.acceptq[0]
	sk.mem.acceptq = sk.mem.acceptq[1:]
	return child, 0
}

// peer is the other end of a connection, nil once released. lk is held.
func (sk *Sock) peer() *Sock { return sk.mem.pair.end[1-sk.mem.side] }

// charge recomputes what end's send buffer holds: the octets for which the receiver has no room. A writer that waits
// is told when it became less. lk is held.
func (p *tcpPair) charge(side int) {
	end, to := p.end[side], p.end[1-side]
	if end == nil {
		return
	}
	wmem := int64(0)
	if to != nil {
		wmem = int64(max(len(p.q[1-side])-to.skRcvbuf, 0))
	}
	was := end.SkWmemQueued.Peek()
	if wmem == was {
		return
	}
	end.SkWmemQueued.Set(wmem)
	if wmem < was && end.Flags.TestBit(SOCK_NOSPACE) {
		end.event(evSpace)
	}
}

func (memNet) recv(sk *Sock, iov [][]byte, peek bool) int {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	pair := sk.mem.pair
	if pair == nil {
		return -kernel.ENOTCONN
	}
	q := pair.q[sk.mem.side]
	q = q[:min(len(q), sk.skRcvbuf)]
	here := sk.arrived(q[:min(len(q), space(iov))])
	n := 0
	for _, b := range iov {
		n += copy(b, here[n:])
	}
	if n > 0 {
		if !peek {
			pair.q[sk.mem.side] = pair.q[sk.mem.side][n:]
			pair.charge(1 - sk.mem.side)
		}
		return n
	}
	if space(iov) == 0 && len(q) > 0 {
		return 0
	}
	if sk.skErr != 0 {
		err := sk.skErr
		sk.skErr = 0
		return -err
	}
	if sk.skShutdown&rcvShutdown != 0 {
		return 0
	}
	return -kernel.EAGAIN
}

// arrived is what of q has come by now: all of it, unless the run's chooser decides that the rest is one more segment,
// which is told of by an event of its own. lk is held.
func (sk *Sock) arrived(q []byte) []byte {
	if len(q) < 2 {
		return q
	}
	switch sk.Machine().Decide(kernel.DecideRead, 3, "recvmsg") {
	case 1:
		q = q[:1]
	case 2:
		q = q[:len(q)/2]
	default:
		return q
	}
	sk.event(evData)
	return q
}

func space(iov [][]byte) int {
	n := 0
	for _, b := range iov {
		n += len(b)
	}
	return n
}

func (memNet) send(sk *Sock, b []byte, more bool) int {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	pair := sk.mem.pair
	if pair == nil {
		return -kernel.EPIPE
	}
	if sk.skErr != 0 {
		err := sk.skErr
		sk.skErr = 0
		return -err
	}
	if sk.skShutdown&sendShutdown != 0 {
		return -kernel.EPIPE
	}
	to := sk.peer()
	if to == nil || to.skShutdown == shutdownMask {
		// The other end is closed and answers with a reset; this end learns of it by its state change.
		if to != nil {
			to.reset()
		}
		sk.reset()
		return len(b)
	}
	n := min(len(b), int(sk.SkSndbuf.Peek()-sk.SkWmemQueued.Peek()))
	if n <= 0 && len(b) > 0 {
		return -kernel.EAGAIN
	}
	side := to.mem.side
	pair.q[side] = append(pair.q[side], b[:n]...)
	pair.charge(sk.mem.side)
	if n > 0 && (!more || n < len(b)) {
		to.event(evData)
	}
	return n
}

// reset is the arrival of a RST. lk is held.
func (sk *Sock) reset() {
	switch sk.SkState.Peek() {
	case TCP_CLOSE:
		return
	case TCP_CLOSE_WAIT:
		sk.skErr = kernel.EPIPE
	default:
		sk.skErr = kernel.ECONNRESET
	}
	sk.SkState.Set(TCP_CLOSE)
	sk.skShutdown = shutdownMask
	sk.event(evState)
}

// fin ends the sending direction, once, and tells the peer. lk is held.
func (sk *Sock) fin() {
	if sk.skShutdown&sendShutdown != 0 {
		return
	}
	sk.skShutdown |= sendShutdown
	switch sk.SkState.Peek() {
	case TCP_ESTABLISHED:
		sk.SkState.Set(TCP_FIN_WAIT2)
	case TCP_CLOSE_WAIT:
		sk.SkState.Set(TCP_CLOSE)
	}
	to := sk.peer()
	if to == nil || to.SkState.Peek() == TCP_CLOSE {
		return
	}
	to.skShutdown |= rcvShutdown
	if to.SkState.Peek() == TCP_ESTABLISHED {
		to.SkState.Set(TCP_CLOSE_WAIT)
	} else {
		to.SkState.Set(TCP_CLOSE)
	}
	to.event(evFin)
}

func (memNet) shutdown(sk *Sock, how int) int {
	sk.lk.LockBH()
	if sk.mem.pair == nil || sk.SkState.Read() == TCP_CLOSE {
		sk.lk.UnlockBH()
		return -kernel.ENOTCONN
	}
	if how != SHUT_RD {
		sk.fin()
	}
	if how != SHUT_WR {
		sk.skShutdown |= rcvShutdown
	}
	sk.SkStateChange.Load().Fn(sk)
	sk.lk.UnlockBH()
	return 0
}

func (memNet) setbufs(sk *Sock, snd, rcv int) {
	sk.lk.LockBH()
	sk.SkSndbuf.Set(int64(2 * snd))
	sk.skRcvbuf = 2 * rcv
	if sk.mem.pair != nil {
		sk.mem.pair.charge(1 - sk.mem.side)
	}
	sk.lk.UnlockBH()
}

func (memNet) nodelay(*Sock) {} // there is no delay

func (memNet) wmem(sk *Sock) int { return int(sk.SkWmemQueued.Read()) }

func (memNet) release(sk *Sock, abort bool) {
	if sk.SkType == SOCK_DGRAM || sk.mem.hashed {
		sk.net.lock.LockBH()
		sk.net.unhash(sk)
		var rx []*Skb
		raised := 0
		if sk.SkType == SOCK_DGRAM { // a listener's are under its own lock
			rx, raised = sk.mem.rx, sk.raised
			sk.mem.rx = nil
		}
		sk.net.lock.UnlockBH()
		for _, skb := range rx {
			FreeSkb(skb)
		}
		if sk.SkType == SOCK_DGRAM {
			sk.cb.LockBH()
			sk.retire(raised)
			return
		}
	}
	sk.lk.LockBH()
	children := sk.mem.acceptq
	sk.mem.acceptq = nil
	if sk.mem.pair != nil {
		sk.hangUp(abort)
	}
	sk.SkState.Set(TCP_CLOSE)
	sk.retire(sk.raised)
	for _, child := range children {
		memNet{}.release(child, true)
	}
}

// hangUp takes this end off its connection: the peer gets a reset if octets were left unread or an abort was asked
// for, else a FIN. lk is held.
func (sk *Sock) hangUp(abort bool) {
	pair, side := sk.mem.pair, sk.mem.side
	to := sk.peer()
	switch {
	case to == nil || sk.SkState.Peek() == TCP_CLOSE && !abort:
	case abort || len(pair.q[side]) > 0:
		if to.SkState.Peek() != TCP_CLOSE {
			to.reset()
		}
	default:
		sk.fin()
	}
	pair.q[side], pair.end[side] = nil, nil
	pair.charge(1 - side)
}

func (memNet) peekDgram(sk *Sock) (Msg, int) {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	if sk.skErr != 0 {
		err := sk.skErr
		sk.skErr = 0
		return Msg{}, -err
	}
	if len(sk.mem.rx) == 0 {
		return Msg{}, -kernel.EAGAIN
	}
	return sk.mem.rx[0].Msg, 0
}

func (memNet) recvDgram(sk *Sock) (*Skb, int) {
	sk.lk.LockBH()
	defer sk.lk.UnlockBH()
	if sk.skErr != 0 {
		err := sk.skErr
		sk.skErr = 0
		return nil, -err
	}
	if len(sk.mem.rx) == 0 {
		return nil, -kernel.EAGAIN
	}
	skb := sk.mem.rx[0]
	sk.mem.rx = sk.mem.rx[1:]
	sk.mem.rmem -= skb.Len + skbOverhead
	return skb, 0
}

func (memNet) sendDgram(sk *Sock, msg Msg, b []byte) int {
	net := sk.net
	if msg.To.IsAny() {
		msg.To = LoopbackAddr(msg.To.Family, msg.To.Port)
	}
	switch {
	case sk.local.Family != AF_UNSPEC && !sk.local.IsAny():
		msg.From = sk.local
	case msg.From.Family == AF_UNSPEC || msg.From.IsAny():
		msg.From = localFor(msg.To)
	}
	msg.From.Port = sk.local.Port
	skb := newSkb(net.Machine(), msg, b)
	if skb == nil {
		return -kernel.ENOMEM
	}
	size := skb.Len + skbOverhead
	if net.hold {
		net.held = append(net.held, heldTx{sk, size})
		sk.SkWmemQueued.Add(int64(size))
	}
	to := net.lookup(IPPROTO_UDP, msg.From, msg.To)
	if to == nil {
		FreeSkb(skb)
		if sk.remote.Family != AF_UNSPEC {
			// The ICMP message that nobody listens there reaches only sockets that talk to one peer.
			sk.skErr = kernel.ECONNREFUSED
			sk.event(evData)
		}
		return len(b)
	}
	if to.mem.rmem+size > to.skRcvbuf {
		FreeSkb(skb)
		return len(b)
	}
	to.mem.rx = append(to.mem.rx, skb)
	to.mem.rmem += size
	to.event(evData)
	return len(b)
}
