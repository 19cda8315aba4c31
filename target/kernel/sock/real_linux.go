// SPDX-License-Identifier: MIT

//go:build !386 && !s390x

package sock

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// realNet is the loopback interface of this host behind the same API: non-blocking sockets and edge-triggered epoll,
// which whoever has nothing else to do waits at ([kernel.Poller]). As in Linux, what arrived can be read before
// data_ready runs, and after a data_ready the owner reads until -EAGAIN. Unless the namespace is Exposed it never
// touches an address outside the loopback interface: the wild-card address binds 127.0.0.1 or ::1. Free back end only.
//
// A call of the host's kernel costs as much as all of a short RPC, so a socket reads ahead and, while calls that it has
// read ahead wait for their turn, keeps replies back to send them together.
type realNet struct {
	net    *Net
	epfd   int
	kick   int // an eventfd, in the epoll set as number 0
	detach func()

	// Of whoever polls.
	events [128]syscall.EpollEvent
	due    []realEvent
	wasFew bool // the last wait was a short one: worth a busy look before the next

	busy      uint32 // busy looks so far
	rest      int    // so many waits without one
	strikes   int    // how often that was found lately
	preempted int64  // preemptions when they were last counted

	looks   atomic.Uint32 // polls so far
	starved atomic.Bool   // somebody waits for space that no event tells of

	mu    sync.Mutex
	socks map[int32]*Sock // registered with epoll, by realSock.id
	last  int32

	lateMu sync.Mutex
	late   []*realSock  // with output that was kept back, oldest first
	nlate  atomic.Int32 // how many

	bufs sync.Pool // of *[readAhead]byte
}

// realEvent is a softirq that is due.
type realEvent struct {
	sk   *Sock
	mask uint32
}

// realSock is what the real network keeps in a socket.
type realSock struct {
	rn  *realNet
	sk  *Sock
	id  int32 // in realNet.socks, 0 if not registered; realNet.mu
	fin bool  // a FIN was reported; softirq

	more atomic.Bool // the host may have more: set by an event, cleared before a read that may find less than it could
	last atomic.Bool // no event will tell of the end of the stream, or of an error, any more: one has

	mu     sync.Mutex
	fd     int              // -1 when closed
	in     *[readAhead]byte // octets of a stream that were read ahead: in[lo:hi]; nil if there are none
	lo, hi int
	eof    bool       // and the end of the stream followed them
	err    int        // or this positive errno did
	grams  *realGrams // datagrams that were read ahead
	out    []byte     // octets that were kept back, or that the host had no space for
	lately bool       // in realNet.late
	since  uint32     // realNet.looks when it came there
	queued int        // at most so many octets are in the host's send buffer
}

const (
	readAhead  = 32 << 10 // octets of a stream
	gramsAhead = 8        // datagrams
	keepBack   = 16 << 10 // octets of output
	keepLooks  = 8        // no longer than so many looks at the events

	// busyLook is how long whoever polls looks again and again before it goes to sleep, if the last waits were shorter
	// than fewWait: to be woken takes longer than that.
	busyLook = 60 * time.Microsecond
	fewWait  = 150 * time.Microsecond
	busyAsk  = 32   // how many busy looks before it asks whether others want the processor
	busyRest = 1024 // for how many waits it does without if they do, times 2 for every strike

	maxStrikes = 8
)

// NewRealNet makes a namespace whose sockets are real ones on the loopback interface; the caller holds the one
// reference. All sockets must be released before the last reference goes. -errno if the host has no epoll left.
func NewRealNet(m *kernel.Machine) (*Net, int) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, -errnoOf(err)
	}
	kick, errno := eventfd()
	if errno == 0 {
		e := syscall.EpollEvent{Events: syscall.EPOLLIN | edge}
		errno = result(0, syscall.EpollCtl(epfd, syscall.EPOLL_CTL_ADD, kick, &e))
	}
	if errno != 0 {
		_ = syscall.Close(epfd)
		return nil, errno
	}
	net := newNet(m, "real")
	rn := &realNet{net: net, epfd: epfd, kick: kick, socks: make(map[int32]*Sock)}
	rn.bufs.New = func() any { return new([readAhead]byte) }
	net.impl = rn
	rn.detach = m.Attach("net", rn)
	return net, 0
}

