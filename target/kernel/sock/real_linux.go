// SPDX-License-Identifier: MIT

package sock

import (
	"sync"
	"syscall"
	"unsafe"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

// realNet is the loopback interface of this host behind the same API: non-blocking sockets, edge-triggered epoll, and
// one goroutine that turns readiness into softirqs. As in Linux, what arrived can be read before data_ready runs, and
// after a data_ready the owner reads until -EAGAIN. It never touches an address outside the loopback interface: the
// wild-card address binds 127.0.0.1 or ::1. Free back end only.
type realNet struct {
	net  *Net
	epfd int
	quit func()

	mu    sync.Mutex
	socks map[int32]*Sock // registered with epoll, by realSock.id
	last  int32
}

// realSock is what the real network keeps in a socket.
type realSock struct {
	rn  *realNet
	mu  sync.Mutex // the life of fd
	fd  int        // -1 when closed
	id  int32      // in realNet.socks, 0 if not registered; realNet.mu
	buf []byte     // where datagrams are read to; the owner's
	fin bool       // a FIN was reported; softirq
}

// pollTick is how long the poller sleeps at most, in milliseconds: writers that wait by a measure of their own, which
// the host's kernel does not know, are looked at this often.
const pollTick = 5

// NewRealNet makes a namespace whose sockets are real ones on the loopback interface; the caller holds the one
// reference. All sockets must be released before the last reference goes. -errno if the host has no epoll left.
func NewRealNet(m *kernel.Machine) (*Net, int) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, -errnoOf(err)
	}
	net := newNet(m, "real")
	rn := &realNet{net: net, epfd: epfd, socks: make(map[int32]*Sock)}
	net.impl = rn
	rn.quit = m.Daemon("epoll", rn.poll)
	return net, 0
}

func (rn *realNet) free(*Net) {
	rn.quit()
	_ = syscall.Close(rn.epfd)
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

// poll turns readiness into softirqs until the machine ends or the namespace is freed.
func (rn *realNet) poll(stop <-chan struct{}) {
	var events [128]syscall.EpollEvent
	for {
		n, err := syscall.EpollWait(rn.epfd, events[:], pollTick)
		select {
		case <-stop:
			return
		default:
		}
		if err != nil && err != syscall.EINTR {
			return
		}
		rn.mu.Lock()
		for _, e := range events[:max(n, 0)] {
			if sk := rn.socks[e.Fd]; sk != nil {
				rn.raise(sk, e.Events)
			}
		}
		for _, sk := range rn.socks {
			if sk.Flags.Peek(SOCK_NOSPACE) {
				rn.raise(sk, 0)
			}
		}
		rn.mu.Unlock()
	}
}

// raise reports readiness to the socket's owner. mu is held, so the socket has not been released.
func (rn *realNet) raise(sk *Sock, mask uint32) {
	sk.raised++
	sk.bh.Raise(func() { sk.realEvent(mask) })
}

// realEvent runs the callbacks that an epoll event asks for; no bits mean that somebody waits for space. Softirq
// context. It is one event of the socket's life, whatever number of callbacks it runs.
func (sk *Sock) realEvent(mask uint32) {
	cb := sk.cb
	cb.LockBH()
	if !sk.released {
		for _, ev := range sk.realDue(mask) {
			switch ev {
			case evData:
				sk.SkDataReady.Load().Fn(sk)
			case evState:
				sk.SkStateChange.Load().Fn(sk)
			case evSpace:
				sk.SkWriteSpace.Load().Fn(sk)
			}
		}
	}
	sk.done++
	sk.unlockAndFree(cb, sk.released && sk.done == sk.freeAt)
}

// realDue brings the state up to date and lists the callbacks that are due. cb is held.
func (sk *Sock) realDue(mask uint32) []event {
	var due []event
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
			due = append(due, evState)
		case mask&broken != 0:
			sk.SkState.Set(TCP_CLOSE)
			due = append(due, evState)
			mask |= syscall.EPOLLIN
		case mask&syscall.EPOLLRDHUP != 0 && !sk.real.fin:
			sk.real.fin = true
			if st == TCP_ESTABLISHED {
				sk.SkState.Set(TCP_CLOSE_WAIT)
			} else {
				sk.SkState.Set(TCP_CLOSE)
			}
			due = append(due, evState)
			mask |= syscall.EPOLLIN
		}
	}
	if mask&(syscall.EPOLLIN|broken) != 0 {
		due = append(due, evData)
	}
	if sk.Flags.TestBit(SOCK_NOSPACE) && mask&broken == 0 {
		due = append(due, evSpace)
	}
	return due
}

