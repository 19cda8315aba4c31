// SPDX-License-Identifier: MIT

package sock

import "github.com/seed17199236/svcfuzz/target/kernel"

// Conn is the end of a connection, or a datagram socket, in the hands of a test or a scenario: calls that wait, with
// timeouts in jiffies. A Conn is used by one task at a time for each direction.
type Conn struct {
	sk *Sock
}

// Dial connects to a server: protocol is IPPROTO_TCP or IPPROTO_UDP, for which it only fixes the peer. Process
// context. -ECONNREFUSED, -ETIMEDOUT, -ENOMEM...
func Dial(cur *kernel.Task, net *Net, protocol int, to Addr) (*Conn, int) {
	return DialFrom(cur, net, protocol, Addr{}, to)
}

// DialFrom is Dial with a local address; a zero one, and a zero port of it, are chosen by the network. In memory a
// client may have any address; on the real network only those of the loopback interface.
func DialFrom(cur *kernel.Task, net *Net, protocol int, from, to Addr) (*Conn, int) {
	sk, err := Create(cur, net, to.Family, typeOf(protocol), protocol)
	if err != 0 {
		return nil, err
	}
	sk.direct = true
	if from.Family != AF_UNSPEC {
		err = net.impl.bind(sk, from)
	}
	if err == 0 {
		err = sk.Connect(cur, to)
	}
	if err != 0 {
		sk.Release()
		return nil, err
	}
	return &Conn{sk}, 0
}

func typeOf(protocol int) int {
	if protocol == IPPROTO_UDP {
		return SOCK_DGRAM
	}
	return SOCK_STREAM
}

// Listen makes a server end for tests: a TCP listener for Accept, or a datagram socket for ReadFrom and WriteTo.
// Process context. -EADDRINUSE, -ENOMEM...
func Listen(cur *kernel.Task, net *Net, protocol int, a Addr) (*Conn, int) {
	sk, err := Create(cur, net, a.Family, typeOf(protocol), protocol)
	if err != 0 {
		return nil, err
	}
	sk.direct = true
	err = net.impl.bind(sk, a)
	if err == 0 && protocol == IPPROTO_TCP {
		err = net.impl.listen(sk, 64)
	}
	if err != 0 {
		sk.Release()
		return nil, err
	}
	return &Conn{sk}, 0
}

// wait calls try until it gives something other than -EAGAIN, sleeping in between, for at most timeout jiffies.
func (c *Conn) wait(cur *kernel.Task, timeout kernel.Jiffies, try func() int) int {
	res := try()
	for res == -kernel.EAGAIN {
		var w kernel.WaitEntry
		c.sk.SkSleep.PrepareToWait(cur, &w, kernel.TASK_INTERRUPTIBLE)
		if res = try(); res == -kernel.EAGAIN {
			switch {
			case timeout <= 0:
				res = -kernel.ETIMEDOUT
			case cur.SignalPending():
				res = -kernel.EINTR
			default:
				timeout = kernel.ScheduleTimeout(cur, timeout)
			}
		}
		c.sk.SkSleep.FinishWait(cur, &w)
	}
	return res
}

// Accept waits for a connection: -ETIMEDOUT, -EINTR.
func (c *Conn) Accept(cur *kernel.Task, timeout kernel.Jiffies) (*Conn, int) {
	var child *Sock
	err := c.wait(cur, timeout, func() (err int) {
		child, err = c.sk.net.impl.accept(c.sk)
		return err
	})
	if err != 0 {
		return nil, err
	}
	return &Conn{child}, 0
}

// Write sends all of b, as one datagram on UDP, and waits for space if it must: the octets sent, or -EPIPE,
// -ECONNRESET, -ECONNREFUSED, -EAGAIN after SetWriteTimeout...
func (c *Conn) Write(cur *kernel.Task, b []byte) int {
	return c.sk.SendMsg(cur, Msg{To: c.sk.remote}, b, 0)
}

// WriteTo sends b as one datagram to an address.
func (c *Conn) WriteTo(cur *kernel.Task, b []byte, to Addr) int {
	return c.sk.SendMsg(cur, Msg{To: to}, b, 0)
}

// Read waits for octets and reads at most len(buf) of them; on UDP it takes one datagram and drops what does not fit.
// 0 at the end of the stream; -ETIMEDOUT, -ECONNRESET, -ECONNREFUSED, -EINTR.
func (c *Conn) Read(cur *kernel.Task, buf []byte, timeout kernel.Jiffies) int {
	if c.sk.SkType == SOCK_DGRAM {
		n, _ := c.ReadFrom(cur, buf, timeout)
		return n
	}
	return c.wait(cur, timeout, func() int { return c.sk.RecvMsg([][]byte{buf}, 0) })
}

// ReadFull reads exactly len(buf) octets of a stream, waiting at most timeout jiffies for each piece; fewer at the
// end of the stream, or -errno.
func (c *Conn) ReadFull(cur *kernel.Task, buf []byte, timeout kernel.Jiffies) int {
	got := 0
	for got < len(buf) {
		n := c.Read(cur, buf[got:], timeout)
		if n < 0 {
			return n
		}
		if n == 0 {
			break
		}
		got += n
	}
	return got
}

// ReadFrom takes one datagram and tells who sent it; results as Read.
func (c *Conn) ReadFrom(cur *kernel.Task, buf []byte, timeout kernel.Jiffies) (int, Addr) {
	var from Addr
	n := c.wait(cur, timeout, func() int {
		skb, err := c.sk.RecvDatagram()
		if err != 0 {
			return err
		}
		from = skb.From
		n := copy(buf, skb.Octets())
		FreeSkb(skb)
		return n
	})
	return n, from
}

// CloseWrite sends a FIN and leaves the reading direction open. Any context.
func (c *Conn) CloseWrite() int { return c.sk.Shutdown(SHUT_WR) }

// Close closes the connection or the socket; unread octets make it a reset, as in Linux. Any context.
func (c *Conn) Close() { c.sk.Release() }

// Reset closes the connection abortively: the server gets a RST. Any context.
func (c *Conn) Reset() {
	c.sk.alive()
	c.sk.net.impl.release(c.sk, true)
}

// SetWriteTimeout bounds how long Write waits for space; it waits for ever without.
func (c *Conn) SetWriteTimeout(timeout kernel.Jiffies) { c.sk.SkSndtimeo = timeout }

// SetBuffers sizes the send and the receive buffer in octets. A small receive buffer makes the server run out of
// space to write.
func (c *Conn) SetBuffers(snd, rcv int) { c.sk.net.impl.setbufs(c.sk, (snd+1)/2, (rcv+1)/2) }

// LocalAddr is the address of this end, RemoteAddr that of the peer.
func (c *Conn) LocalAddr() Addr { return c.sk.local }

// RemoteAddr is the address of the peer.
func (c *Conn) RemoteAddr() Addr { return c.sk.remote }

// Sock is the socket below.
func (c *Conn) Sock() *Sock { return c.sk }