func (rn *realNet) free(*Net) {
	rn.detach()
	_ = syscall.Close(rn.epfd)
	_ = syscall.Close(rn.kick)
}

func (rn *realNet) awaitPort(cur *kernel.Task, _ *Net, protocol int, port uint16, timeout kernel.Jiffies) int {
	served := func() bool {
		rn.mu.Lock()
		defer rn.mu.Unlock()
		for _, sk := range rn.socks {
			if sk.SkProtocol == protocol && sk.local.Port == port &&
				(protocol == IPPROTO_UDP || sk.SkState.Peek() == TCP_LISTEN) {
				return true
			}
		}
		return false
	}
	for ; !served(); timeout-- {
		if timeout <= 0 {
			return -kernel.ETIMEDOUT
		}
		kernel.Msleep(cur, 1)
	}
	return 0
}

func errnoOf(err error) int {
	if e, ok := err.(syscall.Errno); ok {
		return int(e)
	}
	return kernel.EIO
}

// result turns what a system call returned into what the kernel's own call would have.
func result(n int, err error) int {
	if err != nil {
		return -errnoOf(err)
	}
	return n
}

// Poll turns readiness into softirqs. What belongs to the one who polls is passed on behind the back of the race
// detector, as the floor does: it must not order what tasks did before one of them polled.
//
//go:norace
func (rn *realNet) Poll(wait bool) {
	rn.looks.Add(1)
	rn.sendLate(wait)
	n := rn.wait(wait)
	rn.mu.Lock()
	for _, e := range rn.events[:n] {
		sk := rn.socks[e.Fd]
		if sk == nil {
			continue // the kick, or closed meanwhile
		}
		const ends = syscall.EPOLLRDHUP | syscall.EPOLLERR | syscall.EPOLLHUP
		if e.Events&ends != 0 {
			sk.real.last.Store(true)
		}
		if e.Events&(syscall.EPOLLIN|ends) != 0 {
			sk.real.more.Store(true)
		}
		rn.raise(sk, e.Events)
	}
	if rn.starved.Swap(false) {
		for _, sk := range rn.socks {
			if sk.Flags.Peek(SOCK_NOSPACE) {
				rn.raise(sk, 0)
			}
		}
	}
	rn.mu.Unlock()
	for i := range rn.due {
		d := &rn.due[i]
		d.sk.bh.Run(d.sk.real, d.mask)
		*d = realEvent{}
	}
	rn.due = rn.due[:0]
}

// wait returns how many events there are, after at least one has come if it is to wait.
//
//go:norace
func (rn *realNet) wait(wait bool) int {
	n := epollNow(rn.epfd, rn.events[:])
	if n > 0 || !wait {
		return n
	}
	start := time.Now()
	if rn.wasFew && rn.mayLook() {
		for n == 0 && time.Since(start) < busyLook {
			n = epollNow(rn.epfd, rn.events[:])
		}
	}
	if n == 0 {
		n, _ = syscall.EpollWait(rn.epfd, rn.events[:], -1)
	}
	rn.wasFew = time.Since(start) < fewWait
	return max(n, 0)
}

// mayLook reports whether nobody else wants the processor: if somebody took it away since the last time it was asked,
// there is no busy look for a while, the longer the more often that happens.
//
//go:norace
func (rn *realNet) mayLook() bool {
	if rn.rest > 0 {
		if rn.rest--; rn.rest == 0 {
			rn.preempted = preemptions()
		}
		return false
	}
	if rn.busy++; rn.busy%busyAsk == 0 {
		n := preemptions()
		if n != rn.preempted {
			rn.preempted, rn.strikes = n, min(rn.strikes+2, maxStrikes)
			rn.rest = busyRest << rn.strikes
			return false
		}
		rn.strikes = max(rn.strikes-1, 0)
	}
	return runtime.GOMAXPROCS(0) > 1
}