// watch registers the socket with epoll, once.
func (rn *realNet) watch(sk *Sock) int {
	rn.mu.Lock()
	defer rn.mu.Unlock()
	if sk.real.id != 0 {
		return 0
	}
	rn.last++
	const edge = 1 << 31 // EPOLLET, which package syscall has as a negative number
	e := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge,
		Fd:     rn.last,
	}
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
	sk.real = &realSock{rn: rn, fd: fd}
	return 0
}

// sockaddr is a as the host wants it; the wild-card address becomes the loopback one. -EADDRNOTAVAIL for an address
// outside the loopback interface.
func sockaddr(a Addr) (syscall.Sockaddr, int) {
	if a.IsAny() {
		a = LoopbackAddr(a.Family, a.Port)
	}
	if !a.IsLoopback() {
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
	sa, errno := sockaddr(a)
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
	sa, errno := sockaddr(to)
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
	child.real = &realSock{rn: rn, fd: fd}
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

func (rn *realNet) recv(sk *Sock, iov [][]byte, peek bool) int {
	flags := syscall.MSG_DONTWAIT
	if peek {
		flags |= syscall.MSG_PEEK
	}
	buf := make([]byte, space(iov))
	n := sk.with(func(fd int) int {
		n, _, err := syscall.Recvfrom(fd, buf, flags)
		return result(n, err)
	})
	for got, rest := buf[:max(n, 0)], iov; len(got) > 0; rest = rest[1:] {
		got = got[copy(rest[0], got):]
	}
	return n
}

func (rn *realNet) send(sk *Sock, b []byte, more bool) int {
	flags := syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL
	if more {
		flags |= MSG_MORE
	}
	return sk.with(func(fd int) int {
		n, err := syscall.SendmsgN(fd, b, nil, nil, flags)
		return result(n, err)
	})
}

func (rn *realNet) sendDgram(sk *Sock, msg Msg, b []byte) int {
	sa, errno := sockaddr(msg.To)
	if errno != 0 {
		return -kernel.ENETUNREACH
	}
	res := sk.with(func(fd int) int {
		return result(len(b), syscall.Sendto(fd, b, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, sa))
	})
	if res >= 0 && sk.local.Family == AF_UNSPEC {
		if errno := sk.nameLocal(); errno != 0 {
			return errno
		}
		if errno := rn.watch(sk); errno != 0 {
			return errno
		}
	}
	return res
}

func (rn *realNet) peekDgram(sk *Sock) (Msg, int) {
	var one [1]byte
	var from Addr
	n := sk.with(func(fd int) int {
		n, sa, err := syscall.Recvfrom(fd, one[:], syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
		from = addrOf(sa)
		return result(n, err)
	})
	return Msg{From: from, To: sk.local}, min(n, 0)
}

func (rn *realNet) recvDgram(sk *Sock) (*Skb, int) {
	if sk.real.buf == nil {
		sk.real.buf = make([]byte, 1<<16)
	}
	var from Addr
	n := sk.with(func(fd int) int {
		n, sa, err := syscall.Recvfrom(fd, sk.real.buf, syscall.MSG_DONTWAIT)
		from = addrOf(sa)
		return result(n, err)
	})
	if n < 0 {
		return nil, n
	}
	skb := newSkb(sk.net.Machine(), Msg{From: from, To: sk.local}, sk.real.buf[:n])
	if skb == nil {
		return nil, -kernel.ENOMEM
	}
	return skb, 0
}

func (rn *realNet) shutdown(sk *Sock, how int) int {
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

func (rn *realNet) wmem(sk *Sock) int {
	return max(0, sk.with(func(fd int) int {
		var queued int32
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&queued)))
		if errno != 0 {
			return 0
		}
		return int(queued)
	}))
}

func (rn *realNet) release(sk *Sock, abort bool) {
	rn.mu.Lock()
	delete(rn.socks, sk.real.id)
	raised := sk.raised
	rn.mu.Unlock()
	sk.real.mu.Lock()
	if abort {
		_ = syscall.SetsockoptLinger(sk.real.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	}
	_ = syscall.Close(sk.real.fd) // which also takes it out of the epoll set
	sk.real.fd = -1
	sk.real.mu.Unlock()
	sk.cb.LockBH()
	sk.retire(raised)
}
