// SPDX-License-Identifier: MIT

//go:build !386 && !s390x

package sock

import (
	"syscall"

	"github.com/seed17199236/svcfuzz/target/kernel"
)

func (rn *realNet) recv(sk *Sock, iov [][]byte, peek bool) int {
	r := sk.real
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return -kernel.ENOTCONN
	}
	if peek {
		r.fill(min(space(iov), readAhead))
		lo := r.lo
		n := r.read(iov)
		r.lo = lo
		return r.outcome(n)
	}
	n, room := 0, space(iov)
	if room == 0 && r.fill(1) {
		return 0
	}
	for _, piece := range iov {
		for len(piece) > 0 {
			if r.lo == r.hi && !r.fill(1) {
				break
			}
			k := r.read([][]byte{piece})
			piece, n = piece[k:], n+k
		}
	}
	if r.lo == r.hi && r.in != nil {
		rn.bufs.Put(r.in)
		r.in = nil
	}
	if n < room {
		r.flush() // the next octets may take their time
	}
	return r.outcome(n)
}

// read takes octets that were read ahead. mu is held.
func (r *realSock) read(iov [][]byte) int {
	n := 0
	for _, piece := range iov {
		if r.in == nil {
			break
		}
		k := copy(piece, r.in[r.lo:r.hi])
		r.lo += k
		n += k
	}
	return n
}

// outcome is the result of a receive that got n octets. mu is held.
func (r *realSock) outcome(n int) int {
	if n > 0 {
		return n
	}
	if errno := r.err; errno != 0 {
		r.err = 0
		return -errno
	}
	if r.eof {
		return 0
	}
	return -kernel.EAGAIN
}

// fill reads ahead until there are want octets or the host has no more, and reports whether there are. mu is held.
func (r *realSock) fill(want int) bool {
	for r.hi-r.lo < want && r.err == 0 && !r.eof && r.more.Load() {
		if r.in == nil {
			r.in, r.lo, r.hi = r.rn.bufs.Get().(*[readAhead]byte), 0, 0
		}
		if r.lo > 0 {
			r.lo, r.hi = 0, copy(r.in[:], r.in[r.lo:r.hi])
		}
		r.more.Store(false)
		n := recvNow(r.fd, r.in[r.hi:])
		if n != -kernel.EAGAIN && (n <= 0 || n == len(r.in)-r.hi || r.last.Load()) {
			r.more.Store(true)
		}
		switch {
		case n > 0:
			r.hi += n
		case n == 0:
			r.eof = true
		case n != -kernel.EAGAIN:
			r.err = -n
		}
	}
	return r.hi-r.lo >= want
}

func (rn *realNet) send(sk *Sock, b []byte, more bool) int {
	r := sk.real
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return -kernel.ENOTCONN
	}
	// The owner will be back for the next call. A peer that does not take its replies gets them one by one.
	late := r.lo < r.hi && !sk.direct && 2*r.queued < int(sk.SkSndbuf.Peek())
	if late || len(r.out) > 0 {
		if len(r.out)+len(b) > keepBack {
			r.flush()
		}
		if len(r.out)+len(b) <= keepBack {
			r.out = append(r.out, b...)
			if late || more {
				r.defers()
			} else {
				r.flush()
			}
			return len(b)
		}
		if len(r.out) > 0 {
			return -kernel.EAGAIN
		}
	}
	n := sendNow(r.fd, b, more)
	if n > 0 {
		r.queued += n
	}
	return n
}

// defers puts the socket on the list of those with output that is kept back. mu is held.
func (r *realSock) defers() {
	if r.lately {
		return
	}
	rn := r.rn
	rn.lateMu.Lock()
	r.lately, r.since = true, rn.looks.Load()
	rn.late = append(rn.late, r)
	rn.nlate.Add(1)
	rn.lateMu.Unlock()
}