// preemptions is how often a thread of this process has lost a processor that it wanted to keep.
//
//go:norace
func preemptions() int64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return -1
	}
	return int64(ru.Nivcsw)
}

// Kick makes the one who polls look up.
func (rn *realNet) Kick() {
	kickNow(rn.kick)
}

// Idle sends what was kept back.
func (rn *realNet) Idle() { rn.sendLate(true) }

// Tick sends what was kept back and reports whether a socket waits for space by a measure of its own, which the host's
// kernel does not know and tells nothing about.
func (rn *realNet) Tick() bool {
	rn.sendLate(true)
	rn.mu.Lock()
	defer rn.mu.Unlock()
	for _, sk := range rn.socks {
		if sk.Flags.Peek(SOCK_NOSPACE) {
			rn.starved.Store(true)
			return true
		}
	}
	return false
}

// raise reports readiness to the socket's owner. mu is held, so the socket has not been released.
//
//go:norace
func (rn *realNet) raise(sk *Sock, mask uint32) {
	sk.raised++
	rn.due = append(rn.due, realEvent{sk, mask})
}

// Softirq runs the callbacks that an epoll event asks for; no bits mean that somebody waits for space. Softirq
// context. It is one event of the socket's life, whatever number of callbacks it runs.
func (r *realSock) Softirq(mask uint32) {
	sk := r.sk
	cb := sk.cb
	cb.LockBH()
	if !sk.released {
		if mask&syscall.EPOLLOUT != 0 {
			r.mu.Lock()
			r.flush()
			r.mu.Unlock()
		}
		state, data, space := sk.realDue(mask)
		if state {
			sk.SkStateChange.Load().Fn(sk)
		}
		if data {
			sk.SkDataReady.Load().Fn(sk)
		}
		if space {
			sk.SkWriteSpace.Load().Fn(sk)
		}
	}
	sk.done++
	sk.unlockAndFree(cb, sk.released && sk.done == sk.freeAt)
}

// realDue brings the state up to date and says which callbacks are due. cb is held.
func (sk *Sock) realDue(mask uint32) (state, data, space bool) {
	const broken = syscall.EPOLLERR | syscall.EPOLLHUP
	if sk.SkType == SOCK_STREAM {
		switch st := sk.SkState.Read(); {
		case st == TCP_LISTEN || st == TCP_CLOSE:
		case st == TCP_SYN_SENT:
			if mask&(syscall.EPOLLOUT|broken) == 0 {
				break
			}
			errno := sk.with(func(fd int) int {
				pending, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
				return result(-pending, err)
			})
			if errno != 0 {
				sk.skErr = -errno
				sk.SkState.Set(TCP_CLOSE)
			} else {
				sk.SkState.Set(TCP_ESTABLISHED)
			}
			state = true
		case mask&broken != 0:
			sk.SkState.Set(TCP_CLOSE)
			state = true
			mask |= syscall.EPOLLIN
		case mask&syscall.EPOLLRDHUP != 0 && !sk.real.fin:
			sk.real.fin = true
			if st == TCP_ESTABLISHED {
				sk.SkState.Set(TCP_CLOSE_WAIT)
			} else {
				sk.SkState.Set(TCP_CLOSE)
			}
			state = true
			mask |= syscall.EPOLLIN
		}
	}
	data = mask&(syscall.EPOLLIN|broken) != 0
	space = sk.Flags.TestBit(SOCK_NOSPACE) && mask&broken == 0
	return state, data, space
}

// watch registers the socket with epoll, once.
func (rn *realNet) watch(sk *Sock) int {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if sk.real.id != 0 {
		return 0
	}
	if rn.last++; rn.last == 0 {
		rn.last++ // the kick
	}
	e := syscall.EpollEvent{Events: syscall.EPOLLIN | edge, Fd: rn.last}
	if sk.SkType == SOCK_STREAM {
		e.Events |= syscall.EPOLLOUT | syscall.EPOLLRDHUP
	} // a datagram socket would have space anew with every datagram that has gone
	rn.socks[rn.last] = sk
	if err := syscall.EpollCtl(rn.epfd, syscall.EPOLL_CTL_ADD, sk.real.fd, &e); err != nil {
		delete(rn.socks, rn.last)
		return -errnoOf(err)
	}
	sk.real.id = rn.last
	return 0
}

