// SPDX-License-Identifier: MIT

//go:build !386 && !s390x

package sock

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// The calls here never block, so the Go scheduler is not told of them, which saves as much time again as the shortest
// of them take. Results are -errno as in C.

// edge is EPOLLET, which package syscall has as a negative number.
const edge = 1 << 31

// now makes a system call that does not block.
//
//go:uintptrescapes
func now(trap, a, b, c, d, e, f uintptr) int {
	for {
		n, _, errno := syscall.RawSyscall6(trap, a, b, c, d, e, f)
		switch errno {
		case 0:
			return int(n)
		case syscall.EINTR:
		default:
			return -int(errno)
		}
	}
}

func eventfd() (fd, errno int) {
	const nonblock, cloexec = syscall.O_NONBLOCK, syscall.O_CLOEXEC
	fd = now(syscall.SYS_EVENTFD2, 0, nonblock|cloexec, 0, 0, 0, 0)
	return fd, min(fd, 0)
}

// kickNow makes the eventfd ready, as an edge: nobody reads it.
func kickNow(fd int) {
	one := uint64(1)
	now(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&one)), 8, 0, 0, 0)
}

// epollNow returns how many events there are, 0 on errors.
func epollNow(epfd int, events []syscall.EpollEvent) int {
	return max(0, now(syscall.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		0, 0, 0))
}

func recvNow(fd int, b []byte) int {
	return now(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_DONTWAIT, 0, 0)
}

func sendNow(fd int, b []byte, more bool) int {
	flags := uintptr(syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL)
	if more {
		flags |= MSG_MORE
	}
	return now(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
}

func sendToNow(fd int, b []byte, to Addr) int {
	var sa syscall.RawSockaddrInet6 // the larger of the two
	size := uintptr(syscall.SizeofSockaddrInet6)
	sa.Family = uint16(to.Family)
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port)
	if to.Family == AF_INET6 {
		sa.Addr = to.IP
	} else {
		(*syscall.RawSockaddrInet4)(unsafe.Pointer(&sa)).Addr = [4]byte(to.IP[:4])
		size = syscall.SizeofSockaddrInet4
	}
	return now(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&sa)), size)
}

// queuedNow is how many octets the host has in the send buffer.
func queuedNow(fd int) int {
	var n int32
	if now(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)), 0, 0, 0) != 0 {
		return 0
	}
	return int(n)
}

// addrOfRaw reads an address as the host writes it.
func addrOfRaw(sa *syscall.RawSockaddrAny) Addr {
	switch sa.Addr.Family {
	case AF_INET:
		in := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return Addr4(in.Addr[0], in.Addr[1], in.Addr[2], in.Addr[3], hostOrder(&in.Port))
	case AF_INET6:
		in := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		return Addr{Family: AF_INET6, IP: in.Addr, Port: hostOrder(&in.Port)}
	}
	return Addr{}
}

func hostOrder(port *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(port))[:])
}

// mmsgs is the arguments of recvmmsg(2).
type mmsgs struct {
	hdrs []mmsghdr
	iovs []syscall.Iovec
}

type mmsghdr struct {
	syscall.Msghdr
	size uint32
}

// init makes the batch read into g, for good.
func (x *mmsgs) init(g *realGrams) {
	x.hdrs, x.iovs = make([]mmsghdr, len(g.bufs)), make([]syscall.Iovec, len(g.bufs))
	for i, b := range g.bufs {
		x.iovs[i].Base = &b[0]
		x.iovs[i].SetLen(len(b))
		x.hdrs[i].Iov, x.hdrs[i].Iovlen = &x.iovs[i], 1
		x.hdrs[i].Name = (*byte)(unsafe.Pointer(&g.from[i]))
	}
}

// recvNow receives as many datagrams as there are.
func (x *mmsgs) recvNow(fd int) int {
	for i := range x.hdrs {
		x.hdrs[i].Namelen = syscall.SizeofSockaddrAny
	}
	return now(syscall.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&x.hdrs[0])), uintptr(len(x.hdrs)),
		syscall.MSG_DONTWAIT, 0, 0)
}

// size is the length of the i-th datagram.
func (x *mmsgs) size(i int) int { return int(x.hdrs[i].size) }