// sendLate sends what sockets have kept back: all of it, or what is due.
func (rn *realNet) sendLate(all bool) {
	for rn.nlate.Load() > 0 {
		rn.lateMu.Lock()
		if len(rn.late) == 0 || !all && rn.looks.Load()-rn.late[0].since < keepLooks {
			rn.lateMu.Unlock()
			return
		}
		r := rn.late[0]
		if rn.late = rn.late[1:]; len(rn.late) == 0 {
			rn.late = nil
		}
		rn.nlate.Add(-1)
		rn.lateMu.Unlock()
		r.mu.Lock()
		r.lately = false
		r.flush()
		r.mu.Unlock()
	}
}

// flush sends what was kept back, as far as the host has space: an event tells of more. mu is held.
func (r *realSock) flush() {
	for len(r.out) > 0 && r.fd >= 0 {
		n := sendNow(r.fd, r.out, false)
		if n < 0 {
			if n != -kernel.EAGAIN {
				r.out = r.out[:0] // the connection is gone, which its owner learns by an event
			}
			return
		}
		r.queued += n
		r.out = r.out[:copy(r.out, r.out[n:])]
	}
}

// realGrams is datagrams that were read ahead: those from at up to n.
type realGrams struct {
	bufs  [][]byte
	from  []syscall.RawSockaddrAny
	at, n int
	batch mmsgs
}

func newRealGrams(n int) *realGrams {
	g := &realGrams{bufs: make([][]byte, n), from: make([]syscall.RawSockaddrAny, n)}
	for i := range g.bufs {
		g.bufs[i] = make([]byte, 1<<16)
	}
	g.batch.init(g)
	return g
}

// ahead makes sure that there is a datagram: 0 or -errno. mu is held.
func (r *realSock) ahead() int {
	switch {
	case r.fd < 0:
		return -kernel.ENOTCONN
	case r.grams != nil && r.grams.at < r.grams.n:
		return 0
	case !r.more.Load():
		return -kernel.EAGAIN
	case r.grams == nil && r.sk.direct:
		r.grams = newRealGrams(1)
	case r.grams == nil:
		r.grams = newRealGrams(gramsAhead)
	}
	g := r.grams
	r.more.Store(false)
	n := g.batch.recvNow(r.fd)
	if n == len(g.bufs) || n < 0 && n != -kernel.EAGAIN {
		r.more.Store(true)
	}
	g.at, g.n = 0, max(n, 0)
	return min(n, 0)
}

func (rn *realNet) sendDgram(sk *Sock, msg Msg, b []byte) int {
	if msg.To.IsAny() {
		msg.To = LoopbackAddr(msg.To.Family, msg.To.Port)
	}
	if !msg.To.IsLoopback() && !rn.net.Exposed {
		return -kernel.ENETUNREACH
	}
	r := sk.real
	r.mu.Lock()
	res := -kernel.ENOTCONN
	if r.fd >= 0 {
		if res = sendToNow(r.fd, b, msg.To); res > 0 {
			r.queued += res
		}
	}
	r.mu.Unlock()
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
	r := sk.real
	r.mu.Lock()
	defer r.mu.Unlock()
	if errno := r.ahead(); errno != 0 {
		return Msg{}, errno
	}
	return Msg{From: addrOfRaw(&r.grams.from[r.grams.at]), To: sk.local}, 0
}

func (rn *realNet) recvDgram(sk *Sock) (*Skb, int) {
	r := sk.real
	r.mu.Lock()
	defer r.mu.Unlock()
	if errno := r.ahead(); errno != 0 {
		return nil, errno
	}
	g := r.grams
	msg := Msg{From: addrOfRaw(&g.from[g.at]), To: sk.local}
	b := g.bufs[g.at][:g.batch.size(g.at)]
	g.at++
	skb := newSkb(sk.net.Machine(), msg, b)
	if skb == nil {
		return nil, -kernel.ENOMEM
	}
	return skb, 0
}