// with calls fn with the descriptor, which stays open meanwhile.
func (sk *Sock) with(fn func(fd int) int) int {
	sk.real.mu.Lock()
	defer sk.real.mu.Unlock()
	if sk.real.fd < 0 {
		return -kernel.ENOTCONN
	}
	for {
		if res := fn(sk.real.fd); res != -kernel.EINTR {
			return res
		}
	}
}

func newRealSock(sk *Sock, rn *realNet, fd int) *realSock {
	r := &realSock{rn: rn, sk: sk, fd: fd}
	r.more.Store(true)
	return r
}

func (rn *realNet) create(sk *Sock) int {
	fd, err := syscall.Socket(sk.SkFamily, sk.SkType|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, sk.SkProtocol)
	if err != nil {
		return -errnoOf(err)
	}
	if sk.SkFamily == AF_INET6 {
		err = syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1)
	}
	if err == nil && sk.SkType == SOCK_STREAM {
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	}
	if err != nil {
		_ = syscall.Close(fd)
		return -errnoOf(err)
	}
	sk.real = newRealSock(sk, rn, fd)
	return 0
}

// sockaddr is a as the host wants it. Unless the namespace is Exposed the wild-card address becomes the loopback one,
// and any other address outside the loopback interface is -EADDRNOTAVAIL.
func (rn *realNet) sockaddr(a Addr) (syscall.Sockaddr, int) {
	if a.IsAny() && !rn.net.Exposed {
		a = LoopbackAddr(a.Family, a.Port)
	}
	if !a.IsLoopback() && !rn.net.Exposed {
		return nil, -kernel.EADDRNOTAVAIL
	}
	if a.Family == AF_INET6 {
		return &syscall.SockaddrInet6{Port: int(a.Port), Addr: a.IP}, 0
	}
	return &syscall.SockaddrInet4{Port: int(a.Port), Addr: [4]byte(a.IP[:4])}, 0
}

func addrOf(sa syscall.Sockaddr) Addr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return Addr4(sa.Addr[0], sa.Addr[1], sa.Addr[2], sa.Addr[3], uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return Addr{Family: AF_INET6, IP: sa.Addr, Port: uint16(sa.Port)}
	}
	return Addr{}
}

func (rn *realNet) bind(sk *Sock, a Addr) int {
	sa, errno := rn.sockaddr(a)
	if errno != 0 {
		return errno
	}
	errno = sk.with(func(fd int) int { return result(0, syscall.Bind(fd, sa)) })
	if errno != 0 {
		return errno
	}
	if errno = sk.nameLocal(); errno == 0 && sk.SkType == SOCK_DGRAM {
		errno = rn.watch(sk)
	}
	return errno
}

// nameLocal reads back the local address.
func (sk *Sock) nameLocal() int {
	return sk.with(func(fd int) int {
		sa, err := syscall.Getsockname(fd)
		if err == nil {
			sk.local = addrOf(sa)
		}
		return result(0, err)
	})
}

func (rn *realNet) listen(sk *Sock, backlog int) int {
	errno := sk.with(func(fd int) int { return result(0, syscall.Listen(fd, backlog)) })
	if errno != 0 {
		return errno
	}
	sk.SkState.Set(TCP_LISTEN)
	return rn.watch(sk)
}

func (rn *realNet) connect(cur *kernel.Task, sk *Sock, to Addr) int {
	sa, errno := rn.sockaddr(to)
	if errno != 0 {
		return -kernel.ENETUNREACH
	}
	if sk.SkType == SOCK_STREAM {
		sk.SkState.Set(TCP_SYN_SENT)
	}
	errno = sk.with(func(fd int) int { return result(0, syscall.Connect(fd, sa)) })
	if errno != 0 && errno != -kernel.EINPROGRESS {
		sk.SkState.Set(TCP_CLOSE)
		return errno
	}
	sk.remote = addrOf(sa)
	if errno := sk.nameLocal(); errno != 0 {
		return errno
	}
	if errno := rn.watch(sk); errno != 0 || sk.SkType == SOCK_DGRAM {
		return errno
	}
	// A connection is ready to write once it stands: the first event decides.
	kernel.WaitEvent(cur, &sk.SkSleep, func() bool { return sk.SkState.Read() != TCP_SYN_SENT })
	return -rn.takeErr(sk)
}

// takeErr takes the error that the next call is to report.
func (rn *realNet) takeErr(sk *Sock) int {
	sk.cb.LockBH()
	defer sk.cb.UnlockBH()
	errno := sk.skErr
	sk.skErr = 0
	return errno
}

func (rn *realNet) accept(sk *Sock) (*Sock, int) {
	var from syscall.Sockaddr
	fd := sk.with(func(fd int) int {
		child, sa, err := syscall.Accept4(fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		from = sa
		return result(child, err)
	})
	if fd < 0 {
		return nil, fd
	}
	child := newSock(sk.net, sk.SkFamily, sk.SkType, sk.SkProtocol, sk, kernel.GFP_ATOMIC)
	if child == nil {
		_ = syscall.Close(fd)
		return nil, -kernel.ENOMEM
	}
	child.real = newRealSock(child, rn, fd)
	child.remote = addrOf(from)
	child.SkState.Set(TCP_ESTABLISHED)
	errno := child.nameLocal()
	if errno == 0 {
		errno = rn.watch(child)
	}
	if errno != 0 {
		rn.release(child, true)
		return nil, errno
	}
	return child, 0
}

func (rn *realNet) shutdown(sk *Sock, how int) int {
	sk.real.mu.Lock()
	sk.real.flush()
	sk.real.mu.Unlock()
	res := sk.with(func(fd int) int { return result(0, syscall.Shutdown(fd, how)) })
	if res != 0 {
		return res
	}
	sk.cb.LockBH()
	if how != SHUT_RD {
		switch sk.SkState.Read() {
		case TCP_ESTABLISHED:
			sk.SkState.Set(TCP_FIN_WAIT2)
		case TCP_CLOSE_WAIT:
			sk.SkState.Set(TCP_CLOSE)
		}
	}
	sk.SkStateChange.Load().Fn(sk)
	sk.cb.UnlockBH()
	return 0
}

func (rn *realNet) setbufs(sk *Sock, snd, rcv int) {
	sk.with(func(fd int) int {
		// The host doubles the values as C does, and caps them: what space there is is reckoned from what was asked.
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, snd)
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, rcv)
		return 0
	})
	sk.SkSndbuf.Set(int64(2 * snd))
}

func (rn *realNet) nodelay(sk *Sock) {
	sk.with(func(fd int) int {
		return result(0, syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1))
	})
}

// wmem is how much is sent and not acknowledged. The host is asked only if it may be much, or if somebody waits for the
// last octet to go: an answer is often out of date by then.
func (rn *realNet) wmem(sk *Sock) int {
	r := sk.real
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queued > 0 && r.fd >= 0 &&
		(8*r.queued > int(sk.SkSndbuf.Peek()) || sk.SkType == SOCK_STREAM && sk.Flags.Peek(SOCK_NOSPACE)) {
		r.queued = queuedNow(r.fd)
	}
	return r.queued + len(r.out)
}

func (rn *realNet) release(sk *Sock, abort bool) {
	rn.mu.Lock()
	delete(rn.socks, sk.real.id)
	raised := sk.raised
	rn.mu.Unlock()
	r := sk.real
	r.mu.Lock()
	r.flush()
	// What was read ahead is not there for the host to see: it resets a connection that is closed unread.
	if abort || r.lo < r.hi || len(r.out) > 0 {
		_ = syscall.SetsockoptLinger(r.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	_ = syscall.Close(r.fd) // which also takes it out of the epoll set
	r.fd = -1
	if r.in != nil {
		rn.bufs.Put(r.in)
	}
	r.in, r.lo, r.hi, r.out, r.grams = nil, 0, 0, nil, nil
	r.mu.Unlock()
	sk.cb.LockBH()
	sk.retire(raised)
}
